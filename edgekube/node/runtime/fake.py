"""A container runtime of nothing but states, for tests and simulations: same verbs, same errors, virtual time.

Containers behave as a `Program` says. `fail_next` makes the next call of a verb fail; `crash` loses every process, as a power cut does.
Proven beside the real one by `tests/contract`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from edgekube.clock import Clock
from edgekube.net.grpc import RpcFailed
from edgekube.node.runtime.cri import (
    POD_UID,
    ContainerBrief,
    ContainerDetail,
    Credentials,
    Image,
    Runtime,
    Sandbox,
    SandboxDetail,
    Usage,
    Version,
)


@dataclass(frozen=True, slots=True)
class Program:
    """What a container does: runs for `run_s` (None = for ever), then exits with `code`; asked to end, it takes `stop_s` (None: it
    ignores that) and exits with `stop_code`. `answers` maps a command line to the exit status of exec."""

    run_s: float | None = None
    code: int = 0
    stop_s: float | None = 0.0
    stop_code: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)


@dataclass
class _Container:
    detail: ContainerDetail
    labels: Mapping[str, str]
    program: Program
    ended: trio.Event
    config: Mapping[str, Any]


class FakeRuntime(Runtime):
    """See the module's opening. `program(pod name, container name, attempt)` says how each container behaves."""

    def __init__(self, clock: Clock, nursery: trio.Nursery, program: Callable[[str, str, int], Program]) -> None:
        self._clock, self._nursery, self._program = clock, nursery, program
        self.endpoint = "fake"
        self.local: dict[str, Image] = {}
        self.remote: set[str] = set()  # images a pull finds
        self.pull_s = 1.0
        self.boxes: dict[str, Sandbox] = {}
        self.made: dict[str, _Container] = {}
        self.calls: list[str] = []
        self.exec_status: dict[tuple[str, str], int] = {}  # (container name, command line) -> exit status
        self._count = 0
        self._failures: dict[str, RpcFailed] = {}
        self._listeners: set[trio.MemorySendChannel[str]] = set()

    def fail_next(self, verb: str, error: RpcFailed) -> None:
        """The next call of this verb fails."""
        self._failures[verb] = error

    def add_image(self, name: str) -> None:
        """An image that is here."""
        self.local[name] = Image(f"sha256:{name}", (name,), (), 1000, False, None, "")

    def crash(self) -> None:
        """Every process is gone and every sandbox is down."""
        for container in self.made.values():
            if container.detail.state == "RUNNING":
                self._end(container, 255, "Unknown")
        self.boxes = {key: replace(box, ready=False) for key, box in self.boxes.items()}

    def _enter(self, verb: str, *, about: str = "") -> None:
        self.calls.append(f"{verb} {about}".strip())
        if (failure := self._failures.pop(verb, None)) is not None:
            raise failure

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)

    def _next_id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def close(self) -> None:
        """Nothing to give back."""

    async def version(self) -> Version:
        return Version("fake", "1")

    async def conditions(self) -> dict[str, tuple[bool, str]]:
        self._enter("conditions")
        return {"RuntimeReady": (True, ""), "NetworkReady": (True, "")}

    # ---- sandboxes

    async def run_sandbox(self, config: Mapping[str, Any], handler: str = "") -> str:
        meta = config["metadata"]
        self._enter("run_sandbox", about=meta["name"])
        await trio.sleep(0.1)
        made = self._next_id("s")
        self.boxes[made] = Sandbox(
            made, meta["name"], meta["namespace"], meta["uid"], meta["attempt"], True, self._now(), config["labels"]
        )
        return made

    async def stop_sandbox(self, sandbox_id: str) -> None:
        self._enter("stop_sandbox", about=sandbox_id)
        await trio.sleep(0.01)
        if sandbox_id in self.boxes:
            self.boxes[sandbox_id] = replace(self.boxes[sandbox_id], ready=False)
        for container in self.made.values():
            if container.detail.sandbox_id == sandbox_id and container.detail.state == "RUNNING":
                self._end(container, 137, "Error")

    async def remove_sandbox(self, sandbox_id: str) -> None:
        self._enter("remove_sandbox", about=sandbox_id)
        await trio.lowlevel.checkpoint()
        self.boxes.pop(sandbox_id, None)
        self.made = {key: c for key, c in self.made.items() if c.detail.sandbox_id != sandbox_id}

    async def sandboxes(self, uid: str = "") -> list[Sandbox]:
        self._enter("sandboxes")
        await trio.lowlevel.checkpoint()
        return [box for box in self.boxes.values() if uid in ("", box.uid)]

    async def sandbox_detail(self, sandbox_id: str, *, verbose: bool = False) -> SandboxDetail:
        await trio.lowlevel.checkpoint()
        if sandbox_id not in self.boxes:
            raise RpcFailed("NOT_FOUND", f"sandbox {sandbox_id}: not found")
        return SandboxDetail((f"10.88.0.{int(sandbox_id[1:]) % 250 + 1}",), {})

    # ---- containers

    async def create_container(self, sandbox_id: str, config: Mapping[str, Any], sandbox: Mapping[str, Any]) -> str:
        name, attempt = config["metadata"]["name"], config["metadata"]["attempt"]
        self._enter("create_container", about=name)
        await trio.sleep(0.05)
        made = self._next_id("c")
        detail = ContainerDetail(
            id=made, name=name, attempt=attempt, state="CREATED", created_at=self._now(), started_at=0, finished_at=0,
            exit_code=0, reason="", message="", image=config["image"]["user_specified_image"],
            image_ref=config["image"]["image"], log_path="", sandbox_id=sandbox_id, annotations=config["annotations"],
        )  # fmt: skip
        program = self._program(sandbox["metadata"]["name"], name, attempt)
        self.made[made] = _Container(detail, config["labels"], program, trio.Event(), config)
        return made

    async def start_container(self, container_id: str) -> None:
        container = self._find(container_id)
        self._enter("start_container", about=container.detail.name)
        await trio.sleep(0.05)
        container.detail = replace(container.detail, state="RUNNING", started_at=self._now())
        self._tell(container_id)
        if container.program.run_s is not None:
            self._nursery.start_soon(self._run_out, container, container.program.run_s, container.program.code)

    async def _run_out(self, container: _Container, after_s: float, code: int) -> None:
        with trio.move_on_after(after_s):
            await container.ended.wait()
        if container.detail.state == "RUNNING":
            self._end(container, code, "Completed" if code == 0 else "Error")

    def _end(self, container: _Container, code: int, reason: str) -> None:
        container.detail = replace(
            container.detail, state="EXITED", exit_code=code, reason=reason, finished_at=self._now()
        )
        container.ended.set()
        self._tell(container.detail.id)

    async def stop_container(self, container_id: str, grace_s: int) -> None:
        container = self._find(container_id)
        self._enter("stop_container", about=f"{container.detail.name} {grace_s}")
        stop_s = container.program.stop_s
        with trio.move_on_after(grace_s if stop_s is None else min(grace_s, stop_s)):
            await container.ended.wait()
        if container.detail.state == "RUNNING":
            killed = stop_s is None or stop_s > grace_s
            code = 137 if killed else container.program.stop_code
            self._end(container, code, "Completed" if code == 0 else "Error")

    async def remove_container(self, container_id: str) -> None:
        self._enter("remove_container", about=container_id)
        await trio.lowlevel.checkpoint()
        self.made.pop(container_id, None)

    def _find(self, container_id: str) -> _Container:
        if container_id not in self.made:
            raise RpcFailed("NOT_FOUND", f"container {container_id}: not found")
        return self.made[container_id]

    async def containers(self, uid: str = "") -> list[ContainerBrief]:
        self._enter("containers")
        await trio.lowlevel.checkpoint()
        return [
            ContainerBrief(
                c.detail.id, c.detail.sandbox_id, c.detail.name, c.detail.attempt, c.detail.state, c.detail.created_at,
                c.detail.image, c.detail.image_ref, c.labels, c.detail.annotations,
            )
            for c in self.made.values()
            if uid in ("", c.labels.get(POD_UID))
        ]  # fmt: skip

    async def container(self, container_id: str) -> ContainerDetail:
        await trio.lowlevel.checkpoint()
        return self._find(container_id).detail

    async def update_resources(self, container_id: str, resources: Mapping[str, Any]) -> None:
        self._enter("update_resources", about=self._find(container_id).detail.name)
        await trio.lowlevel.checkpoint()

    async def reopen_log(self, container_id: str) -> None:
        self._enter("reopen_log", about=container_id)
        await trio.lowlevel.checkpoint()

    async def exec_sync(self, container_id: str, command: Sequence[str], limit_s: int) -> tuple[int, bytes]:
        container = self._find(container_id)
        line = " ".join(command)
        self._enter("exec", about=f"{container.detail.name} {line}")
        await trio.sleep(0.01)
        status = self.exec_status.get((container.detail.name, line), container.program.answers.get(line, 0))
        return status, b"" if status == 0 else line.encode()

    async def usage(self) -> list[Usage]:
        return []

    # ---- images

    async def images(self) -> list[Image]:
        return list(self.local.values())

    async def image(self, reference: str) -> Image | None:
        await trio.lowlevel.checkpoint()
        return self.local.get(reference)

    async def pull(self, reference: str, credentials: Credentials | None, sandbox: Mapping[str, Any] | None) -> str:
        self._enter("pull", about=reference)
        await trio.sleep(self.pull_s)
        if reference not in self.remote:
            raise RpcFailed("NOT_FOUND", f'failed to pull and unpack image "{reference}": not found')
        self.add_image(reference)
        return self.local[reference].id

    async def remove_image(self, reference: str) -> None:
        self.local = {name: image for name, image in self.local.items() if reference not in (name, image.id)}

    async def image_filesystem(self) -> tuple[str, int, int]:
        return "/", 0, 0

    async def stored_images(self) -> dict[str, dict[str, str]]:
        return {name: {} for name in self.local}

    # ---- events

    def _tell(self, container_id: str) -> None:
        for listener in list(self._listeners):
            try:
                listener.send_nowait(container_id)
            except (trio.WouldBlock, trio.BrokenResourceError):
                self._listeners.discard(listener)

    @asynccontextmanager
    async def task_events(self) -> AsyncIterator[AsyncIterator[str]]:
        send, receive = trio.open_memory_channel[str](100)
        self._listeners.add(send)
        try:
            async with receive:
                yield receive
        finally:
            self._listeners.discard(send)
