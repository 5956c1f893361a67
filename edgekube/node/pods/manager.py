"""All pods of this node: one worker each, fed from the API, the static directory and the runtime.

Lives here: who gets a worker, whom an event wakes, and what to do with things in the runtime that no pod accounts for. A runtime
event only says "look"; every RELIST_S the whole runtime is listed, and that is the truth.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import trio

from edgekube.client.follow import Cache
from edgekube.client.interface import Client
from edgekube.errors import AlreadyExists, ApiError, ConnectionFailed, NotFound
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.net.grpc import RpcFailed
from edgekube.node.logs import rotate
from edgekube.node.pods.marks import POD_GRACE
from edgekube.node.pods.seen import format_pod
from edgekube.node.pods.static import CONFIG_HASH, CONFIG_MIRROR, StaticPods, is_mirror, make_mirror
from edgekube.node.pods.stopping import DEFAULT_GRACE_S
from edgekube.node.pods.tools import Tools
from edgekube.node.pods.worker import Worker
from edgekube.node.runtime.cri import POD_UID
from edgekube.node.volumes.keeper import remove_pod_directory

RELIST_S = 10.0
EVENTS_AGAIN_S = 2.0
STATIC_EVERY_S = 5.0
HOUSEKEEPING_S = 60.0
LOG_CHECK_S = 10.0
FIRST_RESTART_PAUSE_S = 1.0
LONGEST_RESTART_PAUSE_S = 60.0

log = logging.getLogger("edgekube.node.pods")


class Manager:
    """`take` is given every change of an API pod bound to this node; `run` keeps everything going."""

    def __init__(self, tools: Tools, nursery: trio.Nursery, pods: Cache[Pod]) -> None:
        self.tools, self._nursery, self._pods = tools, nursery, pods
        self.workers: dict[str, Worker] = {}
        self.node_uid = ""
        self._before: dict[str, frozenset[tuple[str, str]]] = {}
        directory = tools.config.static_pods_dir
        self._static = StaticPods(directory, tools.config.node_name) if directory is not None else None

    # ---- who is here

    def take(self, before: Pod | None, after: Pod | None) -> None:
        """An API pod appeared, changed or went."""
        if after is None:
            assert before is not None
            if not is_mirror(before):
                self._lose(before.metadata.uid)
            return
        if is_mirror(after):
            self._show_mirror(after)
            return
        if before is not None and before.metadata.uid != after.metadata.uid:
            self._lose(before.metadata.uid)
        worker = self.workers.get(after.metadata.uid)
        if worker is None:
            self._begin(Worker(self.tools, after))
        else:
            worker.update(after)
            self.tools.statuses.compare(after)

    def _lose(self, uid: str) -> None:
        if (worker := self.workers.get(uid)) is not None:
            worker.gone()

    def _begin(self, worker: Worker) -> None:
        self.workers[worker.pod.metadata.uid] = worker
        self._nursery.start_soon(self._work, worker)

    async def _work(self, worker: Worker) -> None:
        """A worker to its end; one that fails (our mistake) is followed by a fresh one, which knows only what it can observe."""
        uid, pause_s = worker.pod.metadata.uid, FIRST_RESTART_PAUSE_S
        while True:
            failed = True
            try:
                await worker.run()
                failed = False
            except* Exception:
                log.exception("the worker of %s failed; another begins", format_pod(worker.pod))
            if not failed:
                break
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_RESTART_PAUSE_S)
            worker = self.workers[uid] = worker.successor()
        if self.workers.get(uid) is worker:
            del self.workers[uid]

    def find(self, namespace: str, name: str) -> Worker | None:
        """The worker of a pod by name; of several (one ending, one begun) the newest."""
        found = None
        for worker in self.workers.values():
            if worker.pod.metadata.name == name and worker.pod.metadata.namespace == namespace:
                found = worker
        return found

    def wake_users(self, uids: Iterable[str]) -> None:
        """Something these pods refer to has changed."""
        for uid in uids:
            if (worker := self.workers.get(uid)) is not None:
                worker.wake()

    # ---- tasks

    def start_tasks(self) -> None:
        """What goes on for as long as the node does; a task that fails (our mistake) is told and begun again."""
        for task in (self.relist, self.housekeep, self.rotate_logs):
            self._nursery.start_soon(self.keep_going, task)

    @staticmethod
    async def keep_going(task: Callable[[], Awaitable[None]]) -> None:
        """Run a task for ever, whatever happens in it."""
        while True:
            try:
                await task()
                return
            except* Exception:
                log.exception("%s failed and is begun again", getattr(task, "__name__", task))
            await trio.sleep(LONGEST_RESTART_PAUSE_S / 6)

    async def follow_events(self) -> None:
        """Wake workers as the runtime tells of their containers."""
        while True:
            try:
                async with self.tools.runtime.task_events() as events:
                    self._wake_all()
                    async for container_id in events:
                        self._wake_owner(container_id)
            except RpcFailed as failed:
                log.debug("no runtime events: %s", failed.message)
            await trio.sleep(EVENTS_AGAIN_S)

    def _wake_all(self) -> None:
        for worker in self.workers.values():
            worker.wake()

    def _wake_owner(self, container_id: str) -> None:
        for worker in self.workers.values():
            seen = worker.seen
            if any(c.id == container_id for c in seen.containers) or any(s.id == container_id for s in seen.sandboxes):
                worker.wake(look_twice=True)
                return

    async def relist(self) -> None:
        """The slow truth: whoever's containers differ from last time is woken; what belongs to nobody is removed."""
        while True:
            await trio.sleep(RELIST_S)
            try:
                await self.relist_once()
            except RpcFailed as failed:
                log.info("the runtime cannot be listed: %s", failed.message)

    async def relist_once(self) -> None:
        """One round."""
        found: dict[str, set[tuple[str, str]]] = {}
        for sandbox in await self.tools.runtime.sandboxes():
            found.setdefault(sandbox.uid, set()).add((sandbox.id, str(sandbox.ready)))
        for container in await self.tools.runtime.containers():
            uid = container.labels.get(POD_UID, "")
            found.setdefault(uid, set()).add((container.id, container.state))
        now = {uid: frozenset(states) for uid, states in found.items()}
        for uid in now.keys() | self._before.keys():
            if now.get(uid) != self._before.get(uid) and (worker := self.workers.get(uid)) is not None:
                worker.wake()
        self._before = now
        if self._pods.synced:
            for uid in now.keys() - self.workers.keys():
                if uid:
                    await self._remove_orphan(uid)

    async def _remove_orphan(self, uid: str) -> None:
        """Stop and remove what runs for a pod that is not (or no longer) ours."""
        runtime = self.tools.runtime
        log.info("removing what is left of pod %s", uid)
        for container in await runtime.containers(uid):
            if container.state == "RUNNING":
                grace = container.annotations.get(POD_GRACE, "")
                await runtime.stop_container(container.id, int(grace) if grace.isdigit() else DEFAULT_GRACE_S)
            await runtime.remove_container(container.id)
        for sandbox in await runtime.sandboxes(uid):
            await runtime.stop_sandbox(sandbox.id)
            await runtime.remove_sandbox(sandbox.id)

    async def housekeep(self) -> None:
        """Directories and cgroups of pods that are no more."""
        while True:
            if self._pods.synced:
                await self._remove_orphan_directories()
                self.tools.cgroups.sweep(self.workers, self.tools.clock.now().timestamp())
            await trio.sleep(HOUSEKEEPING_S)

    async def _remove_orphan_directories(self) -> None:
        root = self.tools.config.pods_dir
        try:
            entries = await trio.to_thread.run_sync(os.listdir, root)
        except FileNotFoundError:
            return
        try:
            running = {sandbox.uid for sandbox in await self.tools.runtime.sandboxes()}
        except RpcFailed:
            return
        for uid in entries:
            if uid not in self.workers and uid not in running:
                try:
                    await remove_pod_directory(root / uid)
                except OSError as error:
                    log.warning("directory of pod %s: %s", uid, error)

    async def rotate_logs(self) -> None:
        """Keep container logs within their bounds."""
        config = self.tools.config
        while True:
            await trio.sleep(LOG_CHECK_S)
            for worker in list(self.workers.values()):
                for detail in worker.seen.running:
                    path = Path(detail.log_path)
                    try:
                        size = os.stat(path).st_size if detail.log_path else 0
                        if size <= config.log_file_limit_bytes:
                            continue
                        stamp = self.tools.clock.now().strftime("%Y%m%d-%H%M%S")
                        if rotate(path, config.log_files, stamp):
                            await self.tools.runtime.reopen_log(detail.id)
                    except (OSError, RpcFailed) as error:
                        log.info("log %s is not rotated: %s", detail.log_path, error)

    # ---- static pods

    async def keep_static(self) -> None:
        """Run what the directory says, and show it to the API."""
        if self._static is None:
            return
        while True:
            wanted = self._static.read()
            for uid, worker in list(self.workers.items()):
                if worker.static and uid not in wanted:
                    worker.gone()
            for uid, pod in wanted.items():
                if uid not in self.workers and not self._name_is_taken(pod):
                    self._begin(Worker(self.tools, pod, static=True))
            await self._keep_mirrors(wanted)
            await trio.sleep(STATIC_EVERY_S)

    def _name_is_taken(self, pod: Pod) -> bool:
        """An earlier version of the same static pod has to end first."""
        meta = pod.metadata
        return any(
            w.static and (w.pod.metadata.namespace, w.pod.metadata.name) == (meta.namespace, meta.name)
            for w in self.workers.values()
        )

    def _show_mirror(self, mirror: Pod) -> None:
        for worker in self.workers.values():
            if worker.static and worker.pod.metadata.annotations.get(CONFIG_HASH) == mirror.metadata.annotations.get(
                CONFIG_MIRROR
            ):
                worker.mirror = mirror
                worker.wake()

    async def _keep_mirrors(self, wanted: dict[str, Pod]) -> None:
        """One mirror per static pod; those of pods that are gone, or of an older version, are deleted."""
        client: Client = self.tools.client
        if not self._pods.synced:
            return
        hashes = {pod.metadata.annotations[CONFIG_HASH] for pod in wanted.values()}
        try:
            for shown in self._pods.list():
                if is_mirror(shown) and shown.metadata.annotations[CONFIG_MIRROR] not in hashes:
                    await self._delete_mirror(client, shown)
            for pod in wanted.values():
                found = self._pods.get(pod.metadata.namespace, pod.metadata.name)
                if found is None:
                    mirror = make_mirror(pod, self.tools.config.node_name, self.node_uid)
                    await client.create(pod_kind.KIND, mirror, mirror.metadata.namespace)
                elif is_mirror(found):
                    if found.metadata.deletion_timestamp is not None:
                        await self._delete_mirror(client, found)
                    else:
                        self._attach_mirror(pod, found)
        except AlreadyExists:
            pass  # the cache has not seen it yet
        except (ApiError, ConnectionFailed) as error:
            log.info("mirror pods: %s", error)

    def _attach_mirror(self, pod: Pod, mirror: Pod) -> None:
        worker = self.workers.get(pod.metadata.uid)
        if worker is not None and worker.mirror is None:
            worker.mirror = mirror
            worker.wake()

    @staticmethod
    async def _delete_mirror(client: Client, mirror: Pod) -> None:
        meta = mirror.metadata
        try:
            await client.delete(pod_kind.KIND, meta.name, meta.namespace, uid=meta.uid, grace_s=0)
        except NotFound:
            pass
