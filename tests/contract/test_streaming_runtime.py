"""kubectl to a real container, all the way: listener, protocols, node, containerd's streaming server."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.net.listener import serving
from tests.contract.noderig import can_run, container, ready, rig
from tests.e2e.test_streaming_kubectl import kubectls, run, write_kubeconfig
from tests.streaming_fakes import FakeServer, certificates

pytestmark = [
    pytest.mark.runtime,
    pytest.mark.kubectl,
    pytest.mark.skipif(not can_run(), reason="needs root and containerd"),
]

OLDEST_AND_NEWEST = sorted({*kubectls()[:1], *kubectls()[-1:]})  # SPDY throughout, and WebSocket throughout
SCRIPT = "echo started; while read line; do echo heard $line; done"
HTTPD = "mkdir -p /www; echo served > /www/index.html; exec httpd -f -p 8080 -h /www"


@asynccontextmanager
async def served_pod(folder: Path) -> AsyncIterator[dict[str, str]]:
    """A pod `p` with a container that listens on stdin and one that serves a page; the environment kubectl reaches them with."""
    server = FakeServer()
    context, _, _ = certificates(folder)
    async with (
        rig() as node,
        serving(server.handle, hosts=("127.0.0.1",), port=0, ssl_context=context, drain_s=0) as port,
    ):
        containers = [container("ear", SCRIPT, stdin=True), container("web", HTTPD)]
        await node.create({"metadata": {"name": "p"}, "spec": {"containers": containers}})
        pod = await node.until("p", ready)
        server.gate = node.gate  # type: ignore[assignment]
        server.cluster.objects["Pod", "p"] = pod
        with trio.fail_after(120):
            yield write_kubeconfig(folder, port)


async def on_terminal(kubectl: str, environment: dict[str, str], *words: str) -> bytes:
    """What a command prints on a terminal of 33 rows and 101 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    start: Any = partial(trio.run_process, stdin=theirs, stdout=theirs, stderr=theirs, check=False)
    done = await start([kubectl, *words], env=environment)
    os.set_blocking(ours, False)
    said = os.read(ours, 65536)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("kubectl", OLDEST_AND_NEWEST, ids=lambda path: Path(path).name)
async def test_a_person_reaches_a_real_container(kubectl: str, tmp_path: Path) -> None:
    async with served_pod(tmp_path) as environment:
        ask = partial(run, kubectl, environment)
        big = os.urandom(1_000_000)
        echoed = await ask("exec", "-i", "p", "-c", "web", "--", "cat", stdin=big)
        assert echoed.stdout == big, echoed.stderr
        failed = await ask("exec", "p", "-c", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (failed.returncode, failed.stdout) == (7, b"out\n")
        assert failed.stderr.startswith(b"err\n")
        assert b"33 101" in await on_terminal(
            kubectl, environment, "exec", "-it", "p", "-c", "web", "--", "sh", "-c", "sleep 0.3; stty size"
        )
        # No more than a FIFO holds: containerd 1.6 itself may wait for ever on input that a finished command has not read.
        unread = await ask("exec", "-i", "p", "-c", "web", "--", "true", stdin=big[:10_000])
        assert unread.returncode == 0, unread.stderr
        logs = await ask("logs", "p", "-c", "ear")
        assert logs.stdout == b"started\n"
        await copied(ask, tmp_path, big)
        await fetched(kubectl, environment)
        await joined(kubectl, environment)


async def joined(kubectl: str, environment: dict[str, str]) -> None:
    """A container's own process hears what is typed and is heard."""
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=False,
                env=environment,
            ),
            [kubectl, "attach", "-q", "-i", "p", "-c", "ear"],
        )
        assert process.stdin is not None
        assert process.stdout is not None
        await process.stdin.send_all(b"a word\n")
        said = b""
        while b"heard a word\n" not in said:
            piece = await process.stdout.receive_some()
            assert piece, said
            said += piece
        process.terminate()
        await process.wait()
        nursery.cancel_scope.cancel()


async def copied(ask: Any, folder: Path, big: bytes) -> None:
    """A file goes in and comes out again."""
    (folder / "big").write_bytes(big)
    await ask("exec", "p", "-c", "web", "--", "busybox", "ln", "-s", "busybox", "/bin/tar")
    there = await ask("cp", str(folder / "big"), "p:/www/big", "-c", "web")
    assert there.returncode == 0, there.stderr
    back = await ask("cp", "p:/www/big", str(folder / "back"), "-c", "web")
    assert back.returncode == 0, back.stderr
    assert (folder / "back").read_bytes() == big


async def fetched(kubectl: str, environment: dict[str, str]) -> None:
    """A page is fetched through a forwarded port."""
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(trio.run_process, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, env=environment),
            [kubectl, "port-forward", "pod/p", ":8080", "--address", "127.0.0.1"],
        )
        assert process.stdout is not None
        said = b""
        while b"->" not in said:
            piece = await process.stdout.receive_some()
            assert piece, "kubectl gave up"
            said += piece
        port = int(said.partition(b" ->")[0].rpartition(b":")[2])
        for _ in range(2):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                await stream.send_all(b"GET /index.html HTTP/1.0\r\n\r\n")
                page = b""
                async for piece in stream:
                    page += piece
            assert page.endswith(b"served\n"), page
        process.terminate()
        await process.wait()
        nursery.cancel_scope.cancel()
