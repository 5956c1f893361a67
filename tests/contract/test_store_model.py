"""Random histories against a model: whatever was written, lists, pages, older lists and watches agree with plain dicts."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.store.interface import Compacted, Durability, Key, Mismatch, Put, Remove, Row, Store
from edgekube.store.memory import open_memory
from edgekube.store.offload import InlineOffloader
from edgekube.store.sqlite import open_store

RESOURCES = ("/pods", "apps/deployments")
STEPS = 100
WINDOW = 60

State = dict[Key, Row]


class Model:
    """The history as plain dicts: the state after every revision."""

    def __init__(self, revision: int) -> None:
        self.state: State = {}
        self.states: dict[int, State] = {revision: {}}
        self.durable: dict[Key, Durability] = {}

    def write(self, operations: list[Put | Remove], rows: list[Row]) -> None:
        for operation, row in zip(operations, rows, strict=True):
            self.state = dict(self.state)
            if isinstance(operation, Put):
                self.state[row.key] = row
                self.durable[row.key] = operation.durability
            else:
                del self.state[row.key]
            self.states[row.revision] = self.state

    def listed(self, state: State, resource: str, namespace: str | None) -> list[Row]:
        return sorted(
            row for key, row in state.items() if key.resource == resource and namespace in (None, key.namespace)
        )

    def at(self, revision: int) -> State:
        return self.states[max(known for known in self.states if known <= revision)]

    def restart(self) -> None:
        """MEMORY rows are gone, quietly."""
        kept = {key: row for key, row in self.state.items() if self.durable[key] is not Durability.MEMORY}
        self.state = kept


def operation(chance: random.Random, model: Model) -> Put | Remove:
    key = Key(chance.choice(RESOURCES), f"n{chance.randrange(3)}", f"x{chance.randrange(6)}")
    # One durability per key, as one per kind in life; a removal of the same.
    durability = list(Durability)[sum(map(ord, "".join(key))) % 3]
    current = model.state.get(key)
    right = current.revision if current else 0
    expected = chance.choice([None, right, right, right + 1])
    value = b'{"v":""}' + b"z" * chance.choice([0, 10, 2000])
    if chance.random() < 0.3:
        return Remove(key, value, 6, expected, durability)
    return Put(key, value, 6, expected, durability)


def fits(operations: list[Put | Remove], model: Model, revision: int) -> bool:
    state = {key: row.revision for key, row in model.state.items()}
    for one in operations:
        found = state.get(one.key, 0)
        if (one.expected is not None and one.expected != found) or (isinstance(one, Remove) and not found):
            return False
        revision += 1
        state[one.key] = 0 if isinstance(one, Remove) else revision
    return True


def compare(store: Store, model: Model, chance: random.Random, first: int) -> None:
    for resource in RESOURCES:
        for namespace in (None, "n1"):
            wanted = model.listed(model.state, resource, namespace)
            assert list(store.list(resource, namespace).rows) == wanted
            limit, after, gathered = chance.randrange(1, 6), None, list[Row]()
            while True:
                page = store.list(resource, namespace, limit=limit, after=after)
                gathered += page.rows
                assert page.remaining == len(wanted) - len(gathered)
                if (after := page.after) is None:
                    break
            assert gathered == wanted
            past = chance.randrange(first, store.revision + 1)
            try:
                older = store.list(resource, namespace, at=past, limit=4)
            except Compacted as error:
                oldest = error.oldest
            else:
                oldest = 0
                then = model.listed(model.at(past), resource, namespace)
                assert list(older.rows) == then[:4]
                assert older.remaining == max(0, len(then) - 4)
            assert not oldest or past < oldest
    for key in list(model.state)[:3]:
        assert store.get(key) == model.state[key]


async def live(store: Store, model: Model, chance: random.Random, first: int) -> None:
    replayed: dict[Key, Row] = {}
    async with store.watch(RESOURCES[0], after=store.revision) as watch:
        replayed = {row.key: row for row in store.list(RESOURCES[0]).rows}
        for step in range(STEPS):
            operations = [operation(chance, model) for _ in range(chance.choice([1, 1, 1, 3]))]
            if len({one.key for one in operations}) < len(operations):
                continue
            if fits(operations, model, store.revision):
                model.write(operations, list(await store.write(operations)))
            else:
                with pytest.raises(Mismatch):
                    await store.write(operations)
            for change in watch.take_nowait():
                before = replayed.pop(change.row.key, None)
                assert change.previous == (before.value if before else None)
                if change.type.value != "DELETED":
                    replayed[change.row.key] = change.row
            assert replayed == {key: row for key, row in model.state.items() if key.resource == RESOURCES[0]}
            if step % 10 == 0:
                compare(store, model, chance, first)
            if step % 37 == 0 and hasattr(store, "flush"):
                await store.flush()
                compare(store, model, chance, first)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_random_histories_agree_with_the_model(tmp_path: Path, kind: str, seed: int) -> None:
    chance = random.Random(seed)
    opener: Callable[..., AbstractAsyncContextManager[Any]] = open_memory
    if kind == "sqlite":
        opener = functools.partial(open_store, tmp_path / "state.db", offloader=lambda _: InlineOffloader())
    async with opener(window_changes=WINDOW) as store:
        model = Model(store.revision)
        await live(store, model, chance, 0)
    if kind == "memory":
        return
    for _ in range(3):
        model.restart()
        async with opener(window_changes=WINDOW) as store:
            first = store.revision
            model.states = {first: model.state}
            await live(store, model, chance, first)
            await trio.lowlevel.checkpoint()
