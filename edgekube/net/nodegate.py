"""What a server asks of a node on behalf of a person: logs, exec, attach, port-forward, figures.

The node room implements `NodeGate`; the server room calls it (directly in one process, through the tunnel for agents);
the two rooms meet only here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import trio


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Query of `pods/log`. `since_time` is RFC 3339; `tail_lines` None = all; `stream` "All", "Stdout" or "Stderr"."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since_seconds: int | None = None
    since_time: str = ""
    tail_lines: int | None = None
    limit_bytes: int | None = None
    stream: str = "All"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Query of `pods/exec` (command given) and `pods/attach` (command empty)."""

    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


class Channels(Protocol):
    """The client's ends of an exec or attach. Absent streams are None. All writes are bytes; `resizes` yields (width, height)."""

    stdin: trio.abc.ReceiveStream | None
    stdout: trio.abc.SendStream | None
    stderr: trio.abc.SendStream | None
    resizes: AsyncIterator[tuple[int, int]] | None

    async def finish(self, status: dict[str, Any]) -> None:
        """Send the final Status on the error channel (Success, or Failure with reason NonZeroExitCode) and close."""
        ...


class NodeGate(Protocol):
    """A node, as its server reaches it. Raises `errors.NotFound`, `errors.BadRequest` as the kubelet words them."""

    def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...

    async def run(self, namespace: str, pod: str, container: str, options: RunOptions, channels: Channels) -> None:
        """Exec (or attach) until it ends; the outcome goes to `channels.finish`."""
        ...

    async def dial(self, namespace: str, pod: str, port: int) -> trio.abc.Stream:
        """A byte stream to a TCP port inside the pod's network namespace. Raises OSError."""
        ...

    async def fetch(self, path: str) -> tuple[int, str, bytes]:
        """The node's own small pages (/healthz, /stats/summary, /metrics/...): (HTTP status, content type, body)."""
        ...
