"""The cgroups of pods themselves (those of containers are the runtime's): made with the pod's bounds, removed after it.

Works with both hierarchies. A machine without a controller (no memory cgroup on some boards) does without that bound.
"""

# ruff: noqa: ASYNC240 - cgroup files are answered by the kernel without waiting

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from pathlib import Path

import trio

from edgekube.node.pods.resources import CGROUP_ROOT, PERIOD_US

MOUNT = Path("/sys/fs/cgroup")
REMOVE_ATTEMPTS = 20
REMOVE_PAUSE_S = 0.05  # processes killed a moment ago still count for a few milliseconds
SWEEP_AGE_S = 600.0
CLASSES = ("burstable", "besteffort")

log = logging.getLogger("edgekube.node.cgroups")


def is_v2(mount: Path = MOUNT) -> bool:
    """Whether the unified hierarchy is the one in use."""
    return (mount / "cgroup.controllers").exists()


def has_memory(mount: Path = MOUNT) -> bool:
    """Whether the kernel can bound memory."""
    if is_v2(mount):
        return "memory" in (mount / "cgroup.controllers").read_text().split()
    return (mount / "memory").is_dir()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        log.debug("%s: %s", path, error)


def prepare(mount: Path = MOUNT) -> None:
    """Make the class cgroups that pods lie in. BestEffort pods share the least of CPU."""
    if not is_v2(mount):
        for controller in ("cpu", "memory"):
            if (mount / controller).is_dir():
                for name in CLASSES:
                    (mount / controller / CGROUP_ROOT[1:] / name).mkdir(parents=True, exist_ok=True)
        _write(mount / "cpu" / CGROUP_ROOT[1:] / "besteffort" / "cpu.shares", "2")
        return
    enable = " ".join(f"+{name}" for name in (mount / "cgroup.controllers").read_text().split())
    for directory in (mount, mount / CGROUP_ROOT[1:], *(mount / CGROUP_ROOT[1:] / name for name in CLASSES)):
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / "cgroup.subtree_control", enable)
    _write(mount / CGROUP_ROOT[1:] / "besteffort" / "cpu.weight", "1")


def weight(shares: int) -> int:
    """cgroup v2 cpu.weight of cpu.shares, as runc converts it."""
    return 1 + (shares - 2) * 9999 // 262142


class PodCgroups:
    """The cgroups of this machine's pods, below `mount`."""

    def __init__(self, mount: Path = MOUNT) -> None:
        self._mount = mount

    def prepare(self) -> None:
        """Make what pods' cgroups lie in; a machine where that cannot be done is told, and runs pods all the same."""
        try:
            prepare(self._mount)
        except OSError as error:
            log.warning("cgroups of pods cannot be prepared: %s", error)
        if not has_memory(self._mount):
            log.warning("this kernel has no memory cgroup controller: memory limits of pods are not kept")

    def bound(self, parent: str, bounds: Mapping[str, int]) -> None:
        """Make a pod's cgroup and write its bounds (as `resources.pod_resources` gives them)."""
        bound(self._mount, parent, bounds)

    async def remove(self, parent: str) -> None:
        """Take a pod's cgroup away in every hierarchy; what still has processes in it is left to a later round."""
        await remove(self._mount, parent)

    def sweep(self, known: Container[str], now: float) -> int:
        """Remove cgroups that pods not in `known` (uids) left behind; how many. Those in use, perhaps by another server of this
        machine, cannot be removed, and young ones are left alone."""
        roots = [self._mount] if is_v2(self._mount) else sorted(self._mount.glob("*/"))
        removed = 0
        for root in roots:
            for directory in [*root.glob(f"{CGROUP_ROOT[1:]}/pod*"), *root.glob(f"{CGROUP_ROOT[1:]}/*/pod*")]:
                try:
                    if directory.name[3:] in known or now - directory.stat().st_mtime < SWEEP_AGE_S:
                        continue
                except FileNotFoundError:
                    continue
                for inner in sorted((p for p in directory.rglob("*") if p.is_dir()), reverse=True):
                    _remove(inner)
                removed += _remove(directory)
        return removed


def bound(mount: Path, parent: str, bounds: Mapping[str, int]) -> None:
    """See PodCgroups."""
    if is_v2(mount):
        directory = mount / parent[1:]
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / "cpu.weight", str(weight(bounds["cpu_shares"])))
        _write(directory / "cpu.max", f"{bounds['cpu_quota']} {PERIOD_US}" if "cpu_quota" in bounds else "max")
        _write(directory / "memory.max", str(bounds.get("memory", "max")))
        return
    cpu, memory = mount / "cpu" / parent[1:], mount / "memory" / parent[1:]
    if (mount / "cpu").is_dir():
        cpu.mkdir(parents=True, exist_ok=True)
        _write(cpu / "cpu.shares", str(bounds["cpu_shares"]))
        _write(cpu / "cpu.cfs_quota_us", str(bounds.get("cpu_quota", -1)))
    if (mount / "memory").is_dir():
        memory.mkdir(parents=True, exist_ok=True)
        if "memory" in bounds:
            _write(memory / "memory.limit_in_bytes", str(bounds["memory"]))


async def remove(mount: Path, parent: str) -> None:
    """See PodCgroups."""
    if not mount.is_dir():
        return  # a machine without cgroups
    roots = [mount] if is_v2(mount) else [entry for entry in mount.iterdir() if entry.is_dir()]
    for _ in range(REMOVE_ATTEMPTS):
        left = False
        for root in roots:
            directory = root / parent[1:]
            if not directory.is_dir():
                continue
            for inner in sorted((p for p in directory.rglob("*") if p.is_dir()), reverse=True):
                _remove(inner)
            left = not _remove(directory) or left
        if not left:
            return
        await trio.sleep(REMOVE_PAUSE_S)


def _remove(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
