"""gRPC from trio, against a real grpcio server in this process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import trio

from edgekube.net.grpc import GrpcChannel, RpcFailed


class Handlers(grpc.GenericRpcHandler):
    """/t/echo answers what it was sent; /t/fail fails; /t/slow waits for the call's end; /t/count streams."""

    def __init__(self) -> None:
        self.cancelled = trio.Event()
        self.ended: list[str] = []

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        metadata = dict(details.invocation_metadata)
        if name == "count":
            return grpc.stream_stream_rpc_method_handler(self._count)
        return {
            "echo": grpc.unary_unary_rpc_method_handler(lambda data, context: data + metadata.get("tag", "").encode()),
            "fail": grpc.unary_unary_rpc_method_handler(
                lambda data, context: context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
            ),
            "slow": grpc.unary_unary_rpc_method_handler(self._slow),
        }.get(name)

    def _slow(self, data: bytes, context: Any) -> bytes:
        context.add_callback(lambda: self.ended.append("slow"))
        while context.is_active():
            time.sleep(0.01)
        return b""

    def _count(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        context.add_callback(lambda: self.ended.append("count"))
        for data in requests:
            for number in range(int(data)):
                yield str(number).encode()
        if int(data) == 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        while context.is_active():
            time.sleep(0.01)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Handlers]]:
    handlers = Handlers()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handlers])
    address = f"unix://{tmp_path / 's'}"
    server.add_insecure_port(address)
    server.start()
    yield address, handlers
    server.stop(0).wait()


async def until(holds: Any) -> None:
    with trio.fail_after(5):
        while not holds():  # noqa: ASYNC110 - it happens in the server's threads
            await trio.sleep(0.01)


async def test_calls_are_answered_at_once_or_together(served: tuple[str, Handlers]) -> None:
    channel = GrpcChannel(served[0])
    answers: list[bytes] = []

    async def ask(number: int) -> None:
        answers.append(await channel.unary("/t/echo", str(number).encode()))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ask, number)
    assert sorted(answers, key=int) == [str(number).encode() for number in range(20)]
    assert await channel.metadata(("tag", "x")).unary("/t/echo", b"a") == b"ax"
    channel.close()


async def test_failures_carry_code_and_words(served: tuple[str, Handlers]) -> None:
    channel = GrpcChannel(served[0])
    with pytest.raises(RpcFailed, match="no such thing") as failed:
        await channel.unary("/t/fail", b"")
    assert failed.value.code == "NOT_FOUND"
    channel.close()
    with pytest.raises(RpcFailed) as failed:
        await channel.unary("/t/echo", b"")
    assert failed.value.code == "CANCELLED"


async def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    channel = GrpcChannel(f"unix://{tmp_path / 'nobody'}")
    with pytest.raises(RpcFailed) as failed:
        await channel.unary("/t/echo", b"")
    assert failed.value.code == "UNAVAILABLE"
    channel.close()


async def test_cancelling_ends_the_call_at_the_server(served: tuple[str, Handlers]) -> None:
    channel = GrpcChannel(served[0])
    with trio.move_on_after(0.3) as scope:
        await channel.unary("/t/slow", b"")
    assert scope.cancelled_caught
    await until(lambda: served[1].ended == ["slow"])
    channel.close()


async def test_streams_are_read_until_left(served: tuple[str, Handlers]) -> None:
    channel = GrpcChannel(served[0])
    async with channel.stream("/t/count", b"200") as answers:
        read = []
        async for answer in answers:
            read.append(int(answer))
            if len(read) == 200:
                break
    assert read == list(range(200))
    await until(lambda: served[1].ended == ["count"])
    channel.close()


async def read_all(answers: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for answer in answers:
        into.append(answer)


async def test_a_stream_that_breaks_says_so(served: tuple[str, Handlers]) -> None:
    channel = GrpcChannel(served[0])
    read: list[bytes] = []
    async with channel.stream("/t/count", b"3") as answers:
        with pytest.raises(RpcFailed, match="going away"):
            await read_all(answers, read)
    assert read == [b"0", b"1", b"2"]
    channel.close()
