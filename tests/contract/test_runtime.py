"""What the node relies on in a runtime, on the fake and on a real containerd alike."""

# ruff: noqa: ASYNC110 - what is waited for happens in other processes

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.clock import SystemClock
from edgekube.net.grpc import RpcFailed
from edgekube.node.runtime.cri import POD_UID, Runtime
from edgekube.node.runtime.fake import FakeRuntime, Program
from tests.contract.noderig import IMAGE, can_run, rig

REAL = pytest.param(
    "real", marks=[pytest.mark.runtime, pytest.mark.skipif(not can_run(), reason="needs root and containerd")]
)
BOTH = pytest.mark.parametrize("which", ["fake", REAL])
PROGRAMS = {"sleep": Program(stop_s=None), "three": Program(run_s=0.2, code=3)}
COMMANDS = {"sleep": ["sleep", "600"], "three": ["sh", "-c", "sleep 0.2; exit 3"]}


@asynccontextmanager
async def a_runtime(which: str) -> AsyncIterator[Runtime]:
    if which == "fake":
        async with trio.open_nursery() as nursery:
            fake = FakeRuntime(SystemClock(), nursery, lambda pod, name, attempt: PROGRAMS[name])
            fake.add_image(IMAGE)
            yield fake
            nursery.cancel_scope.cancel()
    else:
        async with rig() as node:
            assert node.runtime is not None
            yield node.runtime


def sandbox(directory: Path) -> dict[str, Any]:
    return {
        "metadata": {"name": "pod", "namespace": "default", "uid": "u-1", "attempt": 2},
        "labels": {POD_UID: "u-1"},
        "log_directory": str(directory),
        "linux": {},
    }


def container(name: str, attempt: int = 0) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "attempt": attempt},
        "image": {"image": IMAGE, "user_specified_image": IMAGE},
        "command": COMMANDS[name],
        "labels": {POD_UID: "u-1"},
        "annotations": {"a": "b"},
        "log_path": f"{name}.log",
        "linux": {"security_context": {"namespace_options": {"pid": 1}}},  # a process namespace of its own
    }


@BOTH
async def test_a_sandbox_and_its_containers_live_and_end(which: str, tmp_path: Path) -> None:
    async with a_runtime(which) as runtime:
        box = sandbox(tmp_path)
        made = await runtime.run_sandbox(box)
        (listed,) = await runtime.sandboxes("u-1")
        assert (listed.id, listed.uid, listed.attempt, listed.ready) == (made, "u-1", 2, True)
        assert len((await runtime.sandbox_detail(made)).ips) == 1
        assert await runtime.sandboxes("other") == []

        one = await runtime.create_container(made, container("sleep", 4), box)
        assert (await runtime.container(one)).state == "CREATED"
        await runtime.start_container(one)
        (brief,) = await runtime.containers("u-1")
        assert (brief.name, brief.attempt, brief.state, brief.sandbox_id) == ("sleep", 4, "RUNNING", made)
        assert dict(brief.annotations) == {"a": "b"}
        running = await runtime.container(one)
        assert running.started_at >= running.created_at > 0
        assert running.finished_at == 0
        assert (await runtime.exec_sync(one, ["true"], 5))[0] == 0

        await runtime.stop_container(one, 1)
        ended = await runtime.container(one)
        assert (ended.state, ended.exit_code, ended.reason) == ("EXITED", 137, "Error")
        assert ended.finished_at > ended.started_at

        await runtime.stop_sandbox(made)
        await runtime.stop_sandbox(made)
        assert not (await runtime.sandboxes("u-1"))[0].ready
        await runtime.remove_sandbox(made)
        await runtime.remove_sandbox(made)
        assert await runtime.sandboxes() == []
        assert await runtime.containers() == []


@BOTH
async def test_an_end_is_told_and_shows_its_status(which: str, tmp_path: Path) -> None:
    async with a_runtime(which) as runtime:
        box = sandbox(tmp_path)
        made = await runtime.run_sandbox(box)
        async with runtime.task_events() as events:
            one = await runtime.create_container(made, container("three"), box)
            await runtime.start_container(one)
            with trio.fail_after(10):
                async for told in events:
                    if told == one:
                        break
                while (await runtime.container(one)).state != "EXITED":
                    await trio.sleep(0.01)
        ended = await runtime.container(one)
        assert (ended.exit_code, ended.reason) == (3, "Error")
        await runtime.remove_container(one)
        await runtime.remove_container(one)


@BOTH
async def test_what_is_not_there_is_not_found(which: str, tmp_path: Path) -> None:
    async with a_runtime(which) as runtime:
        assert await runtime.image("edgekube.local/none:1") is None
        assert (await runtime.image(IMAGE)) is not None
        for call in (runtime.container("none"), runtime.sandbox_detail("none"), runtime.start_container("none")):
            with pytest.raises(RpcFailed) as failed:
                await call
            assert failed.value.code == "NOT_FOUND"
        await runtime.remove_container("none")
        await runtime.stop_sandbox("none")
