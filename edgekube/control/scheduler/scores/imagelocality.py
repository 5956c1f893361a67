"""Prefer nodes that have the images, the more the larger they are. Source: plugins/imagelocality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekube.control.scheduler.decide import BEST_SCORE, Score, as_they_are
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

MIB = 1024 * 1024
SMALL_BYTES = 23 * MIB  # below this an image is as good as absent
LARGE_BYTES_PER_CONTAINER = 1000 * MIB


@dataclass(frozen=True, slots=True)
class State:
    """The images wanted and on which part of the nodes each is."""

    images: Sequence[str]
    spread: Mapping[str, float]


def normalised(image: str) -> str:
    """An image name with its tag."""
    return image if ":" in image.rsplit("/", 1)[-1] or "@" in image else f"{image}:latest"


def prepare(pod: Pod, snapshot: Snapshot, _: Sequence[NodeInfo]) -> State | None:
    """Where the pod's images are; None where they are nowhere."""
    images = [normalised(container.image) for container in [*pod.spec.init_containers, *(pod.spec.containers or [])]]
    known = snapshot.index.images
    having = {image: known.get(image, 0) for image in set(images)}
    if not any(having.values()):
        return None
    return State(images, {image: count / len(snapshot.nodes) for image, count in having.items()})


def score(state: State, info: NodeInfo) -> float:
    """From nothing of use to everything there."""
    there = info.images
    total = sum(there.get(image, 0) * state.spread[image] for image in state.images)
    large = LARGE_BYTES_PER_CONTAINER * max(1, len(state.images))
    return BEST_SCORE * (min(max(total, SMALL_BYTES), large) - SMALL_BYTES) / (large - SMALL_BYTES)


SCORE = Score("ImageLocality", 1, prepare, score, as_they_are)
