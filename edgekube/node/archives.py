"""Image archives beside the data (`<data-dir>/images/*.tar`), imported at start and kept from collection.

Each archive is imported once per content: name, size and time of those imported are remembered.
"""

# ruff: noqa: ASYNC240 - one small local file

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import trio

from edgekube.net.grpc import RpcFailed
from edgekube.net.process import ProgramFailed
from edgekube.node.runtime.containerd import import_archive
from edgekube.node.runtime.cri import Runtime

PLAIN, PACKED = (".tar",), (".tar.gz", ".tgz")
MEMORY = "imported.json"

log = logging.getLogger("edgekube.node.images")


def _archives(directory: Path) -> dict[str, str]:
    """File name -> what tells its content from another's."""
    if not directory.is_dir():
        return {}
    found = {}
    for path in sorted(directory.iterdir()):
        if path.name.endswith((*PLAIN, *PACKED)) and path.is_file():
            state = path.stat()
            found[path.name] = f"{state.st_size}-{state.st_mtime_ns}"
    return found


async def import_all(runtime: Runtime, socket: str, directory: Path, memory_dir: Path) -> list[str]:
    """Import what is new; the names of imported images. A broken archive is told and left out."""
    memory = memory_dir / MEMORY
    try:
        known: dict[str, dict[str, object]] = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = {}
    present = set(await runtime.stored_images())
    imported = []
    wanted = _archives(directory)
    now: dict[str, dict[str, object]] = {}
    for name, stamp in wanted.items():
        before = known.get(name, {})
        names = [str(image) for image in before.get("images", [])]  # type: ignore[attr-defined]
        if before.get("stamp") == stamp and set(names) <= present:
            now[name] = before
            continue
        try:
            source = await _open(directory / name)
            names = await import_archive(runtime, socket, source)
        except (ProgramFailed, RpcFailed, OSError) as error:
            log.warning("image archive %s is left out: %s", name, error)
            continue
        log.info("imported %s: %s", name, ", ".join(names))
        imported += names
        now[name] = {"stamp": stamp, "images": names}
    if now != known:
        memory_dir.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps(now))
    return imported


async def _open(path: Path) -> bytes | Path:
    if path.name.endswith(PACKED):
        return await trio.to_thread.run_sync(lambda: gzip.decompress(path.read_bytes()))
    return path
