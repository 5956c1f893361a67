"""WebSocket messages on a trio stream, and a byte stream made of them (SPDY tunnelled in WebSocket).

Framing is `wire.websocket`'s; this only moves bytes.
"""

from __future__ import annotations

from collections import deque

import trio

from edgekube.errors import ProtocolError
from edgekube.wire.websocket import Closed, Piece, WebSocket

READ_BYTES = 32 * 1024


class MessageStream:
    """A WebSocket after its handshake."""

    def __init__(self, transport: trio.abc.Stream, *, client: bool = False) -> None:
        self._transport = transport
        self._socket = WebSocket(client=client)
        self._pieces: deque[Piece] = deque()
        self._sending = trio.Lock()
        self._over = False

    async def receive(self) -> Piece | None:
        """The next piece of a message, None when the peer has left (in order or not)."""
        while not self._pieces:
            if self._over:
                await trio.lowlevel.checkpoint()
                return None
            try:
                data = await self._transport.receive_some(READ_BYTES)
                if not data:
                    self._over = True
                    continue
                for event in self._socket.receive(bytes(data)):
                    if isinstance(event, Closed):
                        self._over = True
                        break
                    self._pieces.append(event)
                if not self._sending.locked():  # whoever sends takes our answers along; never wait for it here
                    await self._flush()
            except ProtocolError:
                self._socket.close(1002)
                self._over = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._over = True
        return self._pieces.popleft()

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """One message. Raises BrokenResourceError when the peer has gone."""
        if self._socket.closed:
            raise trio.BrokenResourceError("the WebSocket is closed")
        self._socket.message(data, text=text)
        await self._flush()

    async def pong(self) -> None:
        """A sign of life for a peer whose pings we cannot read just now. Raises BrokenResourceError."""
        if not self._sending.locked():
            self._socket.pong()
            await self._flush()

    async def close(self, code: int = 1000) -> None:
        """Say goodbye."""
        self._socket.close(code)
        await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            while data := self._socket.take_outgoing():
                await self._transport.send_all(data)


class TunnelStream(trio.abc.Stream):
    """Bytes as binary messages; how they are cut means nothing, and an empty message is not an end."""

    def __init__(self, messages: MessageStream) -> None:
        self._messages = messages
        self._left = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream."""
        while not self._left:
            piece = await self._messages.receive()
            if piece is None:
                return b""
            self._left = piece.data
        cut = len(self._left) if max_bytes is None else max_bytes
        data, self._left = self._left[:cut], self._left[cut:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        await self._messages.send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource."""
        try:
            await self._messages.close()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
