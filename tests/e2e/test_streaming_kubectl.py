"""Every kubectl at hand talks to a real listener whose node is a fake: exec, attach, logs and port-forward, as each version speaks them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.net.listener import serving
from tests.streaming_fakes import FakeServer, certificates

pytestmark = pytest.mark.kubectl


def kubectls() -> list[str]:
    """kubectl on the PATH, and versions of it lying beside it."""
    found = shutil.which("kubectl")
    if found is None:
        return []
    beside = sorted(Path(found).resolve().parent.glob("kubectl.1.*"))
    return [str(path) for path in beside] or [found]


every_kubectl = pytest.mark.parametrize("kubectl", kubectls(), ids=lambda path: Path(path).name)


def write_kubeconfig(folder: Path, port: int) -> dict[str, str]:
    """The environment in which kubectl finds the server; `folder` holds its certificate."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(folder / "both.pem")},
            }
        ],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "none"}}],
        "current-context": "c",
    }
    (folder / "config").write_text(json.dumps(config))
    return {**os.environ, "KUBECONFIG": str(folder / "config"), "HOME": str(folder)}


@asynccontextmanager
async def fake_server(folder: Path) -> AsyncIterator[tuple[FakeServer, dict[str, str]]]:
    server = FakeServer()
    context, _, _ = certificates(folder)
    async with trio.open_nursery() as server.gate.nursery:
        async with serving(server.handle, hosts=("127.0.0.1",), port=0, ssl_context=context, drain_s=0) as port:
            with trio.fail_after(60):
                yield server, write_kubeconfig(folder, port)
        server.gate.nursery.cancel_scope.cancel()


async def run(
    kubectl: str, environment: dict[str, str], *words: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    start: Any = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False, stdin=stdin)
    return await start([kubectl, *words], env=environment)


@every_kubectl
async def test_exec_carries_stdin_both_outputs_and_the_exit_code(kubectl: str, tmp_path: Path) -> None:
    async with fake_server(tmp_path) as (server, environment):
        echoed = await run(kubectl, environment, "exec", "-i", "p", "--", "cat", stdin=b"words\n" * 20_000)
        assert (echoed.returncode, echoed.stderr) == (0, b"")
        assert echoed.stdout == b"words\n" * 20_000
        both = await run(kubectl, environment, "exec", "p", "-c", "c", "--", "both", "5")
        assert both.returncode == 5, both.stderr
        assert both.stdout == b"out" * 100_000
        assert both.stderr.startswith(b"err")
        missing = await run(kubectl, environment, "exec", "p", "--", "missing")
        assert missing.returncode == 1
        assert b'container not found ("c")' in missing.stderr
        assert [options.command[0] for _, options in server.gate.ran] == ["cat", "both", "missing"]


@every_kubectl
async def test_attach_joins_stdin_and_logs_are_printed(kubectl: str, tmp_path: Path) -> None:
    async with fake_server(tmp_path) as (server, environment):
        attached = await run(kubectl, environment, "attach", "-q", "-i", "p", stdin=b"typed words")
        assert attached.stdout == b"typed words", attached.stderr
        assert server.gate.ran[0][1].command == ()
        logs = await run(kubectl, environment, "logs", "p")
        assert logs.stdout == b"c line 0\nc line 1\nc line 2\n"
        refused = await run(kubectl, environment, "logs", "two", "-c", "z")
        assert refused.returncode == 1
        assert b"container z is not valid for pod two" in refused.stderr


@every_kubectl
async def test_a_terminal_is_raw_and_tells_its_size(kubectl: str, tmp_path: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    async with fake_server(tmp_path) as (server, environment):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        start: Any = partial(trio.run_process, stdin=theirs, stdout=theirs, stderr=theirs, check=False)
        done = await start([kubectl, "exec", "-it", "p", "--", "terminal"], env=environment)
        os.close(theirs)
        os.close(ours)
        assert done.returncode == 0
        assert server.gate.sizes == [(101, 33)]
        assert server.gate.ran[0][1].tty
        assert not server.gate.ran[0][1].stderr


@every_kubectl
async def test_port_forward_carries_connections_side_by_side(kubectl: str, tmp_path: Path) -> None:
    async with fake_server(tmp_path) as (_, environment), trio.open_nursery() as nursery:
        command = [kubectl, "port-forward", "pod/p", ":7", ":9", "--address", "127.0.0.1"]
        process: trio.Process = await nursery.start(
            partial(trio.run_process, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, env=environment),
            command,
        )
        assert process.stdout is not None
        said = b""
        while said.count(b"Forwarding from") < 2:
            piece = await process.stdout.receive_some()
            assert piece, "kubectl gave up"
            said += piece
        lines = [line.split(b"->") for line in said.splitlines() if b"->" in line]
        ports = {int(right): int(left.rpartition(b":")[2]) for left, right in lines}

        async def echoed(words: bytes) -> None:
            stream = await trio.open_tcp_stream("127.0.0.1", ports[7])
            async with stream:
                await stream.send_all(words)
                await stream.send_eof()
                got = b""
                async for piece in stream:
                    got += piece
            assert got == words

        async with trio.open_nursery() as clients:
            for number in range(5):
                clients.start_soon(echoed, b"%d" % number * 40_000)
        refused = await trio.open_tcp_stream("127.0.0.1", ports[9])
        async with refused:
            assert await refused.receive_some() == b""
        assert process.stderr is not None
        complaint = b""
        while b"connection refused" not in complaint:
            piece = await process.stderr.receive_some()
            assert piece, complaint
            complaint += piece
        process.terminate()
        await process.wait()
        nursery.cancel_scope.cancel()
