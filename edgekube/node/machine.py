"""What the machine says of itself: processors, memory, disk, names. Reads /proc, /sys and /etc; nothing is kept."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at the machine. Sizes in bytes."""

    cpus: int
    memory: int
    disk: int
    pids: int
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str
    architecture: str
    hostname: str
    swap: int


ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "armv8l": "arm"}


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def memory_figures() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    found = {}
    for line in _text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * (1024 if len(words) > 1 else 1)
    return found


def disk_figures(path: Path) -> tuple[int, int, int, int]:
    """(bytes, bytes free, inodes, inodes free) of the file system a path lies on."""
    while not path.exists():
        path = path.parent
    state = os.statvfs(path)
    return state.f_blocks * state.f_frsize, state.f_bavail * state.f_frsize, state.f_files, state.f_favail


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def look(data_dir: Path) -> Machine:
    """The machine now."""
    memory = memory_figures()
    machine = platform.machine()
    pids = _text("/proc/sys/kernel/pid_max")
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory.get("MemTotal", 0),
        disk=disk_figures(data_dir)[0],
        pids=int(pids) if pids.isdigit() else 32768,
        machine_id=_text("/etc/machine-id") or _text("/var/lib/dbus/machine-id"),
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or _text("/etc/machine-id"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=_os_image(),
        architecture=ARCHITECTURES.get(machine, machine),
        hostname=platform.node(),
        swap=memory.get("SwapTotal", 0),
    )
