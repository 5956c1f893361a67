"""A Deployment is rolled again and again while its server crashes: never fewer ready pods, never more pods, than it allows."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from tests.sim.people import Person, template
from tests.sim.promises import Limits, is_active, is_ready
from tests.sim.simulation import Story, simulate
from tests.sim.test_clusters import SERVER
from tests.sim.world import KINDS, World, insist

APP, SPACE = "web", "default"
ROLLOUTS_AT_LEAST = 3
READY_WITHIN_S = 300


class Roller(Person):
    """Asks for one Deployment, waits until it is there, then changes its image, sometimes before the last change is through."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(world, number)
        self.rolled = 0
        self._promises = world.promises
        self._dice = random.Random(world.chance.random())

    async def live(self, until_s: float) -> None:
        """See the class."""
        replicas = self._dice.randrange(2, 6)
        surge, missing = self._dice.choice([(1, 0), (0, 1), (2, 1), (1, 2)])
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": missing}}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": APP}}, "strategy": strategy}
        document = {"metadata": {"name": APP}, "spec": {**spec, "template": template(APP, "web:0")}}
        self.wishes = {SPACE: {"deployments": {APP: document}}}
        await self._make("deployments", SPACE, document)
        for _ in range(READY_WITHIN_S):
            if self._ready() == replicas:
                break
            await trio.sleep(1)
        assert self._ready() == replicas
        self._promises.limits[SPACE, APP] = Limits(replicas - missing, replicas + surge)
        while trio.current_time() < until_s or self.rolled < ROLLOUTS_AT_LEAST:
            await self._roll(document)
            await trio.sleep(self._dice.choice([0.5, 5.0, 20.0]))

    async def _roll(self, document: dict[str, Any]) -> None:
        self.rolled += 1
        image = f"web:{self._dice.randrange(4)}"  # an older one may come back
        container = document["spec"]["template"]["spec"]["containers"][0]
        container["image"] = image
        patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
        self._promises.tell(f"rolls to {image}")

        async def attempt() -> None:
            await self._client.patch(KINDS["deployments"], APP, SPACE, patch)

        await insist(attempt)

    def _ready(self) -> int:
        return sum(is_active(pod) and is_ready(pod) for pod in self._promises.pods.now.values())


@pytest.mark.parametrize("seed", [51, 52])
def test_rollouts_keep_their_limits_though_the_server_crashes(seed: int) -> None:
    story = Story(seed=seed, faults=SERVER, people=1, lasts_s=60.0, between_faults_s=8.0, steady=True)
    told = simulate(story, Roller)
    assert told.crashes > 0
    assert sum("rolls to" in line for line in told.trace) >= ROLLOUTS_AT_LEAST
