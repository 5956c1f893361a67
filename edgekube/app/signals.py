"""Stop by leaving: the first SIGTERM or SIGINT ends the wait, a second one cancels what is still draining."""

from __future__ import annotations

import signal

import trio


async def wait_for_stop(
    cancel: trio.CancelScope, stop: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Set `stop` at the first signal, cancel at the second."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for _ in received:
            if stop.is_set():
                cancel.cancel()
                return
            stop.set()
