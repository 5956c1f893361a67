#!/usr/bin/env python3
"""Pack Debian's static busybox as a container image archive, so that a first pod needs no registry.

usage: pack-busybox.py NAME:TAG OUTPUT.tar
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from edgekube.node.runtime.packing import File, pack_image


def busybox() -> Path:
    """The static binary, wherever this Debian has it."""
    for place in ("/bin/busybox", "/usr/bin/busybox"):
        if os.path.exists(place):
            return Path(place)
    sys.exit("pack-busybox.py: no busybox here; install busybox-static")


def main() -> None:
    """Write the archive."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    name, output = sys.argv[1], Path(sys.argv[2])
    binary = busybox()
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    files = {"bin/busybox": File(binary.read_bytes())}
    files |= {f"bin/{applet}": File(link="/bin/busybox") for applet in applets if applet != "busybox"}
    files |= {
        "tmp/": File(mode=0o1777),
        "etc/passwd": File(b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644),
        "etc/group": File(b"root:x:0:\nnogroup:x:65534:\n", 0o644),
    }
    config = {"Cmd": ["sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"}
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_suffix(".tmp")
    temporary.write_bytes(pack_image(name, files, machine=platform.machine(), config=config))
    temporary.rename(output)


main()
