"""Runs a file of scenarios with a foreign interpreter's pytest, once, and tells the outcome of each of its tests.

The scenarios import clients that are not in this project's environment, so they cannot be collected here. What this module
gives instead: their names without importing them, and their outcomes from a JUnit file.
"""

from __future__ import annotations

import ast
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.clients import installed

HERE = Path(__file__).parent / "scenarios"
SCENARIO_S, ALL_S = 180, 900


@dataclass(frozen=True)
class Outcome:
    """How one scenario ended: "passed", "skipped" or "failed", and what it said."""

    result: str
    text: str = ""


@dataclass
class Kept:
    """Outcomes by file."""

    by_file: dict[str, dict[str, Outcome]] = field(default_factory=dict)


def names_of(file: str) -> list[str]:
    """The tests of a file of scenarios, in order."""
    tree = ast.parse((HERE / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in tree.body if isinstance(node, functions) and node.name.startswith("test_")]


def run_pytest(words: Sequence[str | Path], kubeconfig: Path, scratch: Path, **more: str) -> dict[str, Outcome]:
    """The outcomes of a foreign pytest by "name" (with its parameters)."""
    scratch.mkdir(parents=True, exist_ok=True)
    report, settings = scratch / "report.xml", scratch / "pytest.ini"
    settings.write_text("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH"))}
    environment |= {"KUBECONFIG": str(kubeconfig), "HOME": str(scratch), "PYTHONDONTWRITEBYTECODE": "1", **more}
    done = subprocess.run(
        [
            str(installed.python()), "-m", "pytest", "-q", "-c", str(settings), "-p", "no:cacheprovider", "--tb=short",
            "--timeout", str(SCENARIO_S), "--import-mode=importlib", "--junitxml", str(report), *map(str, words),
        ],
        env=environment, cwd=scratch, capture_output=True, text=True, timeout=ALL_S, check=False,
    )  # fmt: skip
    if not report.exists():
        raise AssertionError(f"pytest of the clients did not run:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    outcomes = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        told = [(one.tag, (one.get("message") or "") + "\n" + (one.text or "")) for one in case]
        bad = next((text for tag, text in told if tag in ("failure", "error")), None)
        skipped = next((text for tag, text in told if tag == "skipped"), None)
        name = case.get("name") or ""
        if bad is not None:
            outcomes[name] = Outcome("failed", bad)
        else:
            outcomes[name] = Outcome("passed") if skipped is None else Outcome("skipped", skipped)
    return outcomes


def judge(kept: Kept, file: str, name: str, kubeconfig: Path, scratch: Path) -> None:
    """Pass, skip or fail as the scenario did in its own interpreter."""
    if file not in kept.by_file:
        try:
            installed.python()
        except installed.Missing as why:
            pytest.skip(str(why))
        kept.by_file[file] = run_pytest(["--confcutdir", HERE, HERE / file], kubeconfig, scratch)
    outcome = kept.by_file[file].get(name, Outcome("failed", "it was not run"))
    if outcome.result == "skipped":
        pytest.skip(outcome.text.strip()[:300])
    if outcome.result != "passed":
        pytest.fail(outcome.text, pytrace=False)
