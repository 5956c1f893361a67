"""The client's half of exec and attach: what the node does towards containerd's streaming server (SPDY, v4.channel.k8s.io).

`relay` is all a node needs: it connects a CRI streaming URL with the channels of the person at the other end. `remote_streams` is
the same without the copying. The only HTTP here is the one request that asks for the upgrade.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import h11
import trio

from edgekube.errors import ConnectionFailed
from edgekube.net.connection import HandedOver
from edgekube.net.multiplex import MultiplexedStream, Session, multiplexing
from edgekube.net.nodegate import Channels, RunOptions
from edgekube.net.tasks import beside
from edgekube.wire import streams

CONNECT_S = 10.0
COPY_BYTES = 32 * 1024
MAX_STATUS_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 16 * 1024

SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}


class RemoteStreams:
    """The streams of one running command, seen from the client. Absent ones are None."""

    def __init__(self, opened: dict[str, MultiplexedStream], session: Session) -> None:
        self.stdin, self.stdout, self.stderr = opened.get("stdin"), opened.get("stdout"), opened.get("stderr")
        self._error, self._resize = opened["error"], opened.get("resize")
        self._session = session

    async def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size; nothing happens without a terminal."""
        if self._resize is not None:
            await self._resize.send_all(streams.resize_bytes(width, height))

    async def status(self) -> dict[str, Any]:
        """The final Status: wait for it. Raises ConnectionFailed when the connection ends without one."""
        words = b""
        while data := await self._error.receive_some():
            words += data
            if len(words) > MAX_STATUS_BYTES:
                raise ConnectionFailed("the runtime's final status is too long")
        if not words:
            raise ConnectionFailed("the runtime closed the stream without saying how the command ended")
        try:
            status = json.loads(words)
        except ValueError:
            status = None
        if isinstance(status, dict):
            return status
        text = words.decode("utf-8", "replace")
        return {"metadata": {}, "status": "Failure", "message": text, "reason": "InternalError", "code": 500}


@asynccontextmanager
async def remote_streams(url: str, options: RunOptions) -> AsyncIterator[RemoteStreams]:
    """Connect to a streaming URL (http://127.0.0.1:port/exec/TOKEN) and open the streams asked for.

    Raises ConnectionFailed when the server cannot be reached or refuses.
    """
    stream = await _upgraded(url, "v4.channel.k8s.io")
    try:
        async with multiplexing(stream, client=True) as session:
            opened: dict[str, MultiplexedStream] = {}
            wanted = {
                "error": True,
                "stdin": options.stdin,
                "stdout": options.stdout,
                "stderr": options.stderr and not options.tty,
                "resize": options.tty,
            }
            try:
                for name, asked in wanted.items():
                    if asked:
                        opened[name] = await session.open({"streamType": name})
            except trio.BrokenResourceError as error:
                raise ConnectionFailed(f"the runtime's streaming server refused a stream: {error}") from error
            yield RemoteStreams(opened, session)
    finally:
        await trio.aclose_forcefully(stream)


async def relay(url: str, options: RunOptions, channels: Channels) -> None:
    """Connect a streaming URL with a person's channels until the command ends, then finish them with its status.

    Raises ConnectionFailed; and BrokenResourceError when the person has gone.
    """
    async with remote_streams(url, options) as remote, beside(lambda: _relay_input(remote, channels)) as nursery:
        copied = [trio.Event(), trio.Event()]
        nursery.start_soon(_copy_output, remote.stdout, channels.stdout, copied[0])
        nursery.start_soon(_copy_output, remote.stderr, channels.stderr, copied[1])
        status = await remote.status()
        for event in copied:  # the last words come before the status
            await event.wait()
        await channels.finish(status)


async def _relay_input(remote: RemoteStreams, channels: Channels) -> None:
    async with trio.open_nursery() as nursery:
        if remote.stdin is not None and channels.stdin is not None:
            nursery.start_soon(_copy_input, channels.stdin, remote.stdin)
        if channels.resizes is not None:
            nursery.start_soon(_pass_sizes, remote, channels.resizes)


async def _copy_input(incoming: trio.abc.ReceiveStream, outgoing: MultiplexedStream) -> None:
    try:
        while data := await incoming.receive_some(COPY_BYTES):
            await outgoing.send_all(data)
        await outgoing.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the command does not read any more; how it ended is told elsewhere


async def _pass_sizes(remote: RemoteStreams, sizes: AsyncIterator[tuple[int, int]]) -> None:
    try:
        async for width, height in sizes:
            await remote.resize(width, height)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def _copy_output(
    incoming: MultiplexedStream | None, outgoing: trio.abc.SendStream | None, copied: trio.Event
) -> None:
    try:
        while incoming is not None and (data := await incoming.receive_some(COPY_BYTES)):
            if outgoing is not None:
                await outgoing.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        if incoming is not None:
            incoming.inbox.discard()  # the person has gone; do not hold up the status
    copied.set()


async def _upgraded(url: str, version: str) -> trio.abc.Stream:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        with trio.fail_after(CONNECT_S):
            stream = await trio.open_tcp_stream(host, port)
    except (OSError, trio.TooSlowError) as error:
        raise ConnectionFailed(f"cannot reach the runtime's streaming server at {host}:{port}: {error}") from error
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER_BYTES)
    headers = [
        ("Host", parts.netloc),
        ("Connection", "Upgrade"),
        ("Upgrade", streams.SPDY_UPGRADE),
        (streams.VERSION_HEADER, version),
        ("Content-Length", "0"),
    ]
    try:
        with trio.fail_after(CONNECT_S):
            await stream.send_all(connection.send(h11.Request(method="POST", target=target, headers=headers)) or b"")
            await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
            early = await _answered_101(connection, stream)
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError | h11.RemoteProtocolError | trio.TooSlowError):
            raise ConnectionFailed(f"the runtime's streaming server did not answer: {error}") from error
        raise
    return HandedOver(stream, early)


async def _answered_101(connection: h11.Connection, stream: trio.abc.Stream) -> bytes:
    """The bytes after a 101 answer. Raises ConnectionFailed with the words of any other."""
    refusal: h11.Response | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(COPY_BYTES)))
        elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return bytes(connection.trailing_data[0])
        elif isinstance(event, h11.Response):
            refusal = event
        elif isinstance(event, h11.Data):
            body = (body + event.data)[:MAX_ANSWER_BYTES]
        elif refusal is not None:
            words = body.decode("utf-8", "replace").strip()
            raise ConnectionFailed(f"the runtime's streaming server answered {refusal.status_code}: {words}")
        else:
            raise ConnectionFailed("the runtime's streaming server closed the connection")
