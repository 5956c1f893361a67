"""The API server's figures: start, memory, writes, lists, watches, and what it costs to do nothing."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.figures import Figure, cpu_s, pss_mib, settle, written_bytes
from tests.support import ROOT, Server, api_server, eventually, start

WRITERS = 16
WRITE_S = 6.0
PODS = 5000
WATCHERS = 1000
IDLE_S = 30.0


class Connection:
    """A kept-alive HTTPS connection as administrator."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        at = urlsplit(server.url)
        self.http = http.client.HTTPSConnection(at.hostname or "", at.port, context=context, timeout=120)

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        self.http.request(method, path, data, {"Content-Type": "application/json", "Accept": "application/json"})
        answer = self.http.getresponse()
        content = answer.read()
        assert answer.status < 300, content[:500]
        return content


def tls(server: Server) -> ssl.SSLContext:
    ca, certificate, key = server.credentials()
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(certificate, key)
    return context


def pod(name: str) -> dict[str, Any]:
    """A pod of about 4 KB once defaulted."""
    environment = [{"name": f"SETTING_{i}", "value": f"value {i} of {name} " + "x" * 40} for i in range(20)]
    container = {"name": "app", "image": "registry.example/app:1", "env": environment}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {"containers": [container], "nodeSelector": {"nowhere": "true"}},
    }


def start_and_memory(directory: Path) -> list[Figure]:
    """exec to /readyz with an existing data directory (median of five), and memory once idle."""
    start(directory, "--disable-agent", "--bind-address", "127.0.0.1").stop()
    times = []
    for _ in range(5):
        began = time.monotonic()
        server = start(directory, "--disable-agent", "--bind-address", "127.0.0.1", wait=False)
        eventually(lambda s=server: s.ready(), within_s=60, every_s=0.02)
        times.append(time.monotonic() - began)
        last = server
        if len(times) < 5:
            server.stop()
    settle(last.process.pid)
    figures = [
        Figure("server without node: exec to /readyz", statistics.median(times), "s", "1.0 s"),
        Figure("server without node: memory (PSS) idle", pss_mib(last.process.pid), "MiB", "90 MiB"),
    ]
    last.stop()
    return figures


def durable_writes(directory: Path) -> list[Figure]:
    """ConfigMaps created by 16 HTTPS clients, each write fsynced, beside raw SQLite transactions on the same disk."""
    with api_server(directory) as server:
        context, done, latencies = tls(server), [0] * WRITERS, []
        stop = time.monotonic() + WRITE_S

        def write(number: int) -> None:
            connection = Connection(server, context)
            while time.monotonic() < stop:
                began = time.monotonic()
                body = {"metadata": {"name": f"w{number}-{done[number]}"}, "data": {"key": "x" * 1000}}
                connection.ask("POST", "/api/v1/namespaces/default/configmaps", body)
                latencies.append(time.monotonic() - began)
                done[number] += 1

        began = cpu_s(server.process.pid)
        _together(write, WRITERS)
        used = cpu_s(server.process.pid) - began
    writes = sum(done)
    raw = _raw_transactions(directory / "raw.db")
    return [
        Figure("durable writes, 16 HTTPS clients", writes / WRITE_S, "/s", "1,000 /s", f"raw SQLite, one at a time: {raw:,.0f} /s"),
        Figure("durable writes: median latency", statistics.median(latencies) * 1000, "ms"),
        Figure("durable writes: server CPU per write", used / writes * 1e6, "us"),
    ]  # fmt: skip


def _raw_transactions(path: Path) -> float:
    database = sqlite3.connect(path, isolation_level=None)
    database.executescript(
        "pragma journal_mode=wal; pragma synchronous=full; create table t (k text primary key, v blob)"
    )
    began, count = time.monotonic(), 0
    while time.monotonic() - began < 2:
        database.execute("insert or replace into t values (?, ?)", (str(count), b"x" * 1200))
        count += 1
    database.close()
    return count / 2


