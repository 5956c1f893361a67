"""What nodes and pods use, asked of the nodes only when somebody asks us.

CPU is a counter at its source, so a figure takes two samples. Each node's newest two are kept; a question that finds them stale
fetches one more, or two a moment apart when nothing recent is there. While nobody asks, nothing is sampled: on an agent's link and
in its idle CPU this costs nothing. `figures` is pure. Source: metrics-server pkg/storage (pod.go, node.go) for what makes a usable
pair of samples.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
import trio

from edgekube.clock import Clock
from edgekube.errors import ApiError, ConnectionFailed
from edgekube.net.nodegate import NodeGate

log = logging.getLogger("edgekube.usage")

PAGE = "/edgekube/usage"
FRESH_S = 10.0  # a sample younger than this is not taken again
RECENT_S = 120.0  # an older one is no beginning of a window any more
PAIR_S = 1.5  # between two samples when there was none
PATIENCE_S = 8.0  # for one node to answer
SECOND_NS = 1_000_000_000


class Reading(msgspec.Struct, array_like=True, frozen=True):
    """A counter and a gauge: when (ns, the node's own clock), CPU used so far (ns), working set (bytes)."""

    at: int
    cpu: int
    memory: int


class Sample(msgspec.Struct, frozen=True):
    """A node's page: the node's own reading, and "namespace/pod" -> container -> reading."""

    node: Reading
    pods: dict[str, dict[str, Reading]]


@dataclass(frozen=True, slots=True)
class Figure:
    """What was used: CPU in nanoseconds per second over `window_s` seconds, memory in bytes."""

    cpu: int
    memory: int
    window_s: float


@dataclass(slots=True)
class _Kept:
    newest: Sample
    taken_at: float  # monotonic
    moment: datetime  # by our clock: the node's may be anything
    before: Sample | None = None


def figure(before: Reading, newest: Reading) -> Figure | None:
    """The average between two readings; None when they make no pair (a counter that began anew, no time between)."""
    elapsed = newest.at - before.at
    if elapsed <= 0 or newest.cpu < before.cpu:
        return None
    return Figure((newest.cpu - before.cpu) * SECOND_NS // elapsed, newest.memory, elapsed / SECOND_NS)


def pod_figures(before: Sample, newest: Sample, pod: str) -> dict[str, Figure] | None:
    """By container. None unless every container of the pod has a figure: half a pod would mislead an autoscaler."""
    now, then = newest.pods.get(pod), before.pods.get(pod, {})
    if not now:
        return None
    found: dict[str, Figure] = {}
    for name, reading in now.items():
        made = figure(then[name], reading) if name in then else None
        if made is None:
            return None
        found[name] = made
    return found


class Usage:
    """Samples by node. `gates` is shared with whoever knows how to reach nodes."""

    def __init__(self, gates: Mapping[str, NodeGate], clock: Clock) -> None:
        self._gates, self._clock = gates, clock
        self._kept: dict[str, _Kept] = {}
        self._busy: dict[str, trio.Lock] = {}
        self._decoder = msgspec.json.Decoder(Sample)

    async def bring_up_to_date(self, nodes: Iterable[str]) -> None:
        """Sample these nodes where that is due, all at once. Nodes that do not answer have no figures."""
        for name in [name for name in self._kept if name not in self._gates]:
            del self._kept[name]
            self._busy.pop(name, None)
        async with trio.open_nursery() as nursery:
            for name in {name for name in nodes if name in self._gates}:
                nursery.start_soon(self._bring_one, name)

    async def _bring_one(self, node: str) -> None:
        async with self._busy.setdefault(node, trio.Lock()):  # who waited finds fresh samples
            kept, now = self._kept.get(node), self._clock.monotonic()
            if kept is not None and kept.before is not None and now - kept.taken_at < FRESH_S:
                return
            try:
                if kept is None or now - kept.taken_at > RECENT_S:
                    self._kept.pop(node, None)
                    await self._sample(node)
                    await trio.sleep(PAIR_S)
                await self._sample(node)
            except (ApiError, ConnectionFailed, OSError, msgspec.DecodeError, trio.TooSlowError) as error:
                log.info("node %s gives no figures: %s", node, str(error) or "it does not answer")
                self._kept.pop(node, None)

    async def _sample(self, node: str) -> None:
        gate = self._gates.get(node)
        if gate is None:
            raise ConnectionFailed("it is not connected")
        with trio.fail_after(PATIENCE_S):
            status, _, body = await gate.fetch(PAGE)
        if status != 200:
            raise ConnectionFailed(f"it answered {status}")
        sample = self._decoder.decode(body)
        last = self._kept.get(node)
        before = last.newest if last is not None else None
        self._kept[node] = _Kept(sample, self._clock.monotonic(), self._clock.now(), before)

    def node(self, node: str) -> tuple[Figure, datetime] | None:
        """(a node's figure, when it was taken)."""
        kept = self._kept.get(node)
        if kept is None or kept.before is None:
            return None
        made = figure(kept.before.node, kept.newest.node)
        return None if made is None else (made, kept.moment)

    def pod(self, node: str, namespace: str, name: str) -> tuple[dict[str, Figure], datetime] | None:
        """(figures by container, when they were taken)."""
        kept = self._kept.get(node)
        if kept is None or kept.before is None:
            return None
        made = pod_figures(kept.before, kept.newest, f"{namespace}/{name}")
        return None if made is None else (made, kept.moment)
