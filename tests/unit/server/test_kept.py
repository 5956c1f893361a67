"""Objects that admission keeps at hand: exact to the last write, whatever was missed meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekube.kinds.core import configmap
from edgekube.server.admission.kept import Kept
from edgekube.store.memory import MemoryStore
from tests.server_harness import Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


def names(items: Sequence[Any]) -> list[str]:
    return [item.metadata.name for item in items]


async def test_a_write_counts_for_the_next_look(api: Api) -> None:
    kept = Kept(api.store, configmap.KIND, names)
    assert await kept.now() == []
    await api.good("POST", MAPS, config_map("a"))
    assert await kept.now() == ["a"]
    await api.good("DELETE", f"{MAPS}/a")
    assert await kept.now() == []


async def test_nothing_is_made_again_without_a_change(api: Api) -> None:
    made = []

    def make(items: Sequence[Any]) -> int:
        made.append(len(items))
        return len(made)

    kept = Kept(api.store, configmap.KIND, make)
    await api.good("POST", MAPS, config_map("a"))
    assert [await kept.now() for _ in range(3)] == [1, 1, 1]
    await api.good("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
    assert await kept.now() == 1
    assert made == [1]


async def test_who_does_not_look_for_long_reads_everything_anew() -> None:
    api = Api(MemoryStore(window_changes=8))
    await api.server.bootstrap()
    kept = Kept(api.store, configmap.KIND, names)
    assert await kept.now() == []
    for number in range(20):
        await api.good("POST", MAPS, config_map(f"c{number:02}"))
    assert len(await kept.now()) == 20
    await api.good("POST", MAPS, config_map("z"))
    assert (await kept.now())[-1] == "z"
