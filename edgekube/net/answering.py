"""The agent's half of the tunnel: every question of the server is put to the node's own gate, each in a task of its own.

A question ends with its stream: when the server gives one up, whatever worked on it is cancelled. What the gate raises goes back
as it is (`wire.tunnel.failure`). Nothing here knows how the connection came about.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import trio

from edgekube.errors import ApiError, ConnectionFailed, ProtocolError
from edgekube.net.apilink import ApiLink
from edgekube.net.http2 import Http2Session, Http2Stream
from edgekube.net.nodegate import LogOptions, NodeGate, RunOptions
from edgekube.net.tasks import until
from edgekube.wire import tunnel as words

log = logging.getLogger("edgekube.tunnel")

COPY_BYTES = 32 * 1024
SIZES = 16  # of a terminal, kept for a command that does not look; past it they are dropped


class Answering:
    """One connection's worth of answers."""

    def __init__(self, gate: NodeGate, session: Http2Session, link: ApiLink | None = None) -> None:
        """`link` is where our own requests may begin, once the server offers that."""
        self._gate, self._session, self._link = gate, session, link
        self._resizes: dict[int, trio.MemorySendChannel[tuple[int, int]]] = {}

    async def run(self) -> None:
        """Answer until the server leaves."""
        async with trio.open_nursery() as nursery:
            async for stream in self._session.arrivals:
                if stream.headers.get(":path") == words.RUN:
                    self._resizes[stream.stream_id], sizes = trio.open_memory_channel[tuple[int, int]](SIZES)
                    nursery.start_soon(self._guarded, stream, sizes)
                else:
                    nursery.start_soon(self._guarded, stream, None)
            nursery.cancel_scope.cancel()

    async def _guarded(self, stream: Http2Stream, sizes: trio.MemoryReceiveChannel[tuple[int, int]] | None) -> None:
        """One question. Never raises what the server or the gate can cause."""
        try:
            async with until(stream.gone):
                await self._answer(stream, sizes)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError):
            log.debug("%s was given up", stream.headers.get(":path"), exc_info=True)
        except Exception:
            log.exception("%s failed", stream.headers.get(":path"))
        finally:
            self._resizes.pop(stream.stream_id, None)
            stream.give_up()

    async def _answer(self, stream: Http2Stream, sizes: trio.MemoryReceiveChannel[tuple[int, int]] | None) -> None:
        path = stream.headers.get(":path", "")
        if path.startswith(words.RESIZE + "/"):
            await self._resize(stream, path.rpartition("/")[2])
            return
        if path == words.API_LINK and self._link is not None:
            await self._link.carry(stream)
            return
        if path not in (words.RUN, words.LOGS, words.DIAL, words.FETCH):
            await _refuse(stream, ApiError(f"this agent does not know {path}", code=501, reason="NotImplemented"))
            return
        ask, early = await _read_ask(stream)
        if path == words.RUN and sizes is not None:
            await self._run(stream, ask, early, sizes)
            return
        answer = {words.LOGS: self._logs, words.DIAL: self._dial, words.FETCH: self._fetch}[path]
        await answer(stream, ask, early)

    # ---- logs and pages

    async def _logs(self, stream: Http2Stream, ask: dict[str, Any], _: bytes) -> None:
        options = LogOptions(**ask["options"])
        async with AsyncExitStack() as stack:
            try:
                opened = self._gate.logs(ask["namespace"], ask["pod"], ask["container"], options)
                pieces = await stack.enter_async_context(opened)
            except (ApiError, OSError, ConnectionFailed) as error:
                await _refuse(stream, error)
                return
            if hasattr(pieces, "aclose"):
                stack.push_async_callback(pieces.aclose)
            await stream.respond([(":status", "200")])
            async for piece in pieces:
                await stream.send_all(piece)
            await stream.send_eof()

    async def _fetch(self, stream: Http2Stream, ask: dict[str, Any], _: bytes) -> None:
        try:
            status, media, body = await self._gate.fetch(ask["path"])
        except (ApiError, OSError, ConnectionFailed) as error:
            await _refuse(stream, error)
            return
        await stream.respond([(":status", str(status)), ("content-type", media)])
        await stream.send_all(body)
        await stream.send_eof()

    # ---- connections to pods

    async def _dial(self, stream: Http2Stream, ask: dict[str, Any], early: bytes) -> None:
        try:
            inner = await self._gate.dial(ask["namespace"], ask["pod"], ask["port"])
        except (ApiError, OSError, ConnectionFailed) as error:
            await _refuse(stream, error)
            return
        try:
            await stream.respond([(":status", "200")])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_copy, _Rest(early, stream), inner, nursery.cancel_scope)
                nursery.start_soon(_copy, inner, stream, nursery.cancel_scope)
        finally:
            await trio.aclose_forcefully(inner)

    # ---- exec and attach

    async def _run(
        self, stream: Http2Stream, ask: dict[str, Any], early: bytes, sizes: trio.MemoryReceiveChannel[tuple[int, int]]
    ) -> None:
        told = ask["options"]
        options = RunOptions(**{**told, "command": tuple(told["command"])})
        channels = _TunnelledChannels(stream, options, early, sizes)
        await stream.respond([(":status", "200")])
        try:
            await self._gate.run(ask["namespace"], ask["pod"], ask["container"], options, channels)
            if not channels.finished:
                raise ConnectionFailed("the command ended without saying how")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:
            if not isinstance(error, ApiError | OSError | ConnectionFailed):
                log.exception("a command failed")
            if not channels.finished:
                await stream.send_all(words.failed(error))
        await stream.send_eof()
        while await stream.receive_some():  # what nobody reads any more, until the server has heard the end
            pass

    async def _resize(self, stream: Http2Stream, run_id: str) -> None:
        reader = words.SizeReader()
        while data := await stream.receive_some():
            channel = self._resizes.get(int(run_id)) if run_id.isdigit() else None
            if channel is None:
                return
            for size in reader.feed(data):
                try:
                    channel.send_nowait(size)
                except (trio.WouldBlock, trio.BrokenResourceError):
                    continue  # nobody looks


