"""The images of this machine, as its container runtime holds them: list, import, pin. Works beside a running server or agent."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from edgekube.errors import EnvironmentError_, NotFound, UsageError
from edgekube.net.grpc import RpcFailed
from edgekube.net.process import ProgramFailed
from edgekube.node.config import NodeConfig
from edgekube.node.run import own_containerd
from edgekube.node.runtime.containerd import import_archive
from edgekube.node.runtime.cri import Runtime

PINNED = "io.cri-containerd.pinned"
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """One name of an image, its id ("sha256:..."), its size in bytes, and whether garbage collection leaves it alone."""

    name: str
    id: str
    size_bytes: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A runtime that answers, and its socket."""

    runtime: Runtime
    socket: str


@asynccontextmanager
async def runtime_of(data_dir: Path, endpoint: str) -> AsyncIterator[Place]:
    """The runtime of the server or agent in `data_dir`, or the one at `endpoint`. Raises EnvironmentError_."""
    config = NodeConfig(node_name="", node_ip="", data_dir=data_dir, runtime_endpoint=endpoint)
    socket = endpoint.removeprefix("unix://") or str(own_containerd(config).socket)
    if not Path(socket).exists():  # noqa: ASYNC240 - one look at a local path
        raise EnvironmentError_(f"no container runtime listens at {socket}; is edgekube running here? (--data-dir)")
    runtime = Runtime(socket)
    try:
        with trio.move_on_after(ANSWER_S) as limit:
            await runtime.version()
        if limit.cancelled_caught:
            raise EnvironmentError_(f"the container runtime at {socket} does not answer")
        yield Place(runtime, socket)
    except RpcFailed as failed:
        raise EnvironmentError_(f"container runtime: {failed.message}") from failed
    finally:
        runtime.close()


async def held(runtime: Runtime) -> list[Held]:
    """Everything, by name. An image with several names is there several times; one without has its digest."""
    stored = await runtime.stored_images()
    found = []
    for image in await runtime.images():
        for name in image.tags or image.digests or ("<none>",):
            pinned = stored.get(name, {}).get(PINNED) == "pinned" or (name not in stored and image.pinned)
            found.append(Held(name, image.id, image.size, pinned))
    return sorted(found, key=lambda one: one.name)


async def bring(place: Place, archives: Sequence[Path], say: Callable[[str], None]) -> list[str]:
    """Import archives (OCI or `docker save`, gzipped or not) and pin what was in them. Raises UsageError, EnvironmentError_."""
    names: list[str] = []
    for archive in archives:
        say(f"importing {archive}")
        try:
            source = await trio.to_thread.run_sync(_content, archive)
            names += await import_archive(place.runtime, place.socket, source)
        except OSError as error:
            raise UsageError(f"{archive}: {error.strerror or error}") from error
        except ProgramFailed as failed:
            raise UsageError(f"{archive} is not an image archive: {failed}") from failed
    return names


def _content(archive: Path) -> bytes | Path:
    with archive.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.decompress(archive.read_bytes()) if packed else archive.absolute()


async def pin(runtime: Runtime, names: Sequence[str], *, pinned: bool) -> list[str]:
    """Keep images from collection, or let them go; the full names. Raises NotFound before anything is changed."""
    stored = await runtime.stored_images()
    full = []
    for name in names:
        image = await runtime.image(name)
        known = {*image.tags, *image.digests} if image is not None else set()
        wanted = {name, f"docker.io/{name}", f"docker.io/library/{name}"}
        wanted |= {f"{one}:latest" for one in wanted}
        matching = sorted(known & wanted & set(stored)) or sorted(known & set(stored))
        if not matching:
            raise NotFound(f'image "{name}" not found')
        full += matching
    for name in full:
        await runtime.label_image(name, {PINNED: "pinned" if pinned else ""})
    return sorted(full)
