"""Take away what a server leaves running on purpose: `python -m tests.e2e.clean DATA_DIR [DNS_ADDRESS]`.

Containers outlive their server by design; a test machine wants them gone. Everything is found by the data directory's name:
processes whose command line or mounts mention it, then its mounts, its bridge and its nftables table.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from edgekube.app.agent import network_config
from edgekube.app.config import combine


def processes(data: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if data in words and "tests.e2e.clean" not in words and "pytest" not in words:
                found.append(int(entry.name))
    return found


def children_of_shims(pids: list[int]) -> list[int]:
    made = []
    for pid in pids:
        try:
            made += [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            continue
    return made


def forget_empty_sandboxes() -> None:
    """Network namespaces of sandboxes whose processes were killed: nobody is left in them, and their veths go with them."""
    lived_in = set()
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            lived_in.add(entry.stat().st_ino)
        except OSError:
            continue
    for place in Path("/run/netns").glob("cni-*"):
        if place.stat().st_ino not in lived_in:
            subprocess.run(["ip", "netns", "del", place.name], check=False, stderr=subprocess.DEVNULL)


def main(data: str, dns: str = "") -> None:
    for _ in range(5):
        found = processes(data)
        for pid in [*children_of_shims(found), *found]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not processes(data):
            break
        time.sleep(0.3)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if data in line]
    for mount in reversed(mounts):
        subprocess.run(["umount", "-l", mount], check=False, stderr=subprocess.DEVNULL)
    forget_empty_sandboxes()
    network = network_config(combine({"data_dir": data, "node_name": "x"}, {}), "127.0.0.1")
    subprocess.run(["nft", "delete", "table", "ip", network.table], check=False, stderr=subprocess.DEVNULL)
    for link in (network.bridge, network.overlay):
        subprocess.run(["ip", "link", "del", link], check=False, stderr=subprocess.DEVNULL)
    if dns:
        subprocess.run(["ip", "addr", "del", f"{dns}/32", "dev", "lo"], check=False, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main(*sys.argv[1:])
