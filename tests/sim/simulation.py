"""A whole cluster's story from one seed: a server, nodes, people, auditors, faults for a while, and then peace.

`simulate` runs it and raises with the seed when a promise was broken; the same seed tells the same story again.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio
import trio._core._run  # its dice decide in which order tasks run; there is no public way to seed them
from trio.testing import MockClock

from edgekube.control.controllers.tainteviction import AUTONOMY
from tests.sim.agents import Agent
from tests.sim.nodes import CPUS, FakeNode
from tests.sim.people import Auditor, Person
from tests.sim.world import World

AUDITED = ("pods", "configmaps")
LOOK_EVERY_S = 5.0
HOUR_S = 3600.0
WITH_NAMES = 3  # so many agents also follow services and endpoints
AUTONOMOUS_EVERY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happens. Times are virtual seconds. `faults` are names of methods of `Faults`."""

    seed: int
    faults: Sequence[str] = ()
    nodes: int = 3
    people: int = 2
    lasts_s: float = 240.0
    settles_within_s: float = 900.0
    between_faults_s: float = 15.0  # on average
    steady: bool = False  # containers do not fail by themselves
    agents: bool = False  # nodes are machines with replicas, which can be cut off and go on
    lease_every_s: float = 10.0
    pause_s: float = 12.0  # of a person between two wishes, at most