async def _read_ask(stream: Http2Stream) -> tuple[dict[str, Any], bytes]:
    reader = words.AskReader()
    while data := await stream.receive_some():
        ask = reader.feed(data)
        if ask is not None:
            return ask, reader.rest
    raise ProtocolError("the server asked nothing")


async def _refuse(stream: Http2Stream, error: Exception) -> None:
    kind, document = words.failure(error)
    await stream.respond(words.failure_head(kind, document))
    await stream.send_all(json.dumps(document).encode())
    await stream.send_eof()
    while await stream.receive_some():
        pass


async def _copy(source: trio.abc.ReceiveStream, target: trio.abc.SendStream, whole: trio.CancelScope) -> None:
    """One direction to its end; a broken one ends both."""
    try:
        while data := await source.receive_some(COPY_BYTES):
            await target.send_all(data)
        if isinstance(target, trio.abc.HalfCloseableStream):
            await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        whole.cancel()


class _Rest(trio.abc.ReceiveStream):
    """A stream that begins with bytes read too far."""

    def __init__(self, early: bytes, stream: Http2Stream) -> None:
        self._early, self._stream = early, stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream."""
        if self._early:
            await trio.lowlevel.checkpoint()
            cut = len(self._early) if max_bytes is None else max_bytes
            data, self._early = self._early[:cut], self._early[cut:]
            return data
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource; the stream is its owner's to close."""
        await trio.lowlevel.checkpoint()


class _Output(trio.abc.SendStream):
    """stdout or stderr as frames; `turns` keeps those of one stream whole."""

    def __init__(self, stream: Http2Stream, kind: int, turns: trio.Lock) -> None:
        self._stream, self._kind, self._turns = stream, kind, turns

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        await trio.lowlevel.checkpoint()
        for frame in words.frames(self._kind, data):
            async with self._turns:
                await self._stream.send_all(frame)

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource; the other output and the outcome still use the stream."""
        await trio.lowlevel.checkpoint()


class _TunnelledChannels:
    """See `nodegate.Channels`."""

    def __init__(
        self,
        stream: Http2Stream,
        options: RunOptions,
        early: bytes,
        sizes: trio.MemoryReceiveChannel[tuple[int, int]],
    ) -> None:
        turns = trio.Lock()
        self.stdin: trio.abc.ReceiveStream | None = _Rest(early, stream) if options.stdin else None
        self.stdout: trio.abc.SendStream | None = _Output(stream, words.STDOUT, turns) if options.stdout else None
        self.stderr: trio.abc.SendStream | None = None
        if options.stderr and not options.tty:
            self.stderr = _Output(stream, words.STDERR, turns)
        self.resizes: AsyncIterator[tuple[int, int]] | None = sizes if options.tty else None
        self.finished = False
        self._stream, self._turns = stream, turns

    async def finish(self, status: dict[str, Any]) -> None:
        """See `nodegate.Channels`. Only the first call counts."""
        if self.finished:
            return
        self.finished = True
        try:
            async with self._turns:
                await self._stream.send_all(words.outcome(status))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # nobody is there to hear how it ended
