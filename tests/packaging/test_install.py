"""install.sh with the programs it calls played by small scripts: what it fetches, refuses and starts."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

SCRIPT = ROOT / "packaging" / "install.sh"


class Machine:
    """A PATH on which apt-get, dpkg and edgekube only write down how they were called."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.bin, self.calls = directory, directory / "bin", directory / "calls"
        self.release = directory / "release" / "latest" / "download"
        self.bin.mkdir()
        self.release.mkdir(parents=True)
        self.calls.touch()
        self.program("id", "echo 0")
        self.program("dpkg", "echo arm64")
        for name in ("apt-get", "edgekube", "systemctl"):
            self.program(name, f'echo {name} "$@" >> {self.calls}')
        for name in (
            "sh",
            "sed",
            "head",
            "grep",
            "sha256sum",
            "mktemp",
            "rm",
            "chmod",
            "basename",
            "tail",
            "cat",
            "mkdir",
        ):
            (self.bin / name).symlink_to(
                next(path for path in (Path("/usr/bin") / name, Path("/bin") / name) if path.exists())
            )
        # What fetches: file:// URLs become copies.
        self.program("curl", 'for last; do :; done; while [ "$1" != -o ]; do shift; done; cat "${last#file://}" > "$2"')

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def publish(self, name: str, content: bytes, digest: str = "") -> None:
        (self.release / name).write_bytes(content)
        with (self.release / "SHA256SUMS").open("a") as sums:
            sums.write(f"{digest or hashlib.sha256(content).hexdigest()}  {name}\n")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), *words], capture_output=True, text=True, timeout=60, check=False, cwd=self.directory,
            env={"PATH": str(self.bin), "EDGEKUBE_URL": f"file://{self.directory}/release"},
        )  # fmt: skip

    @property
    def said(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_package_of_this_architecture_is_fetched_checked_and_installed(machine: Machine) -> None:
    machine.publish("edgekube_1.2.3_amd64.deb", b"other")
    machine.publish("edgekube_1.2.3_arm64.deb", b"ours")
    done = machine.run("--no-start")
    assert done.returncode == 0, done.stderr
    assert [line.rpartition("/")[2] for line in machine.said] == ["edgekube_1.2.3_arm64.deb"]
    assert machine.said[0].startswith("apt-get install -y --no-install-recommends /")


def test_a_package_that_is_not_what_the_sums_say_is_not_installed(machine: Machine) -> None:
    machine.publish("edgekube_1.2.3_arm64.deb", b"ours", digest="0" * 64)
    done = machine.run("--no-start")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("is not what SHA256SUMS says; nothing was installed")
    assert machine.said == []


def test_joining_is_part_of_the_same_line(machine: Machine) -> None:
    machine.publish("edgekube_1.2.3_arm64.deb", b"ours")
    done = machine.run("join", "https://gw1:6443", "EK1.x", "--node-name", "gw2")
    assert done.returncode == 0, done.stderr
    assert machine.said[-1] == "edgekube join https://gw1:6443 EK1.x --node-name gw2"


def test_a_local_package_needs_no_network(machine: Machine) -> None:
    (machine.directory / "my.deb").write_bytes(b"x")
    assert machine.run("--package", "my.deb", "--no-start").returncode == 0
    assert machine.said == ["apt-get install -y --no-install-recommends ./my.deb"]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("--strange",), 2, "unknown argument '--strange'"),
        (("join", "https://gw1:6443"), 1, "join needs the server's address and a token"),
        (("--package", "/nowhere.deb"), 1, "cannot read /nowhere.deb"),
        (("--no-start",), 1, "cannot fetch"),
    ],
)
def test_what_is_wrong_is_one_line(machine: Machine, words: tuple[str, ...], status: int, told: str) -> None:
    done = machine.run(*words)
    assert done.returncode == status
    assert told in done.stderr.strip().splitlines()[-1]
    assert machine.said == []


def test_other_architectures_and_ordinary_users_are_told(machine: Machine) -> None:
    machine.program("dpkg", "echo riscv64")
    assert "no package for riscv64" in machine.run().stderr
    machine.program("id", "echo 1000")
    assert "run me as root" in machine.run().stderr


def test_an_installation_that_fails_shows_apts_last_words(machine: Machine) -> None:
    machine.publish("edgekube_1.2.3_arm64.deb", b"ours")
    machine.program("apt-get", "echo 'E: unmet dependencies'; exit 100")
    done = machine.run("--no-start")
    assert done.returncode == 1
    assert "E: unmet dependencies" in done.stderr
