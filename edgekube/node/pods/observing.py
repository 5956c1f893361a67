"""Asking the runtime about one pod, remembering what cannot change any more: ended containers, addresses of sandboxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekube.net.grpc import RpcFailed
from edgekube.node.logs import last_lines
from edgekube.node.pods.marks import MESSAGE_FILE, MESSAGE_POLICY
from edgekube.node.pods.mounts import TERMINATION_LOG_LIMIT_BYTES
from edgekube.node.pods.seen import Health, SandboxSeen, Seen
from edgekube.node.runtime.cri import ContainerBrief, ContainerDetail, Runtime

FALLBACK_LINES = 80
FALLBACK_BYTES = 2048


@dataclass
class Observer:
    """Makes `Seen` for one pod."""

    runtime: Runtime
    uid: str
    _ended: dict[str, ContainerDetail] = field(default_factory=dict)
    _ips: dict[str, tuple[str, ...]] = field(default_factory=dict)

    async def observe(self, health: Mapping[str, Health], owed: frozenset[str]) -> Seen:
        """The pod now. Raises RpcFailed."""
        sandboxes = sorted(await self.runtime.sandboxes(self.uid), key=lambda s: s.created_at, reverse=True)
        briefs = sorted(await self.runtime.containers(self.uid), key=lambda c: (c.created_at, c.attempt), reverse=True)
        details = [detail for brief in briefs if (detail := await self._detail(brief)) is not None]
        seen = []
        for position, sandbox in enumerate(sandboxes):
            ips = await self._addresses(sandbox.id) if position == 0 else ()
            seen.append(SandboxSeen(sandbox.id, sandbox.attempt, sandbox.ready, sandbox.created_at, ips))
        present = {brief.id for brief in briefs}
        for gone in set(self._ended) - present:
            del self._ended[gone]
        return Seen(tuple(seen), tuple(details), dict(health), owed)

    async def _addresses(self, sandbox_id: str) -> tuple[str, ...]:
        if not self._ips.get(sandbox_id):
            try:
                self._ips = {sandbox_id: (await self.runtime.sandbox_detail(sandbox_id)).ips}
            except RpcFailed as failed:
                if failed.code != "NOT_FOUND":
                    raise
                return ()
        return self._ips[sandbox_id]

    async def _detail(self, brief: ContainerBrief) -> ContainerDetail | None:
        if brief.id in self._ended:
            return self._ended[brief.id]
        try:
            detail = await self.runtime.container(brief.id)
        except RpcFailed as failed:
            if failed.code == "NOT_FOUND":
                return None  # removed since it was listed
            raise
        detail = replace(detail, sandbox_id=brief.sandbox_id, annotations=detail.annotations or brief.annotations)
        if detail.state == "EXITED":
            detail = replace(detail, message=last_words(detail))
            self._ended[brief.id] = detail
        return detail


def last_words(detail: ContainerDetail) -> str:
    """The termination message: what the container wrote, or the end of its log where it asks for that, or the runtime's own."""
    path = detail.annotations.get(MESSAGE_FILE, "")
    text = ""
    if path:
        try:
            with Path(path).open("rb") as file:
                text = file.read(TERMINATION_LOG_LIMIT_BYTES).decode(errors="replace")
        except OSError:
            pass
    if not text and detail.annotations.get(MESSAGE_POLICY) == "FallbackToLogsOnError" and detail.exit_code:
        text = last_lines(Path(detail.log_path), FALLBACK_LINES, FALLBACK_BYTES)
    return text or detail.message
