"""gRPC calls from trio, over grpcio: bytes out, bytes in.

Four methods: `unary`, `stream`, `close`, `metadata`. The rest of the house never sees grpcio, so that the transport can be
changed. No messages here (that is `wire.cri`), no meaning. grpcio is imported when the first channel is made.

grpcio finishes calls on threads of its own; `TrioToken.run_sync_soon` carries the news over, no thread per unary call.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import outcome
import trio

from edgekube.errors import EdgekubeError

MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024  # what kubelet allows a runtime to answer
STREAM_BUFFER = 64  # events read ahead of the consumer before the reading thread waits


class RpcFailed(EdgekubeError):
    """The peer answered with a status other than OK. `code` is the status name, e.g. "NOT_FOUND", "UNAVAILABLE"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _failure(error: Any) -> RpcFailed:
    code, details = error.code(), error.details()
    return RpcFailed(getattr(code, "name", str(code)), details or "")


class GrpcChannel:
    """One connection to a gRPC server. `target`: "unix:///path" or "host:port"."""

    def __init__(self, target: str, metadata: Iterable[tuple[str, str]] = ()) -> None:
        import grpc

        self._grpc = grpc
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
            ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
            ("grpc.enable_http_proxy", 0),
            # A runtime that restarts is back within a second; waiting longer to try again delays every pod.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2000),
            # Two channels to one address (one per containerd namespace) need not share fate.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if target.startswith("unix:"):
            options.append(("grpc.default_authority", "localhost"))
        self._channel = grpc.insecure_channel(target, options=options)
        self._metadata = tuple(metadata)
        self._unary: dict[str, Any] = {}

    def metadata(self, *pairs: tuple[str, str]) -> GrpcChannel:
        """The same connection, sending these pairs with every call. Closing either closes both."""
        view = object.__new__(GrpcChannel)
        view.__dict__.update(self.__dict__, _metadata=(*self._metadata, *pairs))
        return view

    async def unary(self, path: str, request: bytes) -> bytes:
        """One request, one answer. Raises RpcFailed. Cancelling cancels the call at the peer."""
        call = self._unary.get(path)
        if call is None:
            call = self._unary[path] = self._channel.unary_unary(path)
        try:
            future = call.future(request, metadata=self._metadata)
        except ValueError:
            raise RpcFailed("CANCELLED", "the channel was closed") from None
        token = trio.lowlevel.current_trio_token()
        task = trio.lowlevel.current_task()
        settled = False

        def wake() -> None:
            nonlocal settled
            if not settled:
                settled = True
                trio.lowlevel.reschedule(task, outcome.Value(None))

        def done(_: Any) -> None:
            try:
                token.run_sync_soon(wake)
            except trio.RunFinishedError:
                pass  # the run that asked is over; nobody waits for this answer

        def abort(_: Any) -> trio.lowlevel.Abort:
            nonlocal settled
            settled = True
            future.cancel()
            return trio.lowlevel.Abort.SUCCEEDED

        future.add_done_callback(done)
        await trio.lowlevel.wait_task_rescheduled(abort)
        try:
            answer: bytes = future.result(timeout=0)
        except self._grpc.RpcError as error:
            raise _failure(error) from None
        except self._grpc.FutureCancelledError:
            raise RpcFailed("CANCELLED", "the channel was closed") from None
        return answer

    @asynccontextmanager
    async def stream(self, path: str, *requests: bytes) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send the requests, then iterate over answers until the peer ends. Iterating raises RpcFailed.

        grpcio reads streams by blocking, so each stream costs one thread; leaving the block cancels the call and ends it.
        """
        send, receive = trio.open_memory_channel[bytes](STREAM_BUFFER)
        try:
            call = self._channel.stream_stream(path)(iter(requests), metadata=self._metadata)
        except ValueError:
            raise RpcFailed("CANCELLED", "the channel was closed") from None
        token = trio.lowlevel.current_trio_token()
        failure: list[RpcFailed] = []

        def pump() -> None:
            try:
                for message in call:
                    trio.from_thread.run(send.send, message, trio_token=token)
            except self._grpc.RpcError as error:
                failure.append(_failure(error))
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.RunFinishedError, trio.Cancelled):
                call.cancel()
            try:
                token.run_sync_soon(send.close)
            except trio.RunFinishedError:
                pass

        async def answers() -> AsyncIterator[bytes]:
            async with receive:
                async for message in receive:
                    yield message
            if failure:
                raise failure[0]

        threading.Thread(target=pump, name=f"grpc {path}", daemon=True).start()
        source = answers()
        try:
            yield source
        finally:
            call.cancel()
            receive.close()
            await source.aclose()  # type: ignore[attr-defined]

    def close(self) -> None:
        """End the connection; calls under way fail as cancelled."""
        self._channel.close()
