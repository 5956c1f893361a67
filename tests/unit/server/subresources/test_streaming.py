"""exec, attach, port-forward, log and proxy over real sockets, with the node replaced by a fake."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from edgekube import errors
from edgekube.net import remotecommand
from edgekube.net.listener import serving
from edgekube.net.multiplex import multiplexing
from edgekube.net.nodegate import RunOptions
from edgekube.net.spdyclient import relay, remote_streams
from edgekube.net.websocket import MessageStream, TunnelStream
from edgekube.server.subresources.streaming import log_refusal
from tests.streaming_fakes import FakeServer, pod

POD = "/api/v1/namespaces/default/pods/p"


@asynccontextmanager
async def fake_server() -> AsyncIterator[tuple[FakeServer, int]]:
    server = FakeServer()
    async with trio.open_nursery() as server.gate.nursery:
        async with serving(server.handle, hosts=("127.0.0.1",), port=0, drain_s=0) as port:
            with trio.fail_after(20):
                yield server, port
        server.gate.nursery.cancel_scope.cancel()


async def ask(
    port: int, target: str, method: str = "GET", headers: str = "", body: bytes = b""
) -> tuple[int, str, bytes]:
    """(status, head, body) of one request on a connection of its own."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        sized = f"Content-Length: {len(body)}\r\n" if body else ""
        await stream.send_all(
            f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}{sized}\r\n".encode() + body
        )
        got = b""
        async for piece in stream:
            got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    text = head.decode()
    if "transfer-encoding: chunked" in text.lower():
        whole = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            whole, rest = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        rest = whole
    return int(text.split()[1]), text, rest


