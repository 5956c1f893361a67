"""Sites of agents that lose their server, their power and their time: they go on alone, and nothing is disturbed when it is back.

To see one seed's story again: `pytest tests/sim -k <seed>`; to look for new ones: `SIM_SEEDS=200-300 pytest tests/sim/test_agents.py`;
`SIM_HOURS=24` makes the large site's story a whole day.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.sim.agents import UP_WITHIN_S, Agent, Machine
from tests.sim.promises import Broken
from tests.sim.simulation import Story, simulate
from tests.sim.test_clusters import chosen_seeds
from tests.sim.world import Disk, World

AGENTS = ("kill_agent", "partition", "crash_node", "slow_agent_disk", "jump_clock")
ALL = (*AGENTS, "crash_server", "slow_disk", "break_watches")


def test_a_calm_site_does_what_it_is_asked() -> None:
    told = simulate(Story(seed=61, lasts_s=60.0, steady=True, agents=True))
    assert told.crashes == 0
    assert told.events_seen > 100


@pytest.mark.parametrize("seed", [62])
def test_agents_that_are_cut_off_go_on_and_come_back(seed: int) -> None:
    told = simulate(Story(seed=seed, faults=AGENTS, nodes=4, lasts_s=150.0, steady=True, agents=True))
    assert any("is off" in line for line in told.trace)


def test_a_site_where_everything_fails_comes_to_rest_as_asked() -> None:
    told = simulate(Story(seed=64, faults=ALL, nodes=4, lasts_s=150.0, agents=True))
    assert told.crashes > 0


def test_the_same_seed_tells_the_same_story() -> None:
    story = Story(seed=65, faults=ALL, lasts_s=40.0, agents=True)
    assert simulate(story).trace == simulate(story).trace


def test_a_large_site_lives_through_bad_times() -> None:
    hours = float(os.environ.get("SIM_HOURS", "0"))
    told = simulate(
        Story(
            seed=66,
            faults=ALL,
            nodes=50,
            people=1,
            agents=True,
            lasts_s=hours * 3600 or 300.0,
            pause_s=600.0 if hours else 30.0,
            between_faults_s=600.0 if hours else 30.0,
            lease_every_s=60.0,
        )
    )
    assert told.events_seen > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", chosen_seeds("200"))
def test_more_seeds_of_agents(seed: int) -> None:
    told = simulate(Story(seed=seed, faults=ALL, nodes=5, people=2, agents=True, between_faults_s=12.0))
    assert told.events_seen > 0


# ---- the promises have teeth


async def test_a_pod_that_is_started_twice_in_one_life_of_its_machine_is_seen(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(1, tmp_path / "world")
    machine = Machine("node-1", world, Disk(tmp_path / "disk", world.chance), 1)
    world.promises.pods.node["u1"] = "node-1"
    machine.start("u1", "default/web")
    with pytest.raises(Broken):
        machine.start("u1", "default/web")
    machine.end("u1", "Succeeded")
    with pytest.raises(Broken, match="ran to its end"):
        machine.start("u1", "default/web")


async def test_a_machine_that_forgets_its_pods_is_seen(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World(1, tmp_path / "world")
    agent = Agent(world, 1, tmp_path, steady=True)
    agent.line.cut = True
    world.promises.pods.node["u1"] = "node-1"

    async def tell() -> None:
        async with trio.open_nursery() as nursery:
            world.nursery = nursery
            nursery.start_soon(agent.run)
            await trio.sleep(20)
            agent.machine.start("u1", "default/web")  # which no copy knows of
            await trio.sleep(100)
            agent.reboot(1.0)
            await trio.sleep(2 * UP_WITHIN_S)

    with pytest.raises(BaseExceptionGroup) as caught:
        await tell()
    assert caught.group_contains(Broken, match="forgot pod u1")
