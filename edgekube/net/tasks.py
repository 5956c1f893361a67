"""A task beside a block of code: the one shape of structured concurrency that the connections here share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def beside(task: Callable[[], Awaitable[object]]) -> AsyncIterator[trio.Nursery]:
    """Run a task beside the block, cancelled when the block ends. Yields the nursery both live in.

    What the block raises comes out as it is, not wrapped in a group. The task must not raise.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        try:
            yield nursery
        except Exception as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def until(event: trio.Event) -> AsyncIterator[None]:
    """The block is cancelled when the event is set; code after the block then goes on."""
    scope = trio.CancelScope()

    async def watch() -> None:
        await event.wait()
        scope.cancel()

    async with beside(watch):
        with scope:
            yield
