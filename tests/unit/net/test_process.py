"""Programs run to their end, kept alive, adopted and ended."""

# ruff: noqa: ASYNC220, ASYNC240 - programs beside us, and a few bytes of their files

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

from edgekube.net import process


async def test_a_program_runs_to_its_end() -> None:
    assert await process.run(["sh", "-c", "cat; echo done"], stdin=b"in\n") == b"in\ndone\n"
    with pytest.raises(process.ProgramFailed, match="sh failed with status 3: oh no") as failed:
        await process.run(["sh", "-c", "echo oh no >&2; exit 3"])
    assert failed.value.status == 3


async def test_a_kept_program_is_started_again_and_ended_gently(tmp_path: Path) -> None:
    pids: list[int] = []
    second = trio.Event()

    def started(pid: int) -> None:
        pids.append(pid)
        if len(pids) == 2:
            second.set()

    command = ["sh", "-c", "trap 'echo ending; exit 0' TERM; echo up; while :; do sleep 0.05; done"]
    log = tmp_path / "log"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(process.keep, command, log=str(log), started=started))
        with trio.fail_after(10):
            while "up" not in (log.read_text() if log.exists() else ""):  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.02)
            os.kill(pids[0], signal.SIGKILL)
            await second.wait()
            while log.read_text().count("up") < 2:  # noqa: ASYNC110 - another process writes it
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert log.read_text() == "up\nup\nending\n"
    assert not Path(f"/proc/{pids[1]}").exists()


async def test_a_running_program_is_adopted(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "600"])
    seen: list[int] = []
    async with trio.open_nursery() as nursery:
        keep = partial(process.keep, ["sleep", "600"], log=str(tmp_path / "log"), adopt=child.pid, started=seen.append)
        nursery.start_soon(keep)
        with trio.fail_after(5):
            while not seen:  # noqa: ASYNC110 - a callback, not an event
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert seen == [child.pid]
    assert child.wait() == -signal.SIGTERM


async def test_what_ignores_the_end_is_killed() -> None:
    child = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    held = process.Adopted.of(child.pid)
    assert held is not None
    await process.end(held, grace_s=0.2)
    held.release()
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    assert process.Adopted.of(2**22 - 7) is None
