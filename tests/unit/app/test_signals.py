"""The first signal asks politely, the second insists; a start that is not through has nothing to be polite about."""

from __future__ import annotations

import signal

import trio

from edgekube.app.signals import wait_for_stop


async def test_the_first_signal_asks_and_the_second_cancels_what_still_drains() -> None:
    stop, started = trio.Event(), trio.Event()
    started.set()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(wait_for_stop, nursery.cancel_scope, stop, started)
            signal.raise_signal(signal.SIGTERM)
            await stop.wait()
            assert not nursery.cancel_scope.cancel_called
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()
    assert nursery.cancel_scope.cancelled_caught


async def test_one_signal_ends_what_still_waits_to_start() -> None:
    stop, started = trio.Event(), trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(wait_for_stop, nursery.cancel_scope, stop, started)
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
    assert nursery.cancel_scope.cancelled_caught
    assert stop.is_set()