class User(Protocol):
    """Someone who uses the cluster."""

    async def live(self, until_s: float) -> None: ...
    async def unmet(self, nodes: int) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a story."""

    trace: Sequence[str]
    crashes: int
    events_seen: int


class Faults:
    """What can go wrong; each method does one thing and undoes it by itself."""

    def __init__(
        self, world: World, nodes: Sequence[FakeNode | Agent], chance: random.Random, *, longest_cut_s: float = 120.0
    ) -> None:
        self._world, self._nodes, self._chance, self._longest_cut_s = world, nodes, chance, longest_cut_s

    async def crash_server(self) -> None:
        """Pull the plug, usually for a short while."""
        self._world.crash(self._chance.choice([0.0, 1.0, 5.0, 60.0]))

    async def crash_server_twice(self) -> None:
        """Pull it again while it comes up."""
        self._world.crash(0.0)
        await trio.sleep(self._chance.random() * 5)
        self._world.crash(1.0)

    async def fill_disk(self) -> None:
        """No write succeeds for some seconds."""
        self._world.disk.full = True
        await trio.sleep(self._chance.random() * 20)
        self._world.disk.full = False

    async def slow_disk(self) -> None:
        """Writes take up to seconds."""
        self._world.disk.slow_s = 2.0
        await trio.sleep(self._chance.random() * 20)
        self._world.disk.slow_s = 0.01

    async def crash_node(self) -> None:
        """A node goes down with all its containers, maybe for long enough to be given up."""
        off_s = self._chance.choice([1.0, 20.0, 100.0, 500.0])
        node = self._chance.choice(self._nodes)
        if isinstance(node, Agent):
            node.reboot(off_s)
        else:
            node.crash(off_s)

    async def kill_agent(self) -> None:
        """An agent's process dies; its containers do not."""
        node = self._chance.choice(self._nodes)
        assert isinstance(node, Agent)
        node.kill(self._chance.choice([0.0, 2.0, 60.0]))

    async def partition(self) -> None:
        """Some machines lose the server, for minutes or hours; one of them may reboot or lose its agent meanwhile."""
        cut = self._chance.sample(list(self._nodes), self._chance.randrange(1, max(2, len(self._nodes) // 3)))
        for node in cut:
            node.line.cut = True
            node.line.drop()
        lasts_s = self._chance.choice([20.0, 120.0, self._longest_cut_s])
        until_s = trio.current_time() + lasts_s
        while (left_s := until_s - trio.current_time()) > 0:
            await trio.sleep(min(left_s, self._chance.expovariate(2 / lasts_s)))
            node = self._chance.choice(cut)
            assert isinstance(node, Agent)
            if not node.line.cut:
                continue
            if self._chance.random() < 0.5:
                node.reboot(self._chance.choice([1.0, 30.0]))
            else:
                node.kill(self._chance.choice([0.0, 10.0]))
        for node in cut:
            node.line.cut = False

    async def slow_agent_disk(self) -> None:
        """An SD card that takes its time."""
        node = self._chance.choice(self._nodes)
        assert isinstance(node, Agent)
        node.machine.disk.slow_s = 3.0
        await trio.sleep(self._chance.random() * 60)
        node.machine.disk.slow_s = 0.01

    async def cut_node(self) -> None:
        """A node cannot be heard and hears nothing; its containers run on."""
        line = self._chance.choice(self._nodes).line
        line.cut = True
        line.drop()
        await trio.sleep(self._chance.choice([5.0, 30.0, 120.0]))
        line.cut = False

    async def break_watches(self) -> None:
        """Connections of watches break, everybody's."""
        for line in self._world.lines:
            if self._chance.random() < 0.7:
                line.break_watches()

    async def jump_clock(self) -> None:
        """Somebody sets the wall clock."""
        self._world.clock.jump(self._chance.choice([-3600.0, -10.0, 10.0, 3600.0]))


def simulate(story: Story, person: Callable[[World, int], User] = Person) -> Told:
    """Tell a story. A failure names the seed and shows the last lines of what happened."""
    trace: list[str] = []
    run = trio._core._run
    order, allowed = run._r.getstate(), run._ALLOW_DETERMINISTIC_SCHEDULING
    run._r.seed(story.seed)
    run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    shared_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    try:
        with tempfile.TemporaryDirectory(dir=shared_memory, prefix="sim-") as directory:
            told = trio.run(_tell, story, person, Path(directory), trace, clock=MockClock(autojump_threshold=0.0))
    except BaseException:
        print("\n".join(trace[-60:]))
        print(f"a promise was broken in {story}")
        raise
    finally:
        run._r.setstate(order)
        run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]
    return told


async def _tell(story: Story, person: Callable[[World, int], User], directory: Path, trace: list[str]) -> Told:
    world = World(story.seed, directory / "server", lease_every_s=story.lease_every_s, pause_s=story.pause_s)
    world.promises.trace = trace
    world.promises.node_milli_cpu = CPUS * 1000
    nodes = _nodes(story, world, directory)
    people = [person(world, number) for number in range(1, story.people + 1)]
    auditors = [Auditor(world, plural) for plural in AUDITED]
    async with trio.open_nursery() as nursery:
        world.nursery = nursery
        nursery.start_soon(world.serve)
        await world.wait_up()
        for task in (*nodes, *auditors):
            nursery.start_soon(task.run)
        ends_s = trio.current_time() + story.lasts_s
        async with trio.open_nursery() as troubled:
            for one in people:
                troubled.start_soon(one.live, ends_s)
            if story.faults:
                troubled.start_soon(_make_trouble, story, _faults(story, world, nodes), ends_s)
        world.promises.tell("peace")
        await _settle(story, world, people)
        for auditor in auditors:
            auditor.compare(world.promises)
        nursery.cancel_scope.cancel()
    return Told(trace, world.crashes, sum(auditor.seen for auditor in auditors))


def _faults(story: Story, world: World, nodes: Sequence[FakeNode | Agent]) -> Faults:
    return Faults(world, nodes, world.chance, longest_cut_s=min(HOUR_S, max(120.0, story.lasts_s / 2)))


def _nodes(story: Story, world: World, directory: Path) -> Sequence[FakeNode | Agent]:
    numbers = range(1, story.nodes + 1)
    if not story.agents:
        return [FakeNode(world, number, steady=story.steady) for number in numbers]
    made = [Agent(world, number, directory, steady=story.steady, names=number <= WITH_NAMES) for number in numbers]
    for agent in made[::AUTONOMOUS_EVERY]:
        agent.labels = {AUTONOMY: "true"}
        world.promises.autonomous.add(agent.name)
    return made


async def _make_trouble(story: Story, faults: Faults, ends_s: float) -> None:
    chance = random.Random(f"faults {story.seed}")
    async with trio.open_nursery() as nursery:
        while trio.current_time() < ends_s:
            await trio.sleep_until(min(ends_s, trio.current_time() + chance.expovariate(1 / story.between_faults_s)))
            fault = chance.choice(list(story.faults))
            faults._world.promises.tell(f"fault: {fault}")
            nursery.start_soon(getattr(faults, fault))


async def _settle(story: Story, world: World, people: Sequence[User]) -> None:
    """Wait until everything asked for exists, and nothing else."""
    unmet: list[str] = ["nothing was looked at"]
    with trio.move_on_after(story.settles_within_s):
        while unmet:
            await trio.sleep(LOOK_EVERY_S)
            await world.wait_up()
            unmet = [what for person in people for what in await person.unmet(story.nodes)]
            unmet += _strays(world)
    assert not unmet, "still not as asked for:\n" + "\n".join(unmet[:20])


def _strays(world: World) -> list[str]:
    """Containers without a pod, pods without containers, and loops in trouble."""
    promises, found = world.promises, []
    pods = {pod["metadata"]["uid"]: pod for pod in promises.pods.now.values()}
    found += [
        f"{place} runs on {node} and has no pod" for uid, (node, place) in promises.running.items() if uid not in pods
    ]
    if (trouble := world.health.summary()) is not None:
        found.append(f"controllers: {trouble}")
    return found
