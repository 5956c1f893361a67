"""Programs beside us: run one to its end, or keep one alive.

Nothing here knows what the program is for. A kept program is restarted with growing pauses until the block is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from edgekube.errors import EdgekubeError

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
CALM_S = 30.0  # a program that ran this long starts again without a pause
TERM_GRACE_S = 10.0
OUTPUT_LIMIT_BYTES = 64 * 1024  # of a failed program's words, what is worth repeating


class ProgramFailed(EdgekubeError):
    """A program ended with a status other than 0; the message ends with its last words."""

    def __init__(self, name: str, status: int, output: str) -> None:
        super().__init__(f"{name} failed with status {status}: {output.strip()[-2000:]}")
        self.status = status
        self.output = output


async def run(command: Sequence[str], *, stdin: bytes = b"", cwd: str | None = None) -> bytes:
    """Run to the end and give back its standard output. Raises ProgramFailed, FileNotFoundError."""
    done = await trio.run_process(
        list(command), stdin=stdin, capture_stdout=True, capture_stderr=True, check=False, cwd=cwd
    )
    if done.returncode:
        words = (done.stderr or done.stdout or b"")[-OUTPUT_LIMIT_BYTES:].decode(errors="replace")
        raise ProgramFailed(os.path.basename(command[0]), done.returncode, words)
    return bytes(done.stdout or b"")


@dataclass(frozen=True, slots=True)
class Adopted:
    """A process that somebody else started and we look after, held by pidfd."""

    pid: int
    fd: int

    @classmethod
    def of(cls, pid: int) -> Adopted | None:
        """Hold a running process; None when there is none."""
        try:
            return cls(pid, os.pidfd_open(pid))
        except OSError:
            return None

    async def wait(self) -> None:
        """Until it has ended."""
        await trio.lowlevel.wait_readable(self.fd)

    def signal(self, number: int) -> None:
        """Send a signal to exactly this process, never to a successor of its id."""
        try:
            signal.pidfd_send_signal(self.fd, number)
        except ProcessLookupError:
            pass

    def release(self) -> None:
        """Let go without ending it."""
        os.close(self.fd)


async def end(process: Adopted, *, grace_s: float = TERM_GRACE_S) -> None:
    """SIGTERM, then SIGKILL after the grace. Returns when it is gone."""
    process.signal(signal.SIGTERM)
    with trio.move_on_after(grace_s) as late:
        await process.wait()
    if late.cancelled_caught:
        process.signal(signal.SIGKILL)
        await process.wait()


async def keep(
    command: Sequence[str],
    *,
    log: str,
    environment: dict[str, str] | None = None,
    adopt: int = 0,
    started: Callable[[int], None] = lambda _pid: None,
    ended: Callable[[int], None] = lambda _status: None,
) -> None:
    """Keep a program alive until cancelled, then end it gently.

    `adopt` is the pid of an instance that runs already. Output is appended to the file `log`. The program gets a session of
    its own, so that a Ctrl-C meant for us does not reach it. `started(pid)` and `ended(status)` tell of each life.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        born = trio.current_time()
        child: subprocess.Popen[bytes] | None = None
        if not (adopt and (process := Adopted.of(adopt))):
            with open(log, "ab") as output:  # noqa: ASYNC230 - opening a local file for appending does not block
                child = subprocess.Popen(  # noqa: ASYNC220 - it outlives this scope's cancellation by its grace
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    env=environment,
                )
            process = Adopted.of(child.pid)
            assert process is not None, "a child not yet waited for has a pid"
        adopt = 0
        started(process.pid)
        try:
            await process.wait()
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await end(process)
            raise
        finally:
            process.release()
            status = child.wait() if child is not None else -1
            ended(status)
        if trio.current_time() - born >= CALM_S:
            pause_s = FIRST_PAUSE_S
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
