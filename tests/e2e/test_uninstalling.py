"""After `edgekube uninstall` the machine is as it was before: no process, link, rule, mount, address or file is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import FLAGS, IMAGE, node_ready
from tests.support import ROOT, eventually, start


def traces(data_dir: Path) -> dict[str, list[str]]:
    """What of a machine a cluster touches."""

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()

    mark = str(data_dir)
    return {
        "processes": [line for line in lines("ps", "-eo", "args") if mark in line and "uninstall" not in line],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if mark in line],
        "links": sorted(line.split(":")[1].strip().split("@")[0] for line in lines("ip", "-o", "link")),
        "addresses": sorted(line.split()[3] for line in lines("ip", "-o", "-4", "addr")),
        "tables": sorted(line for line in lines("nft", "list", "tables") if "edgekube" in line),
        "routes": sorted(line.strip() for line in lines("ip", "route")),
    }


def test_nothing_is_left(tmp_path: Path) -> None:
    directory, data = tmp_path / "u", tmp_path / "u" / "data"
    before = traces(data)
    subprocess.run(
        [sys.executable, "packaging/pack-busybox.py", IMAGE, str(data / "images/test.tar")],
        cwd=ROOT, check=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    flags = (*FLAGS[4:], "--cluster-cidr", "10.148.0.0/16", "--service-cidr", "10.149.0.0/16")
    server = start(directory, *flags)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data-dir: {data}\nwrite-kubeconfig: {server.kubeconfig}\ncluster-cidr: 10.148.0.0/16\nservice-cidr: 10.149.0.0/16\n"
        f"private-registry: {tmp_path}/none\n"
    )
    try:
        eventually(lambda: node_ready(server), within_s=90)
        eventually(lambda: server.kubectl_raw("get", "serviceaccount", "default").returncode == 0)
        server.kubectl("run", "busy", f"--image={IMAGE}", "--image-pull-policy=Never", "--", "sleep", "3600")
        server.kubectl("wait", "pod/busy", "--for=condition=Ready", "--timeout=60s")
        assert traces(data) != before
        words = [sys.executable, "-m", "edgekube", "uninstall", "--config", str(config)]
        refused = subprocess.run(
            words, capture_output=True, text=True, check=False, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60
        )
        assert (refused.returncode, refused.stderr) == (2, "error: this removes a cluster: say --yes\n")
        done = subprocess.run([*words, "--yes"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=150)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "edgekube is gone from this machine\n"
        assert server.process.wait(30) == 0
        assert not data.exists()
        assert not server.kubeconfig.exists()
        assert traces(data) == before
    finally:
        if server.process.poll() is None:
            server.kill()
        subprocess.run([sys.executable, "-m", "tests.e2e.clean", str(data), "10.149.0.10"], check=False, cwd=ROOT)
