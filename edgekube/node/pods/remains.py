"""What containers leave behind: dead containers, sandboxes, logs and links to logs. Kept while of use, then removed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import trio

from edgekube.kinds.core.pod import Pod
from edgekube.net.grpc import RpcFailed
from edgekube.node.pods.configs import log_directory
from edgekube.node.pods.seen import Seen, format_pod
from edgekube.node.pods.tools import Tools

DEAD_KEPT_PER_CONTAINER = 1  # for `logs --previous`
AGAIN_S = 1.0

log = logging.getLogger("edgekube.node.pods")


def _link(tools: Tools, pod: Pod, name: str, container_id: str) -> Path | None:
    links = tools.config.log_links_dir
    meta = pod.metadata
    return None if links is None else links / f"{meta.name}_{meta.namespace}_{name}-{container_id}.log"


def link_log(tools: Tools, pod: Pod, name: str, restart_count: int, container_id: str) -> None:
    """Put a link where log shippers look, if they are served."""
    if (link := _link(tools, pod, name, container_id)) is None:
        return
    meta = pod.metadata
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    directory = log_directory(tools.config.logs, meta.namespace, meta.name, meta.uid)
    link.symlink_to(directory / name / f"{restart_count}.log")


async def drop_unstarted(tools: Tools, seen: Seen, name: str) -> None:
    """A container made but never started (we were killed in between) only stands in the way of its successor."""
    for detail in seen.containers:
        if detail.name == name and detail.state == "CREATED":
            await tools.runtime.remove_container(detail.id)


async def drop_dead(tools: Tools, pod: Pod, seen: Seen, name: str) -> None:
    """Keep the last dead container of a name; earlier ones go with their logs."""
    dead = [c for c in seen.containers if c.name == name and c.state == "EXITED"]
    for detail in dead[DEAD_KEPT_PER_CONTAINER:]:
        await tools.runtime.remove_container(detail.id)
        if detail.log_path:
            await trio.Path(detail.log_path).unlink(missing_ok=True)
        if (link := _link(tools, pod, name, detail.id)) is not None:
            link.unlink(missing_ok=True)


async def drop_old_sandboxes(tools: Tools, seen: Seen) -> None:
    """Sandboxes of earlier attempts whose containers are all gone."""
    lived_in = {detail.sandbox_id for detail in seen.containers}
    for sandbox in seen.sandboxes[1:]:
        if not sandbox.ready and sandbox.id not in lived_in:
            await tools.runtime.remove_sandbox(sandbox.id)


async def remove_all(tools: Tools, pod: Pod) -> None:
    """Everything of a pod in the runtime, and its logs. Tried until the runtime did it."""
    uid, meta = pod.metadata.uid, pod.metadata
    while True:
        try:
            for container in await tools.runtime.containers(uid):
                await tools.runtime.remove_container(container.id)
                if (link := _link(tools, pod, container.name, container.id)) is not None:
                    link.unlink(missing_ok=True)
            for sandbox in await tools.runtime.sandboxes(uid):
                await tools.runtime.stop_sandbox(sandbox.id)
                await tools.runtime.remove_sandbox(sandbox.id)
            break
        except RpcFailed as failed:
            log.info("%s: remains not removed yet: %s", format_pod(pod), failed.message)
            await trio.sleep(AGAIN_S)
    logs = log_directory(tools.config.logs, meta.namespace, meta.name, meta.uid)
    await trio.to_thread.run_sync(lambda: shutil.rmtree(logs, ignore_errors=True))
