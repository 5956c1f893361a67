"""Stop by leaving: the first SIGTERM or SIGINT ends the wait, a second one cancels what is still draining.

What has not finished starting has nothing to drain (it may be waiting for a server that is away): there, the first cancels.
"""

from __future__ import annotations

import signal

import trio

from edgekube.errors import EdgekubeError


async def wait_for_stop(
    cancel: trio.CancelScope,
    stop: trio.Event,
    started: trio.Event | None = None,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Set `stop` at the first signal, cancel at the second; at the first, too, while `started` is not set."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        task_status.started()
        async for _ in received:
            if stop.is_set() or (started is not None and not started.is_set()):
                stop.set()
                cancel.cancel()
                return
            stop.set()


def first_reason(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of everything that failed together, what a person should read; our own mistakes stay whole."""
    known, others = group.split(EdgekubeError)
    if others is not None and others.subgroup(lambda error: not isinstance(error, KeyboardInterrupt)):
        return group
    error: BaseException = known or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
