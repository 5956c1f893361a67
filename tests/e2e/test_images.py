"""Images without a registry: brought in, listed, pinned; seen by kubectl's pods."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import IMAGE
from tests.support import ROOT, Server


def edgekube(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgekube", "images", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )


def rows(cluster: Server) -> dict[str, list[str]]:
    done = edgekube("list", "--data-dir", str(cluster.directory / "data"))
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["IMAGE", "ID", "SIZE", "PINNED"]
    return {line[0]: line[1:] for line in lines[1:]}


def test_an_archive_is_imported_while_the_server_runs_and_can_be_used_pinned_and_let_go(
    cluster: Server, tmp_path: Path
) -> None:
    where = ("--data-dir", str(cluster.directory / "data"))
    name = "edgekube.local/brought:1"
    subprocess.run(
        [sys.executable, "packaging/pack-busybox.py", name, str(tmp_path / "one.tar")],
        cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    packed = tmp_path / "one.tar.gz"
    packed.write_bytes(gzip.compress((tmp_path / "one.tar").read_bytes()))
    done = edgekube("import", str(packed), *where)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
    assert rows(cluster)[name][2] == "yes"
    assert edgekube("unpin", name, *where).stdout == f"{name} unpinned\n"
    assert rows(cluster)[name][2] == "no"
    assert edgekube("pin", name, *where).stdout == f"{name} pinned\n"
    assert rows(cluster)[name][2] == "yes"
    assert rows(cluster)[IMAGE][2] == "yes"
    cluster.kubectl("run", "brought", f"--image={name}", "--image-pull-policy=Never", "--restart=Never", "--", "true")
    cluster.kubectl("wait", "pod/brought", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
    cluster.kubectl("delete", "pod", "brought", "--wait=false")


def test_what_cannot_be_done_is_one_line(cluster: Server, tmp_path: Path) -> None:
    where = ("--data-dir", str(cluster.directory / "data"))
    (tmp_path / "x.tar").write_text("no archive")
    bad = edgekube("import", str(tmp_path / "x.tar"), *where)
    assert (bad.returncode, bad.stdout, len(bad.stderr.strip().splitlines())) == (2, "", 1), bad.stderr
    assert "is not an image archive" in bad.stderr
    missing = edgekube("pin", "nothing.local/of-this:1", *where)
    assert missing.returncode == 1
    assert "not found" in missing.stderr
    nowhere = edgekube("list", "--data-dir", str(tmp_path))
    assert (nowhere.returncode, nowhere.stderr.splitlines()[0][:50]) == (
        1,
        "error: no container runtime listens at " + str(tmp_path)[:11],
    )
