"""What is shipped: the Debian package of this machine's architecture, its contents, and the program in it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, eventually

pytestmark = pytest.mark.slow

DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
VERSION = ".".join(map(str, sys.version_info[:2]))
SYSTEM_PYTHON = Path("/usr/bin/python3")

if not DEBIAN or shutil.which("dpkg-deb") is None:
    pytest.skip("packages are built where there is dpkg-deb, on amd64 and arm64", allow_module_level=True)


def builder() -> Any:
    """packaging/build.py as a module."""
    spec = importlib.util.spec_from_file_location("edgekube_build", ROOT / "packaging" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


def index_answers() -> bool:
    """Whether pip finds a package index: without one nothing can be built."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "-q", "h11"],
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode == 0


@pytest.fixture(scope="module", name="out")
def _out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if VERSION not in builder().ARCHITECTURES[DEBIAN].pythons:
        pytest.skip(f"nothing is packaged for Python {VERSION}")
    if not index_answers():
        pytest.skip("no package index can be reached")
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "packaging/build.py", "--arch", DEBIAN, "--python", VERSION, "--only", "deb", "--compression", "none", "--out", str(out)],
        cwd=ROOT, check=True, timeout=600,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module", name="package")
def _package(out: Path) -> Path:
    (package,) = out.glob("*.deb")
    return package


@pytest.fixture(scope="module", name="unpacked")
def _unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("root")
    subprocess.run(["dpkg-deb", "-x", str(package), str(target)], check=True)
    return target


def test_the_control_file_names_what_the_program_calls(package: Path) -> None:
    text = subprocess.run(["dpkg-deb", "-f", str(package)], capture_output=True, text=True, check=True).stdout
    fields = dict(re.findall(r"^(\S+): (.*)$", text, re.M))
    assert (fields["Package"], fields["Architecture"]) == ("edgekube", DEBIAN)
    depends = {entry.split(" ")[0] for entry in fields["Depends"].split(", ")}
    assert depends >= {
        "python3",
        "containerd",
        "runc",
        "containernetworking-plugins",
        "nftables",
        "iproute2",
        "conntrack",
    }


def test_the_package_holds_program_units_page_and_licences_and_nothing_of_the_builder(unpacked: Path) -> None:
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*")}
    assert names >= {
        "usr/bin/edgekube",
        "usr/lib/edgekube/edgekube/cli/main.py",
        "usr/lib/edgekube/lib/trio/__init__.py",
        "lib/systemd/system/edgekube.service",
        "lib/systemd/system/edgekube-agent.service",
        "usr/share/man/man8/edgekube.8.gz",
        "usr/share/doc/edgekube/copyright",
        "usr/share/doc/edgekube/changelog.gz",
    }
    assert not [name for name in names if name.endswith((".pyc", ".pyi")) or "__pycache__" in name]
    assert not [name for name in names if name.startswith("usr/lib/edgekube/lib/pip/")]
    tags = {match[1] for name in names if (match := re.search(r"cpython-(\d+)-", name))}
    assert tags == {VERSION.replace(".", "")}


def test_sums_and_contents_are_told(out: Path, package: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    (told,) = out.glob("*.cdx.json")
    document = json.loads(told.read_text())
    assert document["bomFormat"] == "CycloneDX"
    components = {entry["name"].lower(): entry for entry in document["components"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[>=;\[ ]", text)[0].lower() for text in project["dependencies"]}
    assert wanted <= components.keys()
    assert all(entry["hashes"] for entry in components.values())


@pytest.mark.parametrize("name", ["amd64", "arm64", "armhf"])
def test_every_dependency_is_locked_or_said_to_be_taken_from_elsewhere(name: str) -> None:
    architecture = builder().ARCHITECTURES[name]
    elsewhere = {*architecture.debian, *architecture.without}
    locked = {
        re.split(r"==", line.split(" ")[1])[0].lower().replace("_", "-")
        for line in (ROOT / "packaging" / "locks" / f"{name}.txt").read_text().splitlines()
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[>=;\[ ]", text)[0].lower() for text in project["dependencies"]}
    missing = wanted - locked - elsewhere
    assert not missing, f"packaging/build.py --arch {name} --update-locks"


@pytest.fixture(name="server")
def _server(unpacked: Path, tmp_path: Path) -> Iterator[Path]:
    """The packaged program under the distribution's Python, as the launcher runs it; its kubeconfig."""
    if not SYSTEM_PYTHON.exists():
        pytest.skip("no Python of the distribution here")
    launcher = (unpacked / "usr/bin/edgekube").read_text().replace('"/usr/lib/', f'"{unpacked}/usr/lib/')
    program = tmp_path / "edgekube"
    program.write_text(launcher)
    command = [str(SYSTEM_PYTHON), "-I", str(program)]
    if subprocess.run([*command, "version", "--client"], capture_output=True, check=False).returncode:
        version = subprocess.run([SYSTEM_PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
        assert f" {VERSION}." not in version, "the packaged program does not run here"
        pytest.skip(f"the package is for Python {VERSION}, this is {version.strip()}")
    kubeconfig = tmp_path / "kubeconfig.yaml"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "server", "--disable-agent", "--bind-address", "127.0.0.1", "--https-listen-port", "0",
             "--data-dir", str(tmp_path / "data"), "--write-kubeconfig", str(kubeconfig)],
            stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin", "EDGEKUBE_NO_KUBECONFIG_MERGE": "1"},
        )  # fmt: skip
    try:
        eventually(lambda: (tmp_path / "log").read_text().endswith("ready\n"), within_s=90)
        yield kubeconfig
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_the_packaged_program_serves(server: Path, unpacked: Path) -> None:
    words = [sys.executable, "-m", "edgekube", "get", "namespaces", "-o", "name"]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "KUBECONFIG": str(server), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "namespace/default" in done.stdout.split()


def test_lintian_finds_nothing(package: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    done = subprocess.run(
        ["lintian", "--fail-on", "error,warning", "--suppress-tags", "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball", "--allow-root", str(package)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
