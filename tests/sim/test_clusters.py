"""Whole clusters, from a seed: promises hold under every fault, and in the end everything asked for exists.

To see one seed's story again: `pytest tests/sim -k <seed>`; to look for new ones: `SIM_SEEDS=100-200 pytest tests/sim -k seeds`.
"""

from __future__ import annotations

import os

import pytest

from tests.sim.simulation import Story, simulate

SERVER = ("crash_server", "crash_server_twice", "fill_disk", "slow_disk", "break_watches")
NODES = ("crash_node", "cut_node", "jump_clock")


def chosen_seeds(usual: str = "100-102") -> range:
    """What SIM_SEEDS names, first-last."""
    first, _, last = os.environ.get("SIM_SEEDS", usual).partition("-")
    return range(int(first), int(last or first) + 1)


def test_a_calm_cluster_does_what_it_is_asked() -> None:
    told = simulate(Story(seed=1, lasts_s=60.0, steady=True))
    assert told.crashes == 0
    assert told.events_seen > 100


def test_the_same_seed_tells_the_same_story() -> None:
    story = Story(seed=11, faults=SERVER + NODES, lasts_s=30.0)
    once, again = simulate(story), simulate(story)
    assert once.trace == again.trace


@pytest.mark.parametrize("seed", [21, 22])
def test_a_server_that_crashes_loses_nothing_and_catches_up(seed: int) -> None:
    told = simulate(Story(seed=seed, faults=SERVER, lasts_s=80.0))
    assert told.crashes > 0


@pytest.mark.parametrize("seed", [31])
def test_nodes_that_fail_are_made_up_for(seed: int) -> None:
    told = simulate(Story(seed=seed, faults=NODES, lasts_s=120.0))
    assert told.events_seen > 100


def test_a_cluster_where_everything_fails_comes_to_rest_as_asked() -> None:
    told = simulate(Story(seed=41, faults=SERVER + NODES, lasts_s=100.0))
    assert told.crashes > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", chosen_seeds())
def test_more_seeds(seed: int) -> None:
    told = simulate(Story(seed=seed, faults=SERVER + NODES, nodes=4, people=3, between_faults_s=10.0))
    assert told.events_seen > 0
