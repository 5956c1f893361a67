"""Deployments, decided step by step without any API: the promises of a rolling update hold for every size and pace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.control import rollout
from edgekube.control.controllers.deployment import Seen, reconcile
from edgekube.control.portions import portion, surge_and_unavailable
from edgekube.kinds.apps import deployment as deployment_kind
from edgekube.kinds.apps.replicaset import ReplicaSet
from edgekube.reconcile.plan import Create, Outcome, Update

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def deployment(replicas: int, image: str, surge: Any, unavailable: Any) -> Any:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "w"}}, "template": template, "strategy": strategy}
    return deployment_kind.KIND.from_dict(
        {"metadata": {"name": "w", "namespace": "d", "uid": "1", "generation": 1}, "spec": spec}
    )


class World:
    """Replica sets that do what they are told, one pod at a time when asked to move."""

    def __init__(self) -> None:
        self.sets: dict[str, ReplicaSet] = {}
        self.births = 0

    def look(self, wanted: Any) -> bool:
        """One look of the controller; whether it changed any replica set."""
        plan = reconcile(Seen(wanted, list(self.sets.values()), (), NOW))
        changed = False
        for action in plan.actions:
            if isinstance(action, Create) and isinstance(action.item, ReplicaSet):
                self.births += 1
                metadata = msgspec.structs.replace(
                    action.item.metadata, uid=f"rs{self.births}", creation_timestamp=f"2026-01-01T00:00:0{self.births}Z"
                )
                self.sets[metadata.name] = msgspec.structs.replace(action.item, metadata=metadata)
                changed = True
            if isinstance(action, Update) and isinstance(action.item, ReplicaSet):
                self.sets[action.item.metadata.name] = action.item
                changed = True
        if plan.finish is not None:
            plan.finish(Outcome())
        return changed

    def step(self) -> bool:
        """One pod more, one pod less, or one more available; False when all is as told."""
        for name, found in self.sets.items():
            size, status = rollout.size(found), found.status
            if status.replicas > size:
                made = {
                    "replicas": status.replicas - 1,
                    "available_replicas": min(status.available_replicas, status.replicas - 1),
                }
            elif status.replicas < size:
                made = {"replicas": status.replicas + 1}
            elif status.available_replicas < status.replicas:
                made = {"available_replicas": status.available_replicas + 1}
            else:
                continue
            self.sets[name] = msgspec.structs.replace(found, status=msgspec.structs.replace(status, **made))
            return True
        return False


@given(
    st.integers(1, 12),
    st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "100%"])),
    st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "100%"])),
    st.integers(0, 12),
)
def test_a_rolling_update_keeps_its_bounds_and_ends(replicas: int, surge: Any, unavailable: Any, rescaled: int) -> None:
    world = World()
    first = deployment(replicas, "i:1", surge, unavailable)
    while world.look(first) or world.step():
        pass
    assert sum(map(rollout.size, world.sets.values())) == replicas
    second = deployment(replicas, "i:2", surge, unavailable)
    most = replicas + rollout.max_surge(second)
    least = replicas - rollout.max_unavailable(second)
    steps = 0
    while world.look(second) or world.step():
        steps += 1
        assert steps < 1000, "it does not end"
        assert sum(map(rollout.size, world.sets.values())) <= most
        assert sum(item.status.available_replicas for item in world.sets.values()) >= least
    new = rollout.find_new(second, world.sets.values())
    assert new is not None
    assert new.status.available_replicas == replicas
    assert sum(map(rollout.size, world.sets.values())) == replicas
    assert rollout.revision_of(new) == 2
    third = deployment(rescaled, "i:2", surge, unavailable)
    while world.look(third) or world.step():
        steps += 1
        assert steps < 2000, "it does not end"
    assert sum(map(rollout.size, world.sets.values())) == rescaled


def test_rolling_back_gives_the_old_set_a_new_revision() -> None:
    world = World()
    for image in ("i:1", "i:2", "i:1"):
        wanted = deployment(2, image, 1, 0)
        while world.look(wanted) or world.step():
            pass
    annotations = {
        item.spec.template.spec.containers[0].image: item.metadata.annotations for item in world.sets.values()
    }  # type: ignore[index]
    assert annotations["i:1"][rollout.REVISION] == "3"
    assert annotations["i:1"][rollout.REVISION_HISTORY] == "1"
    assert annotations["i:2"][rollout.REVISION] == "2"


def test_scaling_in_the_middle_keeps_the_proportion() -> None:
    world = World()
    for image, steps in (("i:1", 100), ("i:2", 4)):
        wanted = deployment(10, image, 3, 2)
        for _ in range(steps):
            world.look(wanted)
            world.step()
    before = {name: rollout.size(item) for name, item in world.sets.items()}
    assert len([size for size in before.values() if size]) == 2
    world.look(deployment(20, "i:2", 3, 2))
    after = {name: rollout.size(item) for name, item in world.sets.items()}
    assert sum(after.values()) == 23
    for name, size in before.items():
        assert abs(after[name] - size * 23 / 13) <= 1.5


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [(3, 10, 3, 3), ("25%", 10, 3, 2), ("0%", 10, 0, 0), ("100%", 7, 7, 7), (None, 5, 0, 0)],
)
def test_portions_round_as_asked(value: Any, total: int, up: int, down: int) -> None:
    assert portion(value, total, round_up=True) == up
    assert portion(value, total, round_up=False) == down


def test_a_rollout_can_always_move() -> None:
    assert surge_and_unavailable(0, 0, 5) == (0, 1)
    assert surge_and_unavailable("1%", 0, 5) == (1, 0)