@asynccontextmanager
async def web_socket(port: int, target: str, *protocols: str) -> AsyncIterator[tuple[str, MessageStream]]:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        offer = f"Sec-WebSocket-Protocol: {', '.join(protocols)}\r\n" if protocols else ""
        await stream.send_all(
            f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n{offer}\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some(1)
        assert head.startswith(b"HTTP/1.1 101"), head
        yield head.decode(), MessageStream(stream, client=True)


async def whole_messages(messages: MessageStream) -> AsyncIterator[bytes]:
    whole = b""
    while (piece := await messages.receive()) is not None:
        whole = piece.data if piece.begins else whole + piece.data
        if piece.ends:
            yield whole


# --- exec and attach


async def test_exec_over_spdy_echoes_and_says_success() -> None:
    async with fake_server() as (server, port):
        options = RunOptions(command=("cat",), stdin=True, stdout=True)
        url = f"http://127.0.0.1:{port}{POD}/exec?command=cat&stdin=true&stdout=true"
        async with remote_streams(url, options) as remote:
            assert remote.stdin is not None
            assert remote.stdout is not None
            await remote.stdin.send_all(b"hello")
            await remote.stdin.send_eof()
            got = b""
            while data := await remote.stdout.receive_some():
                got += data
            assert got == b"hello"
            assert (await remote.status())["status"] == "Success"
        assert server.gate.ran == [("c", options)]


class Kept(trio.abc.SendStream):
    """A stream that only remembers."""

    def __init__(self) -> None:
        self.data = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Collected:
    """A person's channels that only remember."""

    def __init__(self) -> None:
        self.stdin = self.resizes = None
        self.stdout, self.stderr = Kept(), Kept()
        self.status: dict[str, Any] = {}

    async def finish(self, status: dict[str, Any]) -> None:
        self.status = status


async def test_the_nodes_relay_brings_both_outputs_before_the_status() -> None:
    async with fake_server() as (_, port):
        url = f"http://127.0.0.1:{port}{POD}/exec?command=both&command=3&stdout=1&stderr=1"
        channels = Collected()
        await relay(url, RunOptions(command=("both", "3"), stdout=True, stderr=True), channels)
        assert (channels.stdout.data, channels.stderr.data) == (b"out" * 100_000, b"err")
        assert channels.status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


@pytest.mark.parametrize("version", ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"])
async def test_exec_over_websocket_carries_output_and_exit_code(version: str) -> None:
    async with fake_server() as (_, port):
        target = f"{POD}/exec?command=both&command=7&stdout=true&stderr=true"
        async with web_socket(port, target, "v9.example", version) as (head, messages):
            assert f"Sec-WebSocket-Protocol: {version}" in head
            channels: dict[int, bytes] = {}
            first = None
            async for message in whole_messages(messages):
                number, data = message[0], message[1:]
                if "base64" in version:
                    number, data = number - ord("0"), base64.b64decode(data)
                first = first if first is not None else (number, data)
                channels[number] = channels.get(number, b"") + data
        assert first == (1, b"")
        assert channels[1] == b"out" * 100_000
        assert channels[2] == b"err"
        assert json.loads(channels[3])["details"]["causes"][0]["message"] == "7"


async def test_websocket_v5_can_end_stdin() -> None:
    async with (
        fake_server() as (_, port),
        web_socket(port, f"{POD}/exec?command=cat&stdin=1&stdout=1", "v5.channel.k8s.io") as (_, messages),
    ):
        await messages.send(b"\0some ")
        await messages.send(b"\0words")
        await messages.send(b"\xff\0")
        got = [message async for message in whole_messages(messages)]
    assert b"".join(message[1:] for message in got if message[0] == 1) == b"some words"
    assert json.loads(got[-1][1:])["status"] == "Success"


async def test_a_terminal_hears_of_its_size() -> None:
    async with (
        fake_server() as (server, port),
        web_socket(port, f"{POD}/attach?stdin=1&stdout=1&stderr=1&tty=1", "v4.channel.k8s.io"),
    ):
        pass
    async with (
        fake_server() as (server, port),
        web_socket(port, f"{POD}/exec?command=terminal&stdout=1&stderr=1&tty=1", "v4.channel.k8s.io") as (_, messages),
    ):
        await messages.send(b'\x04{"Width":101,"Height":33}')
        [*_, last] = [message async for message in whole_messages(messages)]
        assert server.gate.sizes == [(101, 33)]
        assert last[0] == 3
        assert not server.gate.ran[0][1].stderr


@pytest.mark.parametrize("version", ["v5.channel.k8s.io", "SPDY"])
async def test_a_command_deaf_to_its_input_still_has_the_last_word(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remotecommand, "SIGN_OF_LIFE_S", 0.02)
    signs = trio.Event()
    answer = MessageStream.pong

    async def counted(messages: MessageStream) -> None:
        await answer(messages)
        signs.set()

    monkeypatch.setattr(MessageStream, "pong", counted)
    target = f"{POD}/exec?command=deaf&stdin=1&stdout=1"
    async with fake_server() as (server, port), trio.open_nursery() as nursery:
        if version == "SPDY":
            options = RunOptions(command=("deaf",), stdin=True, stdout=True)
            async with remote_streams(f"http://127.0.0.1:{port}{target}", options) as remote:
                assert remote.stdin is not None
                nursery.start_soon(pour, remote.stdin.send_all)
                await trio.testing.wait_all_tasks_blocked(0.1)
                server.gate.release.set()
                assert (await remote.status())["status"] == "Success"
        else:
            async with web_socket(port, target, version) as (_, messages):
                nursery.start_soon(pour, lambda data: messages.send(b"\0" + data))
                await signs.wait()
                server.gate.release.set()
                got = [message async for message in whole_messages(messages)]
                assert json.loads(got[-1][1:])["status"] == "Success"
        nursery.cancel_scope.cancel()


async def pour(send: Callable[[bytes], Awaitable[None]]) -> None:
    """More than all buffers on the way hold."""
    try:
        for _ in range(1000):
            await send(b"x" * 32_000)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def test_an_error_of_the_node_is_the_final_status() -> None:
    async with fake_server() as (_, port):
        url = f"http://127.0.0.1:{port}{POD}/exec?command=missing&stdout=1"
        async with remote_streams(url, RunOptions(command=("missing",), stdout=True)) as remote:
            status = await remote.status()
        assert (status["reason"], status["message"]) == ("NotFound", 'container not found ("c")')


async def test_a_person_who_leaves_stops_the_relaying() -> None:
    async with fake_server() as (server, port):
        async with web_socket(port, f"{POD}/exec?command=forever&stdout=1", "v5.channel.k8s.io") as (_, messages):
            assert await messages.receive() is not None
        await server.gate.cancelled.wait()


@pytest.mark.parametrize(
    ("target", "headers", "status", "message"),
    [
        (f"{POD}/exec?command=x&stdout=1", "", 400, "Upgrade request required"),
        (f"{POD}/exec?command=x&stdin=false&stdout=0", "", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        (f"{POD}/exec?container=z", "", 400, "container z is not valid for pod p"),
        (
            "/api/v1/namespaces/default/pods/two/exec",
            "",
            400,
            "a container name must be specified for pod two, choose one of: [a b]",
        ),
        ("/api/v1/namespaces/default/pods/homeless/exec", "", 400, "pod homeless does not have a host assigned"),
        ("/api/v1/namespaces/default/pods/none/attach", "", 404, 'pods "none" not found'),
        (
            f"{POD}/exec?stdout=1",
            "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v9\r\n",
            403,
            "unable to upgrade: unable to negotiate protocol: client supports [v9], server accepts "
            "[v4.channel.k8s.io v3.channel.k8s.io v2.channel.k8s.io channel.k8s.io]",
        ),
        (f"{POD}/log?tailLines=x", "", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            f"{POD}/log?tailLines=-1",
            "",
            422,
            'PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
        ),
        ("/api/v1/namespaces/default/services/ftp:s:http/proxy/", "", 400, 'invalid service request "ftp:s:http"'),
        ("/api/v1/namespaces/default/services/s:99/proxy/", "", 503, 'no service port 99 found for service "s"'),
        ("/api/v1/namespaces/default/services/s:nope/proxy/", "", 503, 'no endpoints available for service "s"'),
        (
            "/api/v1/namespaces/default/pods/p:81/proxy/",
            "",
            503,
            "error trying to reach service: dial tcp 127.0.0.1:81: connect: connection refused",
        ),
    ],
)
async def test_what_cannot_be_is_refused_in_upstreams_words(
    target: str, headers: str, status: int, message: str
) -> None:
    async with fake_server() as (_, port):
        code, _, body = await ask(port, target, headers=headers)
    assert (code, json.loads(body)["message"]) == (status, message)


# --- port-forward


async def forwarded(transport: trio.abc.Stream, port: int, words: bytes) -> tuple[bytes, bytes]:
    """What comes back from a forwarded port: (data, error)."""
    async with multiplexing(transport, client=True) as session:
        head = {"port": str(port), "requestID": "0"}
        error = await session.open({"streamType": "error", **head})
        data = await session.open({"streamType": "data", **head})
        try:
            await data.send_all(words)
            await data.send_eof()
        except trio.BrokenResourceError:
            pass
        results = []
        for stream in (data, error):
            got = b""
            while piece := await stream.receive_some():
                got += piece
            results.append(got)
    return results[0], results[1]


@pytest.mark.parametrize("tunnelled", [True, False])
async def test_ports_are_forwarded_over_spdy_bare_or_in_a_websocket(tunnelled: bool) -> None:
    @asynccontextmanager
    async def connected(port: int) -> AsyncIterator[trio.abc.Stream]:
        if tunnelled:
            async with web_socket(port, f"{POD}/portforward", "SPDY/3.1+portforward.k8s.io") as (_, messages):
                yield TunnelStream(messages)
            return
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(
                f"POST {POD}/portforward HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                "X-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n".encode()
            )
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive_some(1)
            assert b"X-Stream-Protocol-Version: portforward.k8s.io" in head
            yield stream

    async with fake_server() as (_, port):
        async with connected(port) as transport:
            assert await forwarded(transport, 7, b"words" * 50_000) == (b"words" * 50_000, b"")
        async with connected(port) as transport:
            data, error = await forwarded(transport, 9, b"")
    assert data == b""
    assert error == b"error forwarding port 9 to pod p, uid u-1: dial tcp 127.0.0.1:9: connect: connection refused"


async def test_ports_are_forwarded_over_numbered_websocket_channels() -> None:
    async with (
        fake_server() as (_, port),
        web_socket(port, f"{POD}/portforward?ports=7&ports=9", "v4.channel.k8s.io") as (_, messages),
    ):
        await messages.send(b"\0hello")
        got: dict[int, bytes] = {}
        async with aclosing(whole_messages(messages)) as arriving:
            async for message in arriving:
                got[message[0]] = got.get(message[0], b"") + message[1:]
                if got.get(0, b"").endswith(b"hello") and b"refused" in got.get(3, b""):
                    break
    assert got[0] == b"\x07\0hello"
    assert got[1] == b"\x07\0"
    assert got[2] == b"\x09\0"


# --- log


async def test_logs_are_plain_text_and_pass_their_options_on() -> None:
    async with fake_server() as (server, port):
        status, head, body = await ask(port, f"{POD}/log?timestamps=true&tailLines=5&sinceTime=2026-01-01T00:00:00Z")
        assert (status, body) == (200, b"c line 0\nc line 1\nc line 2\n")
        assert "Content-Type: text/plain\r\n" in head
        [options] = server.gate.asked_logs
        assert (options.timestamps, options.tail_lines, options.since_time) == (True, 5, "2026-01-01T00:00:00Z")
        assert (await ask(port, "/api/v1/namespaces/default/pods/homeless/log"))[0] == 204


async def test_a_log_that_is_not_there_is_explained_by_the_pods_status() -> None:
    async with fake_server() as (_, port):
        status, _, body = await ask(port, f"{POD}/log?previous=true")
    assert (status, json.loads(body)["message"]) == (400, 'container "c" in pod "p" is not available')


def status_of(**members: Any) -> Any:
    return pod(
        "p",
        "c",
        containerStatuses=[{"name": "c", "image": "", "imageID": "", "ready": False, "restartCount": 0, **members}],
    )


@pytest.mark.parametrize(
    ("found", "previous", "why"),
    [
        ({"state": {"running": {}}}, False, ""),
        ({"state": {"running": {}}}, True, 'previous terminated container "c" in pod "p" not found'),
        (
            {"state": {"waiting": {"reason": "ContainerCreating"}}},
            False,
            'container "c" in pod "p" is waiting to start: ContainerCreating',
        ),
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff"}}},
            False,
            'container "c" in pod "p" is waiting to start: trying and failing to pull image',
        ),
        ({"state": {"terminated": {"exitCode": 1}}}, False, 'container "c" in pod "p" is terminated'),
        ({"state": {}}, False, 'container "c" in pod "p" is waiting to start - no logs yet'),
        ({"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 1, "containerID": "x"}}}, True, ""),
    ],
)
def test_why_there_is_no_log(found: dict[str, Any], previous: bool, why: str) -> None:
    assert log_refusal(status_of(**found), "c", previous=previous) == why


# --- proxy


async def test_a_service_is_reached_through_the_server_and_sees_who_asked() -> None:
    async with fake_server() as (_, port):
        where = "/api/v1/namespaces/default/services/s:http/proxy"
        status, head, body = await ask(
            port, f"{where}/a%20b/?q=1", "POST", headers="Authorization: Bearer secret\r\n", body=b"body"
        )
        assert status == 201
        assert f"location: {where}/here" in head.lower()
        assert "x-from: pod" in head.lower()
        request = body.decode().lower()
        assert request.startswith("post /a%20b/?q=1 http/1.1\r\n")
        assert request.endswith("body")
        assert "secret" not in request
        assert "x-forwarded-for: 127.0.0.1" in request
        assert f"x-forwarded-uri: {where}/a%20b/" in request
        status, head, _ = await ask(port, f"{where}?x=y")
        assert (status, f"Location: {where}/?x=y" in head) == (301, True)


async def test_a_proxied_upgrade_becomes_a_connection() -> None:
    async with fake_server() as (_, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(
                f"GET {POD}:80/proxy/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nhello".encode()
            )
            got = b""
            while not got.endswith(b"HELLO"):
                piece = await stream.receive_some()
                assert piece, got
                got += piece
        assert got.startswith(b"HTTP/1.1 101")


async def test_a_nodes_pages_are_fetched_from_its_gate() -> None:
    async with fake_server() as (_, port):
        assert (await ask(port, "/api/v1/nodes/n1/proxy/stats/summary?only=x"))[2] == b"page /stats/summary?only=x"
        assert (await ask(port, "/api/v1/nodes/n2/proxy/stats"))[0] == 404
        assert (await ask(port, "/api/v1/nodes/n1/proxy/x", "POST"))[0] == errors.MethodNotAllowed.code
        assert (await ask(port, "/api/v1/nodes/n1/proxy/edgekube/volumes/v"))[0] == errors.Forbidden.code
