"""Image garbage: when the disk fills up, images nobody has used for longest go first. `choose` is pure.

Source: kubelet images/image_gc_manager.go (thresholds, minimum age; pinned images and those in use stay).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from edgekube.clock import Clock
from edgekube.net.grpc import RpcFailed
from edgekube.node.machine import disk_figures
from edgekube.node.runtime.cri import Image, Runtime
from edgekube.node.runtime.packing import PAUSE_IMAGE

HIGH_SHARE, LOW_SHARE = 0.85, 0.80
LEAST_AGE_S = 120.0
EVERY_S = 300.0

log = logging.getLogger("edgekube.node.images")


def choose(
    images: Sequence[Image],
    in_use: set[str],
    last_used: Mapping[str, float],
    pinned: set[str],
    to_free: int,
    now: float,
) -> list[Image]:
    """Images to remove, oldest use first, until `to_free` bytes are covered."""
    candidates = [
        image
        for image in images
        if image.id not in in_use
        and not image.pinned
        and not pinned & {*image.tags, *image.digests}
        and now - last_used.get(image.id, now) >= LEAST_AGE_S
    ]
    chosen, freed = [], 0
    for image in sorted(candidates, key=lambda item: last_used.get(item.id, now)):
        if freed >= to_free:
            break
        chosen.append(image)
        freed += image.size
    return chosen


@dataclass
class ImageCollector:
    """Looks every EVERY_S."""

    runtime: Runtime
    clock: Clock
    directory: Path  # on the file system that images lie on
    last_used: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.collect()
            except RpcFailed as failed:
                log.info("images are not collected: %s", failed.message)
            await trio.sleep(EVERY_S)

    async def collect(self) -> list[str]:
        """One round; what was removed."""
        now = self.clock.monotonic()
        images = await self.runtime.images()
        in_use = {container.image_ref for container in await self.runtime.containers()}
        for image in images:
            if image.id in in_use or image.id not in self.last_used:
                self.last_used[image.id] = now
        for gone in self.last_used.keys() - {image.id for image in images}:
            del self.last_used[gone]
        size, free, _, _ = disk_figures(self.directory)
        if size == 0 or (size - free) / size < HIGH_SHARE:
            return []
        to_free = int(size * (1 - LOW_SHARE)) - free
        try:
            stored = await self.runtime.stored_images()
        except RpcFailed:
            stored = {}  # not containerd; CRI's own `pinned` must do
        pinned = {name for name, labels in stored.items() if labels.get("io.cri-containerd.pinned") == "pinned"} | {
            PAUSE_IMAGE
        }
        removed = []
        for image in choose(images, in_use, self.last_used, pinned, to_free, now):
            await self.runtime.remove_image(image.id)
            removed.append(image.id)
        log.info("removed %d images to free %d bytes", len(removed), to_free)
        return removed
