"""Volumes on the node's disk: who gets one, where it lies, and when its data goes."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.control.config import Config
from edgekube.control.controllers import defaultclass, localpath
from edgekube.errors import NotFound
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import persistentvolume as volume_kind
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.storage import storageclass as class_kind
from edgekube.reconcile.plan import Create, Delete, Patch, Tell
from tests.unit.control.conftest import running

SELECTED = {"volume.kubernetes.io/selected-node": "a"}
ROOT = {"edgekube.io/local-path": "/var/lib/edgekube/volumes"}
GIB = {"requests": {"storage": "1Gi"}}


def node(name: str = "a", annotations: dict[str, str] | None = None, host: str = "") -> Any:
    labels = {"kubernetes.io/hostname": host or name}
    metadata = {"name": name, "labels": labels, "annotations": ROOT if annotations is None else annotations}
    return node_kind.KIND.from_dict({"metadata": metadata})


def claim(annotations: dict[str, str] | None = None, **spec: Any) -> Any:
    metadata = {"name": "c", "namespace": "ns", "uid": "u1", "annotations": annotations or {}}
    common = {"accessModes": ["ReadWriteOnce"], "resources": GIB, "storageClassName": "local-path"}
    return claim_kind.KIND.from_dict({"metadata": metadata, "spec": {**common, **spec}})


def storage_class(mode: str = "WaitForFirstConsumer", policy: str = "Delete") -> Any:
    metadata = {"name": "local-path"}
    body = {"provisioner": "edgekube.io/local-path", "volumeBindingMode": mode, "reclaimPolicy": policy}
    return class_kind.KIND.from_dict({"metadata": metadata, **body})


def decided(claimed: Any, *nodes: Any, of: Any = None) -> list[Any]:
    known = {one.metadata.name: one for one in nodes}
    seen = localpath.Seen(claim=claimed, storage_class=of or storage_class(), nodes=known)
    return list(localpath.reconcile(seen).actions)


def test_a_volume_is_a_directory_of_the_selected_node() -> None:
    _, create = decided(claim(SELECTED), node("a", host="a.local"), node("b"))
    assert isinstance(create, Create)
    assert isinstance(create.item, volume_kind.PersistentVolume)
    made = volume_kind.KIND.to_dict(create.item)
    assert made["metadata"]["name"] == "pvc-u1"
    assert made["metadata"]["finalizers"] == ["external-provisioner.volume.kubernetes.io/finalizer"]
    spec = made["spec"]
    assert spec["local"]["path"] == "/var/lib/edgekube/volumes/pvc-u1_ns_c"
    assert spec["capacity"] == {"storage": "1Gi"}
    assert (spec["claimRef"]["namespace"], spec["claimRef"]["name"], spec["claimRef"]["uid"]) == ("ns", "c", "u1")
    (term,) = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["a.local"]}]
    assert (spec["persistentVolumeReclaimPolicy"], spec["storageClassName"]) == ("Delete", "local-path")
    assert create.done is not None
    assert (create.done.reason, create.done.message) == (
        "ProvisioningSucceeded",
        "Successfully provisioned volume pvc-u1",
    )
    _, retained = decided(claim(SELECTED), node(), of=storage_class(policy="Retain"))
    assert retained.item.spec.persistent_volume_reclaim_policy == "Retain"


def test_the_name_of_a_directory_fits_the_file_system() -> None:
    claimed = claim(SELECTED)
    claimed.metadata.name = "c" * 253
    _, create = decided(claimed, node())
    assert len(create.item.spec.local.path.rpartition("/")[2]) == 255


@pytest.mark.parametrize(
    ("what", "spec", "words"),
    [
        ("a selector", {"selector": {"matchLabels": {"a": "b"}}}, "claim.Spec.Selector is not supported"),
        ("a block device", {"volumeMode": "Block"}, "block volumes are not supported"),
        ("many nodes", {"accessModes": ["ReadWriteMany"]}, "NodePath only supports ReadWriteOnce"),
    ],
)
def test_what_a_directory_cannot_be_is_refused(what: str, spec: dict[str, Any], words: str) -> None:
    (told,) = decided(claim(SELECTED, **spec), node())
    assert isinstance(told, Tell)
    assert told.note.reason == "ProvisioningFailed"
    assert words in told.note.message, what


@pytest.mark.parametrize("nodes", [(), (node("b"),), (node("a", annotations={}),)])
def test_a_node_that_offers_nothing_is_given_back_to_the_scheduler(nodes: tuple[Any, ...]) -> None:
    told, patch = decided(claim(SELECTED), *nodes)
    assert 'node "a" does not offer local volumes' in told.note.message
    assert isinstance(patch, Patch)
    assert isinstance(patch.patch, dict)
    assert patch.patch["metadata"]["annotations"] == {"volume.kubernetes.io/selected-node": None}


def test_a_claim_bound_at_once_needs_a_cluster_of_one() -> None:
    at_once = storage_class("Immediate")
    assert isinstance(decided(claim(), node("a"), of=at_once)[1], Create)
    (told,) = decided(claim(), node("a"), node("b"), of=at_once)
    assert told.note.message.endswith("configuration error, no node was specified")


def volume(phase: str = "Released", policy: str = "Delete", *, going: bool = False) -> Any:
    _, create = decided(claim(SELECTED), node(), of=storage_class(policy=policy))
    document = volume_kind.KIND.to_dict(create.item)
    document["status"] = {"phase": phase}
    if going:
        document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return volume_kind.KIND.from_dict(document)


@pytest.mark.parametrize(
    ("case", "seen", "expected"),
    [
        ("bound: nothing", localpath.Seen(volume=volume("Bound"), claim_lives=True), []),
        ("released, nobody asked yet: nothing", localpath.Seen(volume=volume()), []),
        ("released, the node failed: a word", localpath.Seen(volume=volume(), trouble="busy"), [Tell]),
        ("released, data gone: the volume goes", localpath.Seen(volume=volume(), trouble=""), [Delete, Patch]),
        ("deleted by a person, data gone", localpath.Seen(volume=volume(going=True), trouble=""), [Patch]),
        ("its claim lives: nothing", localpath.Seen(volume=volume(), claim_lives=True, trouble=""), []),
        ("retained: nothing", localpath.Seen(volume=volume(policy="Retain")), []),
        ("retained and deleted", localpath.Seen(volume=volume(policy="Retain", going=True)), [Patch]),
    ],
)
def test_a_volume_goes_after_its_data(case: str, seen: localpath.Seen, expected: list[type]) -> None:
    assert [type(action) for action in localpath.reconcile(seen).actions] == expected, case


async def test_only_the_node_that_has_the_data_is_asked() -> None:
    asked: list[tuple[str, str]] = []

    async def remove(name: str, directory: str) -> str:
        asked.append((name, directory))
        return ""

    config = Config(remove_volume=remove)
    nobody: Any = None
    nodes = {"a": node("a"), "b": node("b")}
    seen = await localpath.inquire(config, nobody, localpath.Seen(volume=volume(), nodes=nodes))
    assert (asked, seen.trouble) == ([("a", "pvc-u1_ns_c")], "")
    asked.clear()
    seen = await localpath.inquire(config, nobody, localpath.Seen(volume=volume(), nodes={"b": node("b")}))
    assert (asked, seen.trouble) == ([], ""), "the node is no longer a member"
    for kept in (volume("Bound"), volume(policy="Retain")):
        await localpath.inquire(config, nobody, localpath.Seen(volume=kept, nodes=nodes))
    assert asked == []


@pytest.mark.parametrize(
    ("case", "seen", "made"),
    [
        ("no node offers its disk", defaultclass.Seen(is_offered=False, was_made=False, has_default=False), None),
        ("the first node offers", defaultclass.Seen(is_offered=True, was_made=False, has_default=False), True),
        ("there is a default", defaultclass.Seen(is_offered=True, was_made=False, has_default=True), False),
        ("it was made before", defaultclass.Seen(is_offered=True, was_made=True, has_default=False), None),
    ],
)
def test_the_class_is_made_once(case: str, seen: defaultclass.Seen, made: bool | None) -> None:
    actions = defaultclass.reconcile(seen).actions
    if made is None:
        assert not actions, case
        return
    create, remember = actions
    assert isinstance(create, Create)
    assert isinstance(create.item, class_kind.StorageClass)
    assert class_kind.is_default(create.item) is made, case
    assert isinstance(remember, Patch)


async def test_a_pods_claim_is_served_where_the_pod_goes_and_its_data_outlives_a_node_that_is_away(
    autojump_clock: Any,
) -> None:
    answers = ['node "a" is not connected', ""]
    asked: list[tuple[str, str]] = []

    async def remove(name: str, directory: str) -> str:
        asked.append((name, directory))
        return answers.pop(0)

    async with running(Config(ca_certificate="PEM", remove_volume=remove)) as cluster:
        assert not await cluster.list("storageclasses")
        amounts = {"cpu": "2", "memory": "1Gi", "pods": "10"}
        for name, annotations in (("a", ROOT), ("b", {})):
            metadata = {"name": name, "labels": {"kubernetes.io/hostname": name}, "annotations": annotations}
            await cluster.create("nodes", {"metadata": metadata})
            ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2999-01-01T00:00:00Z"}
            status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
            await cluster.patch("nodes", name, {"status": status}, subresource="status")

        async def classes() -> Any:
            return await cluster.list("storageclasses")

        (default,) = await cluster.until(classes)
        assert class_kind.is_default(default)
        spec = {"accessModes": ["ReadWriteOnce"], "resources": GIB, "storageClassName": "local-path"}
        await cluster.create("persistentvolumeclaims", {"metadata": {"name": "c"}, "spec": spec})
        volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
        pod = {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}
        await cluster.create("pods", {"metadata": {"name": "p"}, "spec": pod})

        async def placed() -> Any:
            return (await cluster.get("pods", "p")).spec.node_name

        assert await cluster.until(placed) == "a"
        bound = await cluster.get("persistentvolumeclaims", "c")
        assert bound.metadata.annotations["volume.kubernetes.io/selected-node"] == "a"
        await cluster.delete("pods", "p", grace_s=0)
        await cluster.delete("persistentvolumeclaims", "c")

        async def gone() -> Any:
            try:
                await cluster.get("persistentvolumes", bound.spec.volume_name)
            except NotFound:
                return True
            return False

        assert await cluster.until(gone)
        assert asked == 2 * [("a", f"{bound.spec.volume_name}_default_c")]
        await cluster.delete("storageclasses", "local-path")
        await cluster.patch("nodes", "b", {"metadata": {"annotations": ROOT}})
        assert not await cluster.list("storageclasses"), "who deletes it is not fought"
