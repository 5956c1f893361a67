"""Two pods cannot have the same port of a node."""

from __future__ import annotations

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.snapshot import HostPort, NodeInfo, Snapshot, summarise
from edgekube.kinds.core.pod import Pod

REFUSAL = Refusal(("node(s) didn't have free ports for the requested pod ports",))
ANY = "0.0.0.0"


def prepare(pod: Pod, _: Snapshot) -> tuple[HostPort, ...] | None:
    """The ports asked for."""
    return summarise(pod).ports or None


def refuse(ports: tuple[HostPort, ...], info: NodeInfo) -> Refusal | None:
    """Nodes where one is taken."""
    return REFUSAL if any(_clash(asked, taken) for asked in ports for taken in info.ports) else None


def _clash(one: HostPort, other: HostPort) -> bool:
    same_port = one.port == other.port and one.protocol == other.protocol
    return same_port and (one.ip == other.ip or ANY in (one.ip, other.ip))


RULE = Rule("NodePorts", prepare, refuse, frozenset({"nodes", "pods"}))