def _together(work: Callable[[int], None], number: int) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def big_lists(directory: Path) -> list[Figure]:
    """A list of 5,000 pods: megabytes per second, and the server's memory afterwards."""
    with api_server(directory) as server:
        context = tls(server)

        def fill(number: int) -> None:
            connection = Connection(server, context)
            for i in range(number, PODS, 8):
                connection.ask("POST", "/api/v1/namespaces/default/pods", pod(f"pod-{i:05}"))

        eventually(lambda: server.get("/api/v1/namespaces/default/serviceaccounts/default")[0] == 200)
        _together(fill, 8)
        settle(server.process.pid)
        reader = Connection(server, context)
        rates, size = [], 0
        for _ in range(5):
            began = time.monotonic()
            size = len(reader.ask("GET", "/api/v1/pods"))
            rates.append(size / 1e6 / (time.monotonic() - began))
        return [
            Figure(f"list of {PODS:,} pods ({size / 1e6:.1f} MB)", statistics.median(rates), "MB/s", "100 MB/s"),
            Figure(f"memory (PSS) with {PODS:,} pods", pss_mib(server.process.pid), "MiB"),
        ]


def watch_fan_out(directory: Path) -> list[Figure]:
    """One change told to 1,000 watchers: time until the last one has it, CPU, memory per watcher."""
    client = """
import asyncio, ssl, sys, time
host, port, ca, crt, key, count = sys.argv[1:7]
async def main():
    c = ssl.create_default_context(cafile=ca); c.load_cert_chain(crt, key)
    async def one():
        r, w = await asyncio.open_connection(host, int(port), ssl=c)
        w.write(b"GET /api/v1/namespaces/default/configmaps?watch=1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"); await w.drain()
        await r.readuntil(b"\\r\\n\\r\\n")
        return r, w
    streams = []
    for i in range(0, int(count), 50):
        streams += await asyncio.gather(*[one() for _ in range(50)])
    async def see(r):
        while b"fan-out-mark" not in await r.readline(): pass
    print("ready", flush=True)
    await asyncio.gather(*[see(r) for r, _ in streams])
    print(time.monotonic(), flush=True)
asyncio.run(main())
"""
    with api_server(directory) as server:
        before = pss_mib(server.process.pid)
        at = urlsplit(server.url)
        files = [str(path) for path in server.credentials()]
        watchers = subprocess.Popen(
            [sys.executable, "-c", client, at.hostname or "", str(at.port), *files, str(WATCHERS)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watchers.stdout is not None
        assert watchers.stdout.readline().strip() == "ready"
        after = pss_mib(server.process.pid)
        cpu = cpu_s(server.process.pid)
        began = time.monotonic()
        Connection(server, tls(server)).ask(
            "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "fan-out-mark"}}
        )
        ended = float(watchers.stdout.readline())
        used = cpu_s(server.process.pid) - cpu
        watchers.wait()
    return [
        Figure(f"one change to {WATCHERS:,} watchers: until the last has it", (ended - began) * 1000, "ms"),
        Figure(f"one change to {WATCHERS:,} watchers: server CPU", used * 1000, "ms"),
        Figure("memory (PSS) per watcher", (after - before) / WATCHERS * 1024, "KiB"),
    ]


def idle_costs(directory: Path) -> list[Figure]:
    """Disk and CPU of a server that nobody asks anything."""
    with api_server(directory) as server:
        time.sleep(10)
        pid = server.process.pid
        disk, cpu = written_bytes(pid), cpu_s(pid)
        time.sleep(IDLE_S)
        disk, cpu = written_bytes(pid) - disk, cpu_s(pid) - cpu
    return [
        Figure("idle without node: disk", disk / IDLE_S * 3600 / 1e6, "MB/h", "1 MB/h"),
        Figure("idle without node: CPU", cpu / IDLE_S * 100, "% of a core", "1 %"),
    ]


def command_start(directory: Path) -> list[Figure]:
    """`edgekube get pods` against nothing: how long a command needs to begin."""
    times = []
    environment = {**os.environ, "KUBECONFIG": str(directory / "none"), "PYTHONPATH": str(ROOT)}
    for _ in range(10):
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "edgekube", "get", "pods"],
            capture_output=True,
            env=environment,
            check=False,
            cwd=ROOT,
        )
        times.append(time.monotonic() - began)
    return [Figure("start of a command", statistics.median(times) * 1000, "ms", "150 ms")]
