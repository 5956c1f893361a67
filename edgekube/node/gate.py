"""What people ask of this node through the API server: logs, exec, attach, port-forward, figures (`net.nodegate.NodeGate`).

Source: kubelet server.go, kubelet_pods.go validateContainerLogStatus, portforward (wording).
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from edgekube.errors import BadRequest, InternalError, NotFound
from edgekube.kinds.core.podstatus import ContainerStatus
from edgekube.net.grpc import RpcFailed
from edgekube.net.nodegate import Channels, LogOptions, RunOptions
from edgekube.node import localvolumes
from edgekube.node.logs import read_log
from edgekube.node.netns import connect, namespace_path
from edgekube.node.pods.manager import Manager
from edgekube.node.pods.seen import find_container
from edgekube.node.pods.worker import Worker
from edgekube.node.runtime.cri import ContainerDetail
from edgekube.node.stats import readings, resource_metrics, summary

log = logging.getLogger("edgekube.node.gate")

IMAGE_WORDS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class Gate:
    """One node's gate."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._tools = manager.tools

    # ---- logs

    @asynccontextmanager
    async def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Log bytes of a container. Raises NotFound, BadRequest."""
        worker = self._worker(namespace, pod)
        detail = self._logged(worker, container, previous=options.previous)
        path = Path(detail.log_path)

        def running() -> bool:
            current = next((c for c in worker.seen.containers if c.id == detail.id), None)
            return current is not None and current.state == "RUNNING" and not worker.finished.is_set()

        try:
            source = read_log(path, options, self._tools.clock.now(), running)
        except ValueError as error:
            raise BadRequest(str(error)) from None
        try:
            if not await trio.Path(path).exists():
                raise NotFound(
                    f'failed to try resolving symlinks in path "{path}": lstat {path}: no such file or directory'
                )
            yield source
        finally:
            await source.aclose()  # type: ignore[attr-defined]

    def _worker(self, namespace: str, pod: str) -> Worker:
        worker = self._manager.find(namespace, pod)
        if worker is None:
            raise NotFound(f'pods "{pod}" not found', name=pod, kind="pods")
        return worker

    def _logged(self, worker: Worker, container: str, *, previous: bool) -> ContainerDetail:
        """The container whose log is meant, or why there is none."""
        pod = worker.pod.metadata.name
        if find_container(worker.pod, container) is None:
            raise BadRequest(f"container {container} is not valid for pod {pod}")
        latest = worker.seen.latest(container)
        if previous:
            before = worker.seen.previous(container) if latest is None or latest.state != "EXITED" else None
            status = _status_of(worker, container)
            if before is None and latest is not None and latest.state == "EXITED":
                waiting = status is not None and status.state.waiting is not None
                before = latest if waiting else worker.seen.previous(container)
            if before is None:
                raise BadRequest(f'previous terminated container "{container}" in pod "{pod}" not found')
            return before
        if latest is None or latest.state == "CREATED":
            older = worker.seen.previous(container)
            if older is not None:
                return older
            status = _status_of(worker, container)
            reason = status.state.waiting.reason if status and status.state.waiting else "ContainerCreating"
            words = IMAGE_WORDS.get(reason, reason)
            raise BadRequest(f'container "{container}" in pod "{pod}" is waiting to start: {words}')
        return latest

    # ---- exec and attach

    async def run(self, namespace: str, pod: str, container: str, options: RunOptions, channels: Channels) -> None:
        """Exec (or attach) until it ends."""
        from edgekube.net.spdyclient import relay

        worker = self._worker(namespace, pod)
        latest = worker.seen.latest(container)
        if latest is None or latest.state != "RUNNING":
            raise NotFound(f'container not found ("{container}")')
        runtime = self._tools.runtime
        try:
            if options.command:
                url = await runtime.exec_url(
                    latest.id,
                    options.command,
                    tty=options.tty,
                    stdin=options.stdin,
                    stdout=options.stdout,
                    stderr=options.stderr and not options.tty,
                )
            else:
                url = await runtime.attach_url(
                    latest.id,
                    tty=options.tty,
                    stdin=options.stdin,
                    stdout=options.stdout,
                    stderr=options.stderr and not options.tty,
                )
        except RpcFailed as failed:
            raise InternalError(failed.message) from None
        await relay(url, options, channels)

    # ---- port-forward

    async def dial(self, namespace: str, pod: str, port: int) -> trio.abc.Stream:
        """A stream to a port of the pod. Raises OSError, NotFound."""
        worker = self._worker(namespace, pod)
        if worker.pod.spec.host_network:
            return await connect("", port)
        sandbox = worker.seen.sandbox
        if sandbox is None or not sandbox.ready:
            raise NotFound(f'pod not found ("{pod}_{namespace}")')
        try:
            detail = await self._tools.runtime.sandbox_detail(sandbox.id, verbose=True)
        except RpcFailed as failed:
            raise OSError(failed.message) from None
        return await connect(namespace_path(detail.info), port)

    # ---- pages

    async def fetch(self, path: str) -> tuple[int, str, bytes]:
        """/healthz, /pods, /stats/summary, /metrics/resource; for our own server alone, /edgekube/usage and /edgekube/volumes/."""
        page = path.partition("?")[0].rstrip("/")
        if page == "/healthz":
            return 200, "text/plain; charset=utf-8", b"ok"
        if page in ("/stats/summary", "/metrics/resource", "/edgekube/usage"):
            return await self._figures(page)
        if page.startswith(localvolumes.PAGE):
            root, name = self._tools.config.volumes_dir, page.removeprefix(localvolumes.PAGE)
            why = await trio.to_thread.run_sync(localvolumes.removed, root, name)
            return (500 if why else 200), "text/plain; charset=utf-8", (why or "gone").encode()
        if page == "/pods":
            from edgekube.kinds.core import pod as pod_kind

            items = [pod_kind.KIND.to_dict(worker.pod) for worker in self._manager.workers.values()]
            told = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
            return 200, "application/json", json.dumps(told).encode()
        return 404, "text/plain; charset=utf-8", b"404 page not found\n"

    async def _figures(self, page: str) -> tuple[int, str, bytes]:
        """What is used, in the form that was asked for."""
        try:
            usages = await self._tools.runtime.usage()
        except RpcFailed as failed:
            return 500, "text/plain; charset=utf-8", failed.message.encode()
        config, now = self._tools.config, self._tools.clock.now()
        pods = [worker.pod for worker in self._manager.workers.values() if not worker.finished.is_set()]
        at_ns = int(now.timestamp() * 1e9)
        if page == "/metrics/resource":
            text = resource_metrics(pods, usages, at_ns)
            return 200, "text/plain; version=0.0.4; charset=utf-8", text.encode()
        if page == "/edgekube/usage":
            return 200, "application/json", json.dumps(readings(pods, usages, at_ns), separators=(",", ":")).encode()
        told = summary(config.node_name, config.data_dir, pods, usages, now)
        return 200, "application/json", json.dumps(told).encode()


def _status_of(worker: Worker, container: str) -> ContainerStatus | None:
    last = worker.last
    for status in (*last.container_statuses, *last.init_container_statuses, *last.ephemeral_container_statuses):
        if status.name == container:
            return status
    return None
