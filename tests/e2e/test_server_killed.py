"""The whole server is killed under load: every object a client was told of is there afterwards, and revisions go on upwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from edgekube.api.meta import ObjectMeta
from edgekube.client.kubeconfig import load
from edgekube.client.remote import RemoteClient, open_remote
from edgekube.errors import ApiError, ConnectionFailed
from edgekube.kinds.core import configmap
from edgekube.kinds.core.configmap import ConfigMap

KILLS = 6
CLIENTS = 8
LIFE_S = 0.7
START_S = 60.0  # on a machine that is busy with other things


@contextmanager
def server(directory: Path, number: int) -> Iterator[subprocess.Popen[bytes]]:
    """A control plane on a free port, its kubeconfig in `directory`; killed at the end."""
    (directory / "kubeconfig").unlink(missing_ok=True)
    arguments = ["--data-dir", directory, "--write-kubeconfig", directory / "kubeconfig", "--bind-address", "127.0.0.1"]
    command = [
        sys.executable,
        "-m",
        "edgekube",
        "server",
        "--disable-agent",
        "--https-listen-port",
        "0",
        "--node-ip",
        "192.0.2.1",
    ]
    with open(directory / f"log-{number}", "wb") as log:
        process = subprocess.Popen([*command, *map(str, arguments)], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def until_ready(process: subprocess.Popen[bytes], directory: Path) -> None:
    with trio.fail_after(START_S):
        while not await trio.Path(directory / "kubeconfig").exists():
            assert process.poll() is None, "the server ended by itself"
            await trio.sleep(0.05)


async def write(client: RemoteClient, name: str, acked: dict[str, ConfigMap]) -> None:
    """Create, then change, one object after the other until the server dies."""
    with suppress(ConnectionFailed, ApiError):
        for number in range(10_000):
            made = await client.create(configmap.KIND, config(f"{name}-{number}"))
            acked[made.metadata.name] = made
            made = await client.patch(configmap.KIND, made.metadata.name, "default", {"data": {"n": "2"}})
            acked[made.metadata.name] = made


def config(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data={"n": "1"})


# httpx leaves the generator of a request's body to the collector when the connection dies under it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_is_killed_under_load_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    acked: dict[str, ConfigMap] = {}
    newest = 0
    for number in range(KILLS + 1):
        with server(tmp_path, number) as process:
            await until_ready(process, tmp_path)
            async with open_remote(load([tmp_path / "kubeconfig"])) as client:
                listing = await client.list(configmap.KIND, "default")
                assert int(listing.revision) >= newest
                found = {item.metadata.name: item for item in listing.items}
                for name, told in acked.items():
                    assert name in found, f"{name} is lost"
                    assert int(found[name].metadata.resource_version) >= int(told.metadata.resource_version)
                    assert found[name] == told or told.data == {"n": "1"}  # the change after it may have been in flight
                with trio.move_on_after(LIFE_S):
                    async with trio.open_nursery() as nursery:
                        for writer in range(CLIENTS):
                            nursery.start_soon(write, client, f"k{number}-w{writer}", acked)
                process.send_signal(signal.SIGKILL)
        newest = max((int(item.metadata.resource_version) for item in acked.values()), default=newest)
    assert len(acked) > KILLS * CLIENTS
