"""Where blocking disk work runs: one thread of our own in production, inline in tests and simulation.

Virtual time leaps past a worker thread, so everything that would block is handed to an `Offloader` given from outside.
Only running functions lives here; what they do is not known.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import outcome
import trio

T = TypeVar("T")


class Offloader(Protocol):
    """Runs one blocking function at a time, in the order given. Not cancellable: what began is waited for."""

    async def run(self, job: Callable[[], T]) -> T: ...

    def close(self) -> None:
        """No more jobs will come."""
        ...


class InlineOffloader:
    """Runs jobs where they stand: for tests and simulation, where nothing really blocks."""

    async def run(self, job: Callable[[], T]) -> T:
        """Call `job` after giving other tasks a turn, as a thread would."""
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        return job()

    def close(self) -> None:
        """Nothing to release."""


class ThreadOffloader:
    """One thread for its whole life (a third of the hand-over cost of borrowing one per job)."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], trio.lowlevel.TrioToken, trio.lowlevel.Task] | None]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """Call `job` in the thread and wait for what it returns or raises."""
        self._jobs.put((job, trio.lowlevel.current_trio_token(), trio.lowlevel.current_task()))
        made: T = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return made

    def close(self) -> None:
        """End the thread once the jobs given so far are done."""
        self._jobs.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, token, task = item
            result = outcome.capture(job)
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)
            del item, job, token, task, result
