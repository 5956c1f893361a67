"""The task that owns one pod on this node: observes, asks `plan`, carries it out, publishes status; then ends the pod.

Decides nothing itself that `plan`, `status` or `lifecycle` could. Runtime events, API changes and probes only wake it; what it
does follows from what it then observes. Source of order and wording: kubelet pod_workers.go, kuberuntime_manager.go SyncPod.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from dataclasses import replace as refreshed
from pathlib import Path

import trio
from msgspec.structs import replace as restruct

from edgekube.api.meta import parse_time
from edgekube.errors import ApiError, ConnectionFailed
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podstatus import PodStatus
from edgekube.kinds.core.volume import Volume
from edgekube.net.grpc import RpcFailed
from edgekube.node.objects import NotYet, PodObjects
from edgekube.node.pods import remains, starting
from edgekube.node.pods.configs import Around, sandbox_config
from edgekube.node.pods.health import Watching
from edgekube.node.pods.lifecycle import Happening, Stage, move
from edgekube.node.pods.names import dns_for
from edgekube.node.pods.observing import Observer
from edgekube.node.pods.plan import PodPlan, Sort, Start, plan
from edgekube.node.pods.resizing import resize
from edgekube.node.pods.resources import cgroup_parent, pod_resources
from edgekube.node.pods.restarts import BackOff, next_back_off
from edgekube.node.pods.seen import AnyContainer, Seen, find_container, format_pod
from edgekube.node.pods.starting import Birth, CannotStart
from edgekube.node.pods.status import FINISHED, OWN_CONDITIONS, Circumstances, make_status
from edgekube.node.pods.statuses import differs
from edgekube.node.pods.stopping import grace_of, stop_container, stop_pod
from edgekube.node.pods.tools import Tools
from edgekube.node.volumes.keeper import Keeper
from edgekube.node.volumes.volume import Place, VolumeTrouble

RESYNC_S = 60.0
AFTER_TROUBLE_S = 10.0
AFTER_SANDBOX_TROUBLE_S = 2.0  # mostly a network that is just being set up
FIRST_VOLUME_PAUSE_S = 0.5
LONGEST_VOLUME_PAUSE_S = 122.0
SECOND_LOOK_S = 0.15  # containerd's events come a moment before CRI shows what they tell
BACK_OFF_EVENT_EVERY_S = 10.0

log = logging.getLogger("edgekube.node.pods")


@dataclass
class Memory:
    """What a worker remembers between looks; all of it may be lost without harm but time."""

    back_offs: dict[str, BackOff] = field(default_factory=dict)
    troubles: dict[str, tuple[str, str]] = field(default_factory=dict)
    owed: set[str] = field(default_factory=set)
    unstarted: set[str] = field(default_factory=set)
    given: dict[str, str] = field(default_factory=dict)
    told_back_off: dict[str, float] = field(default_factory=dict)
    volume_pause_s: float = FIRST_VOLUME_PAUSE_S
    outcome: tuple[str, str] | None = None


class Worker:
    """One pod. `update`, `gone`, `end`, `wake` never block; `run` is the task."""

    def __init__(self, tools: Tools, pod: Pod, *, mirror: Pod | None = None, static: bool = False) -> None:
        self.tools, self.pod, self.mirror, self.static = tools, pod, mirror, static
        self.stage = Stage.SYNC
        self.memory = Memory()
        self.last = pod.status
        self.seen = Seen()
        self.finished = trio.Event()
        self.root = tools.config.pods_dir / pod.metadata.uid
        self._observer = Observer(tools.runtime, pod.metadata.uid)
        self._volumes = Keeper(self.root, self._place)
        self._news = trio.Event()
        self._gone = trio.Event()
        self._second_look = False
        self._scope = trio.CancelScope()
        self._grace_s: int | None = None
        self._said_goodbye: set[str] = set()  # containers whose preStop was begun while the pod ends
        self._watching: Watching | None = None

    # ---- told from outside

    def update(self, pod: Pod) -> None:
        """The API (or the file) shows a new state. One that differs only by what we wrote ourselves wakes nobody."""
        before, self.pod = self.pod, pod
        if pod.metadata.deletion_timestamp is not None:
            self.end(Happening.DELETED)
        elif pod.status.phase in FINISHED and self.stage is Stage.SYNC and not self.static:
            self.end(Happening.FINISHED)
        if differs(before, pod):
            self.wake()

    def gone(self) -> None:
        """The object is no more."""
        self._gone.set()
        self.end(Happening.DELETED)

    def evict(self, reason: str, message: str, *, at_once: bool = False) -> None:
        """The node makes the pod fail, with its grace or `at_once`."""
        if self.stage is Stage.SYNC:
            self.memory.outcome = (reason, message)
            self._grace_s = 1 if at_once else None
            self.end(Happening.EVICTED)

    def end(self, happening: Happening) -> None:
        """Move on towards the end. What is under way is given up."""
        before, self.stage = self.stage, move(self.stage, happening)
        grace_s = max(1, grace_of(self.pod))
        shorter = self._grace_s is not None and grace_s < self._grace_s
        if before is not self.stage or (self.stage is Stage.TERMINATING and shorter):
            self._scope.cancel()
        if self.stage is Stage.TERMINATING:
            self._grace_s = grace_s if self._grace_s is None else min(grace_s, self._grace_s)
        self._news.set()

    def wake(self, *, look_twice: bool = False) -> None:
        """Look soon; `look_twice`: and once more shortly after."""
        self._second_look = self._second_look or look_twice
        self._news.set()

    def successor(self) -> Worker:
        """A fresh worker for the same pod, told what this one was told."""
        made = Worker(self.tools, self.pod, mirror=self.mirror, static=self.static)
        made.last = self.last
        if self._gone.is_set():
            made.gone()
        return made

    # ---- the task

    async def run(self) -> None:
        """From first sight to the last trace."""
        async with trio.open_nursery() as nursery:
            self._watching = Watching(nursery, self.tools.ask, self.tools.clock, self._tell_container, self.wake)
            if self.pod.metadata.deletion_timestamp is not None:
                self.end(Happening.DELETED)
            elif self.pod.status.phase in FINISHED:
                self.end(Happening.FINISHED)
            await self._keep_in_sync()
            await self._terminate()
            self._watching.stop()
            await self._leave()
        self.finished.set()

    async def _keep_in_sync(self) -> None:
        while self.stage is Stage.SYNC:
            self._news = trio.Event()
            again_s = RESYNC_S
            with trio.CancelScope() as self._scope:
                again_s = await self._sync_safely()
            if self._second_look:
                self._second_look, again_s = False, min(again_s, SECOND_LOOK_S)
            if self.stage is Stage.SYNC:
                with trio.move_on_after(again_s):
                    await self._news.wait()

    async def _sync_safely(self) -> float:
        """One look; seconds until the next."""
        try:
            return await self._sync()
        except RpcFailed as failed:
            log.info("%s: the runtime failed: %s", format_pod(self.pod), failed.message)
            return 1.0 if failed.code == "UNAVAILABLE" else AFTER_TROUBLE_S
        except (NotYet, ApiError, ConnectionFailed) as error:
            log.info("%s: %s", format_pod(self.pod), error)
            return AFTER_TROUBLE_S
        except OSError as error:
            log.warning("%s: %s", format_pod(self.pod), error)
            return AFTER_TROUBLE_S

    async def _sync(self) -> float:
        pod = self.pod
        seen = await self._observe()
        now = self.tools.clock.now().timestamp()
        decided = plan(pod, seen, self.memory.back_offs, now)
        self._note_held(decided, now)
        status = self._publish()
        if (left_s := self._deadline_left_s(status, now)) is not None and left_s <= 0:
            self._exceed_deadline()
            return 0.0
        if status.phase in FINISHED:
            self.end(Happening.FINISHED)
            return 0.0
        if decided.create_sandbox or decided.start:
            if (pause_s := await self._mount()) is not None:
                return pause_s
        elif seen.running:
            await remains.drop_old_sandboxes(self.tools, seen)
            await self._refresh()
        again_s = RESYNC_S
        if not decided.idle:
            again_s = await self._carry_out(decided, seen)
            self._publish()
        elif decided.look_again_s is not None:
            again_s = decided.look_again_s + 0.01
        return min(again_s, left_s) if left_s is not None else again_s

    # ---- looking

    async def _observe(self) -> Seen:
        assert self._watching is not None
        seen = await self._observer.observe(self._watching.health, frozenset(self.memory.owed))
        running = {detail.id for detail in seen.running}
        self._watching.keep_only(running)
        if self.stage is Stage.SYNC:
            ip = seen.sandbox.ips[0] if seen.sandbox and seen.sandbox.ips else self.tools.config.address
            for detail in seen.running:
                container = find_container(self.pod, detail.name)
                if container is not None and detail.id not in self.memory.unstarted:
                    before = self._told_before(detail.name, detail.id)
                    self._watching.watch(container, detail, ip, known_started=before[0], known_ready=before[1])
            for name in [name for name in self.memory.troubles if (c := seen.latest(name)) and c.state == "RUNNING"]:
                del self.memory.troubles[name]
            self.memory.owed &= {detail.id for detail in seen.containers}
            self.memory.unstarted &= running
            # Verdicts of containers first watched just now belong into this very look.
            seen = refreshed(seen, health=dict(self._watching.health), given=dict(self.memory.given))
        self.seen = seen
        return seen

    def _told_before(self, name: str, container_id: str) -> tuple[bool, bool]:
        for status in (*self.last.container_statuses, *self.last.init_container_statuses):
            if status.name == name and status.container_id.endswith(container_id):
                return status.started is True, status.ready
        return False, False

    def _publish(self, *, stopped: bool = False) -> PodStatus:
        around = Circumstances(
            now=self.tools.clock.now(),
            host_ip=self.tools.config.address,
            troubles=dict(self.memory.troubles),
            unstarted=frozenset(self.memory.unstarted),
            outcome=self.memory.outcome,
            terminal=self.stage is not Stage.SYNC,
            stopped=stopped,
        )
        own = [condition for condition in self.last.conditions if condition.type in OWN_CONDITIONS]
        others = [condition for condition in self.pod.status.conditions if condition.type not in OWN_CONDITIONS]
        status = make_status(self.pod, self.seen, restruct(self.last, conditions=own + others), around)
        self.last = status
        shown = self.mirror if self.static else self.pod
        if shown is not None:
            self.tools.statuses.publish(shown, status)
        return status

    def _note_held(self, decided: PodPlan, now: float) -> None:
        """Show containers in back-off, and say so now and then."""
        for name, trouble in decided.held.items():
            self.memory.troubles[name] = trouble
            container = find_container(self.pod, name)
            if container is not None and now - self.memory.told_back_off.get(name, 0.0) >= BACK_OFF_EVENT_EVERY_S:
                self.memory.told_back_off[name] = now
                words = f"Back-off restarting failed container {name} in pod {format_pod(self.pod)}"
                self._tell_container(container, "Warning", "BackOff", words)

    def _deadline_left_s(self, status: PodStatus, now: float) -> float | None:
        if self.pod.spec.active_deadline_seconds is None or status.start_time is None:
            return None
        return parse_time(status.start_time).timestamp() + self.pod.spec.active_deadline_seconds - now

    def _exceed_deadline(self) -> None:
        words = "Pod was active on the node longer than the specified deadline"
        self._tell("Normal", "DeadlineExceeded", words)
        self.evict("DeadlineExceeded", words)

    # ---- volumes

    def _place(self, pod: Pod, volume: Volume, directory: Path) -> Place:
        return Place(
            pod=pod,
            volume=volume,
            directory=directory,
            objects=PodObjects(self.tools.objects, pod.metadata.uid),
            tokens=self.tools.tokens,
            allocatable=self.tools.allocatable,
            node_name=self.tools.config.node_name,
            local_volumes=self.tools.config.volumes_dir,
        )

    async def _mount(self) -> float | None:
        """Volumes in place, or the seconds until it is tried again."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o750)
        try:
            await self._volumes.mount_all(self._with_status())
        except (VolumeTrouble, NotYet, ApiError, ConnectionFailed) as trouble:
            self._tell("Warning", "FailedMount", str(trouble))
            pause_s = self.memory.volume_pause_s
            self.memory.volume_pause_s = min(2 * pause_s, LONGEST_VOLUME_PAUSE_S)
            return pause_s
        self.memory.volume_pause_s = FIRST_VOLUME_PAUSE_S
        return None

    async def _refresh(self) -> None:
        try:
            await self._volumes.mount_all(self._with_status())  # after a restart of ours: learn what is in place
            await self._volumes.refresh_all(self._with_status())
        except (VolumeTrouble, NotYet, ApiError, ConnectionFailed) as trouble:
            log.info("%s: %s", format_pod(self.pod), trouble)

    def _with_status(self) -> Pod:
        """The pod with the status as we know it, which may be newer than what the API showed us."""
        return restruct(self.pod, status=self.last)

    # ---- acting

    async def _carry_out(self, decided: PodPlan, seen: Seen) -> float:
        tools, pod = self.tools, self.pod
        if decided.kill_pod:
            if decided.create_sandbox and seen.sandboxes:
                self._tell("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
            await stop_pod(tools, pod, seen, grace_of(pod))
        ip = seen.sandbox.ips[0] if seen.sandbox and seen.sandbox.ips else tools.config.address
        for kill in decided.kill:
            detail = next(c for c in seen.containers if c.id == kill.container_id)
            if kill.again:
                self.memory.owed.add(kill.container_id)
            grace_s = grace_of(pod) if kill.grace_s is None else kill.grace_s
            await stop_container(tools, pod, detail, ip, grace_s, kill.message)
        for change in decided.resize:
            self.memory.given[change.container_id] = await resize(tools, self._with_status(), change)
        sandbox = sandbox_config(pod, decided.attempt, self._around())
        sandbox_id = seen.sandbox.id if seen.sandbox else ""
        if decided.create_sandbox:
            if (made := await self._make_sandbox(sandbox)) is None:
                return AFTER_SANDBOX_TROUBLE_S
            sandbox_id = made
        elif seen.sandbox is not None:
            sandbox = sandbox_config(pod, seen.sandbox.attempt, self._around())
        if decided.start:
            return await self._start_all(decided.start, sandbox_id, sandbox)
        return 0.0

    def _around(self) -> Around:
        config = self.tools.config
        dns = dns_for(
            self.pod,
            host=self.tools.host_dns(),
            cluster_servers=config.cluster_dns,
            cluster_domain=config.cluster_domain,
        )
        return Around(config.logs, config.cluster_domain, dns)

    async def _make_sandbox(self, sandbox: dict[str, object]) -> str | None:
        """The new sandbox's id, None when it could not be made (told)."""
        pod, tools = self.pod, self.tools
        if not pod.spec.host_network:
            ready, why = (await tools.runtime.conditions()).get("NetworkReady", (True, ""))
            if not ready:
                self._tell(
                    "Warning", "NetworkNotReady", f"network is not ready: container runtime network not ready: {why}"
                )
                return None
        tools.cgroups.bound(cgroup_parent(pod), pod_resources(pod))
        try:
            sandbox_id = await tools.runtime.run_sandbox(sandbox)
        except RpcFailed as failed:
            words = f"Failed to create pod sandbox: rpc error: code = {failed.code.title()} desc = {failed.message}"
            self._tell("Warning", "FailedCreatePodSandBox", words)
            return None
        self.seen = await self._observe()
        ips = self.seen.sandbox.ips if self.seen.sandbox else ()
        await starting.write_hosts(self.tools, self.pod, self.root, ips)
        self._publish()
        return sandbox_id

    async def _start_all(self, starts: tuple[Start, ...], sandbox_id: str, sandbox: dict[str, object]) -> float:
        """Start in order; seconds until the next look."""
        again_s = 0.0
        for begin in starts:
            container = find_container(self.pod, begin.name)
            assert container is not None, "plans name containers of the pod"
            now = self.tools.clock.now().timestamp()
            if begin.restart_count:
                latest = self.seen.latest(begin.name)
                self.memory.back_offs[begin.name] = next_back_off(self.memory.back_offs.get(begin.name), latest, now)
            try:
                await self._start_one(begin, container, sandbox_id, sandbox)
            except CannotStart as failed:
                self.memory.troubles[begin.name] = (failed.reason, failed.message)
                self._publish()
                again_s = max(again_s, min(failed.again_s or AFTER_TROUBLE_S, RESYNC_S))
                if begin.sort is Sort.INIT:
                    break
        return again_s

    async def _start_one(
        self, begin: Start, container: AnyContainer, sandbox_id: str, sandbox: dict[str, object]
    ) -> None:
        target = getattr(container, "target_container_name", "")
        joined = self.seen.latest(target) if target else None
        birth = Birth(
            pod=self._with_status(),
            container=container,
            restart_count=begin.restart_count,
            sandbox_id=sandbox_id,
            sandbox=sandbox,
            root=self.root,
            mounted=self._volumes.mounted,
            target_id=joined.id if joined else "",
        )
        await remains.drop_unstarted(self.tools, self.seen, begin.name)
        container_id = await starting.create(self.tools, birth)
        hooked = container.lifecycle is not None and container.lifecycle.post_start is not None
        if hooked:
            self.memory.unstarted.add(container_id)
        await starting.start(self.tools, birth, container_id)
        self.memory.troubles.pop(begin.name, None)
        remains.link_log(self.tools, self.pod, begin.name, begin.restart_count, container_id)
        if hooked:
            await self._observe()
            self._publish()
            ip = self.last.pod_ip or self.tools.config.address
            try:
                await starting.post_start(self.tools, birth, container_id, ip)
            except CannotStart:
                detail = next((c for c in self.seen.containers if c.id == container_id), None)
                if detail is not None:
                    self.memory.owed.add(container_id)
                    await stop_container(self.tools, self.pod, detail, ip, grace_of(self.pod), "FailedPostStartHook")
                raise
            finally:
                self.memory.unstarted.discard(container_id)
        await remains.drop_dead(self.tools, self.pod, self.seen, begin.name)

    # ---- ending

    async def _terminate(self) -> None:
        """Until nothing of the pod runs."""
        while self.stage is Stage.TERMINATING:
            self._news = trio.Event()
            with trio.CancelScope() as self._scope:
                try:
                    await self._observe()
                    self._publish()
                    grace_s = self._grace_s if self._grace_s is not None else max(1, grace_of(self.pod))
                    await stop_pod(self.tools, self.pod, self.seen, grace_s, self._said_goodbye)
                    await self._settle()
                except RpcFailed as failed:
                    log.info("%s: cannot be stopped yet: %s", format_pod(self.pod), failed.message)
                    await trio.sleep(1.0)
        assert self.stage is Stage.TERMINATED

    async def _settle(self) -> None:
        seen = await self._observe()
        if seen.running or any(sandbox.ready for sandbox in seen.sandboxes):
            await trio.sleep(SECOND_LOOK_S)
            return
        self.stage = move(self.stage, Happening.STOPPED)

    async def _leave(self) -> None:
        """Nothing runs: give everything back, and see the object off."""
        uid = self.pod.metadata.uid
        self._publish(stopped=True)
        while True:
            try:
                await self._volumes.remove_all()
                break
            except OSError as error:
                log.warning("%s: %s", format_pod(self.pod), error)
                await trio.sleep(AFTER_TROUBLE_S)
        await self.tools.cgroups.remove(cgroup_parent(self.pod))
        while not self._gone.is_set():
            if self.pod.metadata.deletion_timestamp is not None and not self.static:
                await self.tools.statuses.written(uid)
                self.tools.statuses.delete(self.pod)
                await self._gone.wait()
                break
            self._news = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._first_of, self._news, nursery.cancel_scope)
                nursery.start_soon(self._first_of, self._gone, nursery.cancel_scope)
        await remains.remove_all(self.tools, self.pod)
        self.tools.objects.release(uid)
        self.tools.tokens.forget(uid)
        self.tools.images.forget(uid)
        self.tools.statuses.forget(uid)

    @staticmethod
    async def _first_of(event: trio.Event, scope: trio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    # ---- telling

    def _tell(self, type_: str, reason: str, message: str) -> None:
        self.tools.tell(self.mirror or self.pod, type_, reason, message)

    def _tell_container(self, container: AnyContainer, type_: str, reason: str, message: str) -> None:
        self.tools.tell_container(self.mirror or self.pod, container, type_, reason, message)
