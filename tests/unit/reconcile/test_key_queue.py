"""The queue's promises: never twice at once, never lost, growing pauses."""

from __future__ import annotations

import random
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st

from edgekube.reconcile.pace import Pace
from edgekube.reconcile.queue import KeyQueue


async def test_a_key_added_twice_is_taken_once(autojump_clock: Any) -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert [await queue.take(), await queue.take()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_added_while_it_is_worked_comes_again_afterwards(autojump_clock: Any) -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("a")
    assert await queue.take() == "a"
    queue.add("a")
    with trio.move_on_after(10) as waiting:
        await queue.take()
    assert waiting.cancelled_caught
    queue.settle("a")
    assert await queue.take() == "a"


async def test_failures_wait_longer_each_time_and_success_forgives(autojump_clock: Any) -> None:
    queue: KeyQueue[str] = KeyQueue(Pace(first_s=1, longest_s=5))
    queue.add("a")
    pauses = []
    for _ in range(4):
        begun = trio.current_time()
        await queue.take()
        pauses.append(round(trio.current_time() - begun, 6))
        queue.retry("a")
    assert pauses == [0, 1, 2, 4]
    await queue.take()
    queue.settle("a")
    assert queue.failures("a") == 0


async def test_a_failed_key_that_changed_meanwhile_comes_again_soon_but_not_at_once(autojump_clock: Any) -> None:
    queue: KeyQueue[str] = KeyQueue(Pace(first_s=60, longest_s=60))
    queue.add("a")
    await queue.take()
    queue.add("a")
    queue.retry("a")
    assert len(queue) == 0
    begun = trio.current_time()
    assert await queue.take() == "a"
    assert 0 < trio.current_time() - begun <= 1


async def test_the_earliest_of_several_times_holds(autojump_clock: Any) -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    await queue.take()
    assert trio.current_time() == 10
    queue.settle("a")
    with trio.move_on_after(100) as waiting:
        await queue.take()
    assert waiting.cancelled_caught


async def test_a_key_due_later_that_is_added_now_is_taken_once(autojump_clock: Any) -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("a", 5)
    queue.add("a")
    await queue.take()
    queue.settle("a")
    with trio.move_on_after(60) as waiting:
        await queue.take()
    assert waiting.cancelled_caught


async def test_many_workers_never_share_a_key_and_see_every_change(autojump_clock: Any) -> None:
    chance = random.Random(5)
    queue: KeyQueue[int] = KeyQueue(Pace(first_s=0.01, longest_s=0.1))
    wanted, seen = dict.fromkeys(range(20), 0), dict.fromkeys(range(20), -1)
    working: set[int] = set()

    async def worker() -> None:
        async for key in queue:
            assert key not in working
            working.add(key)
            state = wanted[key]
            await trio.sleep(chance.random() / 10)
            working.discard(key)
            if chance.random() < 0.3:
                queue.retry(key)
            else:
                seen[key] = state
                queue.settle(key)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(worker)
        for _ in range(400):
            key = chance.randrange(20)
            wanted[key] += 1
            queue.add(key)
            await trio.sleep(chance.random() / 100)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    touched = {key: state for key, state in wanted.items() if state}
    assert {key: seen[key] for key in touched} == touched


@given(st.integers(1, 200), st.floats(0, 0.999))
def test_pauses_are_bounded_whatever_chance_says(failures: int, drawn: float) -> None:
    pause = Pace(first_s=0.5, longest_s=60, chance=lambda: drawn).pause(failures)
    assert 0 < pause <= 60
