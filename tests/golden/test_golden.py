"""Replays the recorded answers of a real API server (`../shared/golden` beside the clone) against ours, area by area.

`FLOORS` holds how many cases of an area pass hard; it only ever goes up. Messages and managedFields are compared softly by the
corpus, and held here by `MESSAGES_AT_LEAST` and by being all equal. The kubectl transcripts need a kubectl.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import GOLDEN, Server, api_server

pytestmark = pytest.mark.slow

FLOORS: dict[str, int] = {
    "01-discovery": 50,
    "02-defaulting": 82,
    "03-validation": 208,
    "04-patch": 89,
    "05-update": 59,
    "06-listwatch": 35,
    "07-tables": 87,
    "08-fieldvalidation": 38,
    "09-subresources": 29,
    "10-auth": 24,
    "11-crds": 43,
    "12-admission": 54,
    "13-openapi": 50,
    "14-controllers": 40,
    "15-kubectl": 21,
}
#: Transcripts were recorded with kubectl 1.36. With 1.32 these differ by kubectl's own wording, whatever the server.
KUBECTL_S_OWN_WORDING = frozenset(
    ("apply-kustomize", "describe-config-storage", "describe-pods", "describe-workloads", "edit-replace", "run")
)
KUBECTL = "15-kubectl"
MESSAGES_AT_LEAST = 0.9

if not (GOLDEN / "golden.py").exists():
    pytest.skip("../shared/golden is not beside this clone: recorded API cases are left out", allow_module_level=True)


def kubectl_minor() -> int:
    """Of the kubectl on this machine; 0 where there is none."""
    program = shutil.which("kubectl")
    if program is None:
        return 0
    told = subprocess.run([program, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True)
    return int("".join(letter for letter in json.loads(told.stdout)["clientVersion"]["minor"] if letter.isdigit()))


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with api_server(tmp_path_factory.mktemp("golden")) as server:
        yield server


@pytest.fixture(name="report", scope="module")
def _report(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One replay of everything; its JSON report. The table of areas is printed for whoever reads the log."""
    ca, certificate, key = server.credentials()
    target = Path(tmp_path_factory.mktemp("report")) / "golden.json"
    areas = [area for area in FLOORS if area != KUBECTL or kubectl_minor()]
    done = subprocess.run(
        [
            sys.executable, str(GOLDEN / "golden.py"), "replay", "--server", server.url,
            "--ca", str(ca), "--cert", str(certificate), "--key", str(key), "--jobs", "4", "--json", str(target),
            *(word for area in areas for word in ("--area", area)),
            "--kubectl", shutil.which("kubectl") or "kubectl", str(GOLDEN / "corpus"),
        ],
        capture_output=True, text=True, timeout=1500, check=False, env={**os.environ, "GOLDEN_SLOW": "3"},
    )  # fmt: skip
    sys.__stdout__.write("\n" + done.stdout[-3000:]) if sys.__stdout__ else None
    assert target.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def failures(report: dict[str, Any], area: str) -> list[str]:
    """Names of the cases of an area that fail."""
    return [case["name"] for case in report["cases"] if case["area"] == area and not case["pass"]]


@pytest.mark.parametrize("area", sorted(FLOORS))
def test_area(report: dict[str, Any], area: str) -> None:
    if area not in report["areas"]:
        pytest.skip("needs kubectl")
    found = report["areas"][area]
    assert found["pass"] >= FLOORS[area], (
        f"{area}: {found['pass']}/{found['total']}; failing: {', '.join(failures(report, area))}"
    )


def test_kubectl_says_what_it_said_but_for_what_an_older_one_words_differently(report: dict[str, Any]) -> None:
    if KUBECTL not in report["areas"]:
        pytest.skip("needs kubectl")
    assert set(failures(report, KUBECTL)) <= (KUBECTL_S_OWN_WORDING if kubectl_minor() < 36 else set())


def test_most_messages_are_worded_as_recorded(report: dict[str, Any]) -> None:
    told, equal = (sum(case["msg"][position] for case in report["cases"]) for position in (1, 0))
    assert equal >= MESSAGES_AT_LEAST * told, f"{equal} of {told} messages are equal"


def test_owners_of_fields_are_as_recorded(report: dict[str, Any]) -> None:
    different = [f"{case['area']}/{case['name']}" for case in report["cases"] if case["mfdiffs"] and case["pass"]]
    assert different == []


def test_the_server_never_answered_with_an_internal_error(report: dict[str, Any], server: Server) -> None:
    assert report["total"] > 0
    assert "Traceback" not in server.log.read_text()


def test_every_area_of_the_corpus_is_replayed() -> None:
    assert {path.name for path in (GOLDEN / "corpus").iterdir() if path.is_dir()} == set(FLOORS)
