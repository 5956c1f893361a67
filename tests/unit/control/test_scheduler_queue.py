"""The scheduling queue, the kept picture of the nodes, and promises that hold over many decisions in a row."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edgekube.control.config import Config
from edgekube.control.scheduler.decide import Chosen, decide, enough_of
from edgekube.control.scheduler.picture import Picture
from edgekube.control.scheduler.profiles import Profile
from edgekube.control.scheduler.rules.catalog import RULES
from edgekube.control.scheduler.scores.catalog import SCORES
from edgekube.control.scheduler.snapshot import Index, NodeInfo, Snapshot, Summaries, node_info, zones_in_turn
from edgekube.control.scheduler.waiting import FIRST_PAUSE_S, LEFT_BEHIND_S, LONGEST_PAUSE_S, Waiting
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Key
from tests.unit.control.conftest import running

A, B, C = Key("d", "a"), Key("d", "b"), Key("d", "c")
FIT = frozenset({"NodeResourcesFit"})


def test_the_most_important_goes_first_then_who_came_first() -> None:
    queue = Waiting()
    queue.add(A, 0)
    queue.add(B, 10)
    queue.add(C, 0)
    assert [queue.next(0) for _ in range(4)] == [B, A, C, None]


def test_a_refused_pod_rests_longer_each_time_and_only_what_it_lacks_wakes_it() -> None:
    queue, now, pauses = Waiting(), 0.0, []
    queue.add(A, 0)
    for _ in range(6):
        assert queue.next(now) == A
        queue.refused(A, FIT, now)
        queue.wake(frozenset({"NodePorts"}), now)
        assert queue.wake_at() == now + LEFT_BEHIND_S, "nothing it lacks has changed"
        queue.wake(FIT, now)
        pauses.append(queue.wake_at() - now)
        assert queue.next(now) is None
        now = queue.wake_at()
    assert pauses == [FIRST_PAUSE_S, 2, 4, 8, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_after_its_rest_an_event_wakes_it_at_once() -> None:
    queue = Waiting()
    queue.add(A, 0)
    queue.next(0)
    queue.refused(A, FIT, 0)
    queue.wake(FIT, FIRST_PAUSE_S + 1)
    assert queue.next(FIRST_PAUSE_S + 1) == A


def test_a_pod_nothing_ever_happens_for_is_looked_at_again_all_the_same() -> None:
    queue = Waiting()
    queue.add(A, 0)
    queue.next(0)
    queue.refused(A, FIT, 0)
    assert queue.next(LEFT_BEHIND_S - 1) is None
    assert queue.next(LEFT_BEHIND_S) == A


def test_a_pod_that_is_gone_is_forgotten_wherever_it_waited() -> None:
    queue = Waiting()
    for key in (A, B, C):
        queue.add(key, 0)
    queue.next(0)
    queue.refused(A, FIT, 0)
    queue.next(0)
    queue.failed(B, 0)
    for key in (A, B, C):
        queue.remove(key)
    queue.wake(FIT, 0)
    assert (queue.next(1000), queue.wake_at(), len(queue)) == (None, float("inf"), 0)


def test_a_changed_pod_is_looked_at_at_once() -> None:
    queue = Waiting()
    queue.add(A, 0)
    queue.next(0)
    queue.refused(A, FIT, 0)
    queue.add(A, 5)
    assert queue.next(0) == A
    assert queue.next(0) is None


# ------------------------------------------------------------------------------------------------- nodes


def node(name: str, zone: str = "z", cpu: str = "4") -> Any:
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": "20"}
    return node_kind.KIND.from_dict(
        {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}}
    )


def pod(name: str, where: str = "", **spec: Any) -> Pod:
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "rs",
        "uid": f"owner-{len(name) % 2}",
        "controller": True,
    }
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": {"app": "w"}, "ownerReferences": [owner]}
    return pod_kind.KIND.from_dict(
        {"metadata": metadata, "spec": {"nodeName": where, "containers": [container], **spec}}
    )


APART = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "w"}}}]}}  # fmt: skip


def test_zones_take_turns_in_the_round_of_nodes() -> None:
    nodes = [node("a1", "a"), node("a2", "a"), node("a3", "a"), node("b1", "b"), node("c1", "c"), node("c2", "c")]
    assert zones_in_turn(nodes) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_of_very_many_nodes_a_hundred_or_a_twentieth_are_enough() -> None:
    assert [enough_of(count) for count in (3, 100, 1000, 5000)] == [100, 100, 100, 250]


steps = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["add", "pop", "node"]), st.booleans()), max_size=25
)


@given(steps)
def test_the_kept_picture_is_what_a_fresh_look_would_give(changes: list[tuple[str, str, bool]]) -> None:
    there: dict[str, list[Pod]] = {name: [] for name in "abcd"}
    gone: set[str] = set()
    picture = Picture()

    def info_of(name: str) -> NodeInfo | None:
        return None if name in gone else node_info(node(name), there[name], Summaries())

    def names() -> list[str]:
        return [name for name in "abcd" if name not in gone]

    for number, (name, what, choosy) in enumerate(changes):
        if what == "add":
            there[name].append(pod(f"p{number}", name, **({"affinity": APART} if choosy else {})))
        elif what == "pop" and there[name]:
            there[name].pop()
        elif what == "node":
            gone ^= {name}
            picture.reorder()
        picture.touch(name)
        nodes, index = picture.look(names, info_of)
        fresh = [info for name in names() if (info := info_of(name)) is not None]
        assert nodes == fresh
        assert {image: count for image, count in index.images.items() if count} == Index.of(fresh).images
        assert (index.choosy, index.owners) == (Index.of(fresh).choosy, Index.of(fresh).owners)


def place_all(count: int, zones: list[str], **spec: Any) -> list[str]:
    """Where pods go one after another, "" for those that find no place."""
    infos = {f"n{number}": node_info(node(f"n{number}", zone), (), Summaries()) for number, zone in enumerate(zones)}
    went = []
    for number in range(count):
        asked = pod(f"p{number}", **spec)
        made = decide(asked, Snapshot(list(infos.values()), {"default": {}}), RULES, SCORES, lambda: 0.5)
        went.append(made.node if isinstance(made, Chosen) else "")
        if isinstance(made, Chosen):
            bound = msgspec.structs.replace(asked, spec=msgspec.structs.replace(asked.spec, node_name=made.node))
            infos[made.node] = node_info(infos[made.node].node, [*infos[made.node].pods, bound], Summaries())
    return went


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), st.integers(1, 12), st.integers(1, 3))
def test_no_zone_gets_further_ahead_than_the_skew_allows(zones: list[str], count: int, skew: int) -> None:
    constraint = {"maxSkew": skew, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
                  "labelSelector": {"matchLabels": {"app": "w"}}}  # fmt: skip
    went = place_all(count, zones, topologySpreadConstraints=[constraint])
    per_zone = dict.fromkeys(zones, 0)
    for name in went:
        assert name, "there is always a zone that may have one more"
        per_zone[zones[int(name[1:])]] += 1
        assert max(per_zone.values()) - min(per_zone.values()) <= skew


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=5), st.integers(1, 8))
def test_pods_that_want_to_be_apart_never_share_a_node(zones: list[str], count: int) -> None:
    went = [name for name in place_all(count, zones, affinity=APART) if name]
    assert len(set(went)) == len(went) == min(count, len(zones))


def test_replicas_spread_over_nodes_without_being_told_to() -> None:
    assert sorted(place_all(4, ["a", "a", "b", "b"])) == ["n0", "n1", "n2", "n3"]


# ------------------------------------------------------------------------------------------------- profiles at work


async def test_each_profile_places_the_pods_that_name_it(autojump_clock: Any) -> None:
    heedless = Profile("heedless", tuple(rule for rule in RULES if rule.name != "TaintToleration"), SCORES)
    async with running(Config(ca_certificate="PEM", scheduler_profiles=(Profile(), heedless))) as cluster:
        taints = [{"key": "k", "value": "v", "effect": "NoSchedule"}]
        amounts = {"cpu": "2", "memory": "1Gi", "pods": "10"}
        await cluster.create("nodes", {"metadata": {"name": "n"}})
        conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        status = {"allocatable": amounts, "capacity": amounts, "conditions": conditions}
        await cluster.patch("nodes", "n", {"status": status}, subresource="status")
        await cluster.patch("nodes", "n", {"spec": {"taints": taints}})
        for name in ("default-scheduler", "heedless", "nobody"):
            spec = {"containers": [{"name": "c", "image": "i"}], "schedulerName": name}
            await cluster.create("pods", {"metadata": {"name": name}, "spec": spec})

        async def placed() -> Any:
            return (await cluster.get("pods", "heedless")).spec.node_name

        assert await cluster.until(placed) == "n"

        async def told() -> Any:
            return [one for one in await cluster.list("events") if one.reason == "Scheduled"]

        (event,) = await cluster.until(told)
        assert event.reporting_component == "heedless"
        for name in ("default-scheduler", "nobody"):
            assert (await cluster.get("pods", name)).spec.node_name == ""
