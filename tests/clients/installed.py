"""Where programs that nobody here wrote come from: other kubectls, Python clients in a virtual environment of their own, npm.

Each is installed once into `.venv-clients` in the clone (`EDGEKUBE_CLIENTS_VENV` names another place) and kept. A machine that
cannot get one, for want of a package index for example, raises `Missing` with the reason, which the tests show as a skip.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.support import ROOT

T = TypeVar("T")

PLACE = Path(os.environ.get("EDGEKUBE_CLIENTS_VENV", ROOT / ".venv-clients"))
PYTHON_CLIENTS = ("kubernetes>=31", "kr8s>=0.20", "lightkube>=0.17", "kopf>=1.37", "pytest>=8", "pytest-asyncio>=0.24",
                  "pytest-timeout>=2.3")  # fmt: skip
SCHEMATHESIS = "schemathesis>=4,<5"
NODE_CLIENT = "@kubernetes/client-node@1"
NODE_AT_LEAST = 18
INSTALL_S = 300


class Missing(Exception):
    """What is asked for cannot be had on this machine; says why."""


def once(make: Callable[..., T]) -> Callable[..., T]:
    """Ask once for each set of arguments; what could not be had is not tried again."""
    answers: dict[tuple[object, ...], T | Missing] = {}

    @functools.wraps(make)
    def asked(*arguments: object) -> T:
        if arguments not in answers:
            try:
                answers[arguments] = make(*arguments)
            except Missing as why:
                answers[arguments] = why
        answer = answers[arguments]
        if isinstance(answer, Missing):
            raise answer
        return answer

    return asked


def run(*command: str | Path, cwd: Path | None = None, within_s: float = INSTALL_S) -> str:
    """Standard output of an installation step. Raises Missing when it fails."""
    try:
        done = subprocess.run(
            [str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=within_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from None
    if done.returncode:
        raise Missing(f"{' '.join(map(str, command[:4]))}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


@once
def python() -> Path:
    """The interpreter of a virtual environment with the Python clients."""
    return _environment("python", PYTHON_CLIENTS)


@once
def schemathesis() -> Path:
    """The program of that name; its environment is its own, for what it needs is at odds with the clients'."""
    return _environment("schemathesis", (SCHEMATHESIS,)).with_name("schemathesis")


def _environment(name: str, packages: tuple[str, ...]) -> Path:
    """The interpreter of a virtual environment with these packages, made once. Raises Missing."""
    made, stamp, wanted = PLACE / name, PLACE / name / ".installed", "\n".join(packages)
    interpreter = made / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted and interpreter.exists():
        return interpreter
    shutil.rmtree(made, ignore_errors=True)
    run(sys.executable, "-m", "venv", made)
    run(interpreter, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--retries", "1", "--timeout", "20",
        *packages)  # fmt: skip
    stamp.write_text(wanted)
    return interpreter


@once
def node_modules() -> Path:
    """A directory in which `@kubernetes/client-node` is installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Missing("node and npm are not installed")
    version = run("node", "--version").strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_AT_LEAST:
        raise Missing(f"node {version} is older than {NODE_AT_LEAST}")
    made = PLACE / "node"
    stamp = made / ".installed"
    if stamp.exists() and stamp.read_text() == NODE_CLIENT:
        return made
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    (made / "package.json").write_text('{"private": true, "type": "module"}\n')
    run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", NODE_CLIENT, cwd=made)
    stamp.write_text(NODE_CLIENT)
    return made


def version_of(binary: str | Path) -> str:
    """ "1.32" for a kubectl 1.32.x, "" for what is none."""
    try:
        shown = run(binary, "version", "--client", within_s=60)
    except Missing:
        return ""
    text = shown.partition("v1.")[2]
    return f"1.{text.split('.')[0]}" if text else ""


@once
def kubectl(version: str) -> str:
    """A kubectl of that minor version: the PATH's own, one that lies beside it, or Debian 12's package for 1.20."""
    on_path = shutil.which("kubectl")
    if on_path is not None:
        beside = Path(on_path).resolve().with_name(f"kubectl.{version}")
        for binary in (on_path, beside):
            if Path(binary).exists() and version_of(binary) == version:
                return str(binary)
    unpacked = PLACE / f"kubectl-{version}" / "usr" / "bin" / "kubectl"
    if not unpacked.exists():
        if version != "1.20":
            raise Missing(f"no kubectl {version} on this machine")
        unpack_debian("kubernetes-client", PLACE / f"kubectl-{version}")
    if version_of(unpacked) != version:
        raise Missing(f"the distribution's kubectl is not {version}")
    return str(unpacked)


def unpack_debian(package: str, target: Path) -> None:
    """A distribution's package, unpacked but not installed. Raises Missing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Missing("not a Debian system")
    target.mkdir(parents=True, exist_ok=True)
    run("apt-get", "download", "-qq", package, cwd=target, within_s=120)
    for archive in target.glob("*.deb"):
        run("dpkg-deb", "-x", archive, target)
        archive.unlink()
