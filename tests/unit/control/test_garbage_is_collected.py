"""Owned objects go with their owners."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.control.ownership import FOREGROUND, ORPHAN, Owner, OwnerState, Seen, Verdict, judge
from edgekube.errors import NotFound


async def absent(cluster: Any, plural: str, name: str) -> bool:
    try:
        await cluster.get(plural, name)
    except NotFound:
        return True
    return False


async def family(cluster: Any, *, block: bool = False) -> None:
    owner = await cluster.create("configmaps", {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
    if block:
        reference["blockOwnerDeletion"] = True
    child = await cluster.create("configmaps", {"metadata": {"name": "child", "ownerReferences": [reference]}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "child", "uid": child.metadata.uid}
    await cluster.create("secrets", {"metadata": {"name": "grandchild", "ownerReferences": [reference]}})


async def test_background_deletion_takes_dependents_of_any_depth(autojump_clock: Any, cluster: Any) -> None:
    await family(cluster)
    await cluster.delete("configmaps", "owner", propagation="Background")
    assert await absent(cluster, "configmaps", "owner")

    async def gone() -> Any:
        return await absent(cluster, "configmaps", "child") and await absent(cluster, "secrets", "grandchild")

    assert await cluster.until(gone)


async def test_foreground_deletion_keeps_the_owner_until_blocking_dependents_are_gone(
    autojump_clock: Any, cluster: Any
) -> None:
    await family(cluster, block=True)
    await cluster.patch("configmaps", "child", {"metadata": {"finalizers": ["example.org/hold"]}})
    await cluster.delete("configmaps", "owner", propagation="Foreground")

    async def child_going() -> Any:
        return (await cluster.get("configmaps", "child")).metadata.deletion_timestamp

    await cluster.until(child_going)
    assert (await cluster.get("configmaps", "owner")).metadata.finalizers == [FOREGROUND]
    await cluster.patch("configmaps", "child", {"metadata": {"finalizers": None}})

    async def gone() -> Any:
        return await absent(cluster, "configmaps", "owner")

    assert await cluster.until(gone)


async def test_orphaning_leaves_dependents_without_the_reference(autojump_clock: Any, cluster: Any) -> None:
    await family(cluster)
    await cluster.delete("configmaps", "owner", propagation="Orphan")

    async def freed() -> Any:
        return await absent(cluster, "configmaps", "owner")

    await cluster.until(freed)
    assert (await cluster.get("configmaps", "child")).metadata.owner_references == []


async def test_a_reference_to_nobody_counts_as_no_owner(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("configmaps", {"metadata": {"name": "alive"}})
    alive = (await cluster.get("configmaps", "alive")).metadata.uid
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "11111111-1111-1111-1111-111111111111"}
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "alive", "uid": alive}
    unknown = {"apiVersion": "example.org/v1", "kind": "Unheard", "name": "of", "uid": "2"}
    await cluster.create("configmaps", {"metadata": {"name": "lost", "ownerReferences": [ghost]}})
    await cluster.create("configmaps", {"metadata": {"name": "two", "ownerReferences": [other, ghost]}})
    await cluster.create("configmaps", {"metadata": {"name": "kept", "ownerReferences": [unknown]}})

    async def judged() -> Any:
        two = await cluster.get("configmaps", "two")
        return len(two.metadata.owner_references) == 1 and await absent(cluster, "configmaps", "lost")

    await cluster.until(judged)
    assert not await absent(cluster, "configmaps", "kept")


async def test_an_owner_in_another_namespace_is_none_and_the_dependent_is_told(
    autojump_clock: Any, cluster: Any
) -> None:
    await cluster.create("namespaces", {"metadata": {"name": "far"}})
    far = await cluster.create("configmaps", {"metadata": {"name": "owner"}}, "far")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": far.metadata.uid}
    kept = {"name": "held", "finalizers": ["example.org/hold"], "ownerReferences": [reference]}
    await cluster.create("configmaps", {"metadata": kept})

    async def told() -> Any:
        found = await cluster.list("events", "default")
        return next((one for one in found if one.reason == "OwnerRefInvalidNamespace"), None)

    event = await cluster.until(told)
    assert (event.type, event.involved_object.name) == ("Warning", "held")
    assert event.message == (
        f"ownerRef [v1/ConfigMap, namespace: default, name: owner, uid: {far.metadata.uid}]"
        ' does not exist in namespace "default"'
    )

    async def deleted() -> Any:
        return (await cluster.get("configmaps", "held")).metadata.deletion_timestamp

    assert await cluster.until(deleted)


SOLID, ABSENT, WAITING = (Owner("1", OwnerState.SOLID), Owner("2", OwnerState.ABSENT), Owner("3", OwnerState.WAITING))


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (Seen(False, (), (), 0, 3), Verdict.KEEP),
        (Seen(False, (), (SOLID,), 0, 0), Verdict.KEEP),
        (Seen(False, (), (SOLID, ABSENT), 0, 0), Verdict.DROP_OWNERS),
        (Seen(False, (), (SOLID, WAITING), 0, 0), Verdict.DROP_OWNERS),
        (Seen(False, (), (ABSENT,), 0, 5), Verdict.DELETE_BACKGROUND),
        (Seen(False, (), (WAITING,), 0, 0), Verdict.DELETE_BACKGROUND),
        (Seen(False, (), (WAITING,), 1, 1), Verdict.DELETE_FOREGROUND),
        (Seen(False, (ORPHAN,), (ABSENT,), 0, 0), Verdict.DELETE_ORPHAN),
        (Seen(False, (), (ABSENT, Owner("4", OwnerState.UNKNOWN)), 0, 0), Verdict.KEEP),
        (Seen(True, (ORPHAN,), (), 0, 2), Verdict.ORPHAN_DEPENDENTS),
        (Seen(True, (FOREGROUND,), (), 2, 2), Verdict.DELETE_DEPENDENTS),
        (Seen(True, (FOREGROUND,), (), 0, 2), Verdict.FINISH_FOREGROUND),
        (Seen(True, ("x",), (ABSENT,), 0, 0), Verdict.KEEP),
    ],
)
def test_each_situation_has_one_verdict(seen: Seen, verdict: Verdict) -> None:
    assert judge(seen) is verdict
