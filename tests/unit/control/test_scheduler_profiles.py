"""Profiles of a scheduler configuration, and the rules about volumes, as tables."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from edgekube.control.scheduler.decide import Chosen, Refused, decide
from edgekube.control.scheduler.profiles import Profile, read, read_file
from edgekube.control.scheduler.rules.catalog import RULES
from edgekube.control.scheduler.scores.catalog import SCORES
from edgekube.control.scheduler.snapshot import Snapshot, Summaries, node_info
from edgekube.errors import UsageError
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import persistentvolume as volume_kind
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.resource import resourceclaim as devices_kind
from edgekube.kinds.storage import csinode as csinode_kind
from edgekube.kinds.storage import storageclass as class_kind

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def profiles(text: str) -> tuple[Profile, ...]:
    return read(yaml.safe_load(HEAD + text))


def pod(name: str = "p", node: str = "", *, claims: tuple[str, ...] = (), cpu: str = "500m", **spec: Any) -> Pod:
    volumes = [{"name": f"v{number}", "persistentVolumeClaim": {"claimName": one}} for number, one in enumerate(claims)]
    volumes += spec.pop("volumes", [])
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return pod_kind.KIND.from_dict(
        {
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"nodeName": node, "containers": [container], "volumes": volumes, **spec},
        }
    )


def cluster(running: list[Pod], labels: dict[str, dict[str, str]], **more: Any) -> Snapshot:
    infos = []
    for name, own in labels.items():
        document = {
            "metadata": {"name": name, "labels": own},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "9"}},
        }
        node = node_kind.KIND.from_dict(document)
        infos.append(node_info(node, [one for one in running if one.spec.node_name == name], Summaries()))
    return Snapshot(infos, {"default": {}}, **more)


def placed(profile: Profile, seen: Snapshot, asked: Pod | None = None) -> str:
    made = decide(asked or pod(), seen, profile.rules, profile.scores, lambda: 0.0)
    assert isinstance(made, Chosen), made
    return made.node


def test_without_profiles_there_is_the_default_one() -> None:
    (only,) = profiles("")
    assert (only.name, only.rules, only.scores, only.preempts) == ("default-scheduler", RULES, SCORES, True)


def test_a_profile_may_pack_nodes_full_instead_of_spreading() -> None:
    spreads, packs = profiles(
        "profiles:\n- schedulerName: default-scheduler\n- schedulerName: packer\n  pluginConfig:\n"
        "  - name: NodeResourcesFit\n    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}}\n"
        "  plugins: {score: {disabled: [{name: NodeResourcesBalancedAllocation}]}}\n"
    )
    seen = cluster([pod("there", "busy")], {"busy": {}, "idle": {}})
    assert placed(spreads, seen) == "idle"
    assert placed(packs, seen) == "busy"


def test_a_profile_may_wish_for_a_certain_use() -> None:
    (shaped,) = profiles(
        "profiles:\n- pluginConfig:\n  - name: NodeResourcesFit\n    args:\n      scoringStrategy:\n"
        "        type: RequestedToCapacityRatio\n        resources: [{name: cpu}]\n"
        "        requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 50, score: 10}, {utilization: 100, score: 0}]}\n"
        "  plugins: {score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit, weight: 3}]}}\n"
    )
    assert [(score.name, score.weight) for score in shaped.scores] == [("NodeResourcesFit", 3)]
    seen = cluster([pod("a", "half"), pod("b", "full", cpu="1500m")], {"empty": {}, "half": {}, "full": {}})
    assert placed(shaped, seen) == "half"


def test_rules_can_be_left_out_and_preemption_too() -> None:
    (lax,) = profiles(
        "profiles:\n- plugins:\n    multiPoint: {disabled: [{name: TaintToleration}]}\n"
        "    postFilter: {disabled: [{name: DefaultPreemption}]}\n"
    )
    assert "TaintToleration" not in {one.name for one in (*lax.rules, *lax.scores)}
    assert not lax.preempts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profiles: [{schedulerName: a}, {schedulerName: a}]", "two scheduler profiles have one name: a, a"),
        ("profiles: [{plugins: {score: {enabled: [{name: Gpu}]}}}]", "scheduler profile default-scheduler: no plugin 'Gpu' here"),
        ("profiles: [{plugins: {middle: {}}}]", "scheduler profile default-scheduler: unknown extension point 'middle'"),
        (
            "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]}]",
            "scheduler profile default-scheduler: NodeResourcesFit: no scoring strategy 'Best'",
        ),
        (
            "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]",
            "scheduler profile default-scheduler: InterPodAffinity: hardPodAffinityWeight must be from 0 to 100",
        ),
        (
            "profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultConstraints: [{}]}}]}]",
            "scheduler profile default-scheduler: PodTopologySpread: defaultConstraints need defaultingType List",
        ),
    ],
)  # fmt: skip
def test_a_mistake_in_a_profile_is_told_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UsageError) as told:
        profiles(text)
    assert str(told.value) == words


def test_another_document_is_no_configuration() -> None:
    with pytest.raises(UsageError, match="not a KubeSchedulerConfiguration"):
        read({"kind": "Pod", "apiVersion": "v1"})


# ------------------------------------------------------------------------------------------------- volumes


def claim(name: str, volume: str = "", modes: tuple[str, ...] = ("ReadWriteOnce",), class_name: str = "fast") -> Any:
    spec = {"accessModes": list(modes), "storageClassName": class_name, **({"volumeName": volume} if volume else {})}
    status = {"phase": "Bound" if volume else "Pending"}
    return claim_kind.KIND.from_dict(
        {"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": status}
    )


def volume(name: str, **more: Any) -> Any:
    labels = more.pop("labels", {})
    spec = {"csi": {"driver": "disk.example.test", "volumeHandle": name}, "capacity": {"storage": "1Gi"}, **more}
    return volume_kind.KIND.from_dict({"metadata": {"name": name, "labels": labels}, "spec": spec})


def driver(node: str, count: int) -> Any:
    drivers = [{"name": "disk.example.test", "nodeID": node, "allocatable": {"count": count}}]
    return csinode_kind.KIND.from_dict({"metadata": {"name": node}, "spec": {"drivers": drivers}})


LATE = class_kind.KIND.from_dict(
    {"metadata": {"name": "fast"}, "provisioner": "disk.example.test", "volumeBindingMode": "WaitForFirstConsumer"}
)


def storage(claims: list[Any], volumes: list[Any], **drivers: int) -> dict[str, Any]:
    return {
        "claims": {("default", one.metadata.name): one for one in claims},
        "volumes": {one.metadata.name: one for one in volumes},
        "classes": {"fast": LATE},
        "drivers": {node: driver(node, count) for node, count in drivers.items()},
    }


def words(asked: Pod, seen: Snapshot) -> str:
    made = decide(asked, seen, RULES, SCORES, lambda: 0.0)
    assert isinstance(made, Refused), made
    return made.message


def test_a_claim_for_one_pod_only_is_not_given_to_two() -> None:
    more = storage([claim("c", "v", ("ReadWriteOncePod",))], [volume("v")])
    seen = cluster([pod("has", "n", claims=("c",))], {"n": {}}, **more)
    assert words(pod(claims=("c",)), seen) == (
        "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and "
        "ReadWriteOncePod access mode."
    )


def test_a_disk_hangs_on_one_pod_unless_all_only_read() -> None:
    writes = [{"name": "d", "gcePersistentDisk": {"pdName": "disk"}}]
    reads = [{"name": "d", "gcePersistentDisk": {"pdName": "disk", "readOnly": True}}]
    assert words(pod(volumes=writes), cluster([pod("has", "n", volumes=reads)], {"n": {}})) == (
        "0/1 nodes are available: 1 node(s) had no available disk."
    )
    made = decide(pod(volumes=reads), cluster([pod("has", "n", volumes=reads)], {"n": {}}), RULES, SCORES, lambda: 0.0)
    assert isinstance(made, Chosen)


def test_a_driver_attaches_no_more_volumes_than_it_says() -> None:
    claims = [claim("a", "va"), claim("b", "vb"), claim("new")]
    seen = cluster(
        [pod("x", "full", claims=("a",)), pod("y", "roomy", claims=("b",))],
        {"full": {}, "roomy": {}},
        **storage(claims, [volume("va"), volume("vb")], full=1, roomy=2),
    )
    assert placed(Profile(), seen, pod(claims=("new",))) == "roomy"
    full = cluster(
        [pod("x", "full", claims=("a",))], {"full": {}}, **storage(claims, [volume("va"), volume("vb")], full=1)
    )
    assert words(pod(claims=("b",)), full) == "0/1 nodes are available: 1 node(s) exceed max volume count."
    assert placed(Profile(), full, pod(claims=("a",))) == "full", "the same volume counts once"


def test_a_volume_of_a_zone_draws_its_pod_there() -> None:
    zone = "topology.kubernetes.io/zone"
    more = storage([claim("c", "v")], [volume("v", labels={zone: "a__b"})])
    seen = cluster([], {"here": {zone: "b"}, "there": {zone: "c"}}, **more)
    assert placed(Profile(), seen, pod(claims=("c",))) == "here"
    assert words(pod(claims=("c",)), cluster([], {"there": {zone: "c"}}, **more)) == (
        "0/1 nodes are available: 1 node(s) had no available volume zone."
    )
    assert placed(Profile(), cluster([], {"bare": {}}, **more), pod(claims=("c",))) == "bare"


def device(name: str, **status: Any) -> dict[tuple[str, str], Any]:
    metadata = {"name": name, "namespace": "default"}
    spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "camera"}}]}}
    made = devices_kind.KIND.from_dict({"metadata": metadata, "spec": spec, "status": status})
    return {("default", name): made}


def test_a_pod_that_claims_a_device_waits_for_it_and_goes_where_it_is() -> None:
    asked = pod(resourceClaims=[{"name": "eye", "resourceClaimName": "camera"}])
    nodes: dict[str, dict[str, str]] = {"a": {"has": "camera"}, "b": {}}
    here = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "has", "operator": "In", "values": ["camera"]}]}]}
    assert words(asked, cluster([], nodes)) == (
        '0/2 nodes are available: resourceclaim.resource.k8s.io "camera" not found.'
    )
    assert words(asked, cluster([], nodes, devices=device("camera"))) == (
        "0/2 nodes are available: 2 cannot allocate all claims."
    )
    given = device("camera", allocation={"nodeSelector": here})
    assert placed(Profile(), cluster([], nodes, devices=given), asked) == "a"
    assert words(asked, cluster([], {"b": {}}, devices=given)) == (
        "0/1 nodes are available: 1 resourceclaim not available on the node."
    )


def test_a_file_of_profiles_is_read_and_its_mistakes_named(tmp_path: Any) -> None:
    path = tmp_path / "scheduler.yaml"
    assert read_file(path) == ()
    path.write_text(HEAD + "profiles: [{schedulerName: mine}]\n")
    assert [profile.name for profile in read_file(path)] == ["mine"]
    path.write_text("kind: Pod\n")
    with pytest.raises(UsageError) as told:
        read_file(path)
    assert str(told.value) == f"{path}: not a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1"
