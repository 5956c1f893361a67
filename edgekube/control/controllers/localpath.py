"""Volumes for claims of provisioner edgekube.io/local-path: a directory on the node where the claim is first used.

Lives here: which volume a claim gets, and when a volume that was let go may be forgotten. The directory itself is the node's: it
makes it before the first mount, and takes it away when asked to. A volume whose node is away stays, Released, until the node has
answered; so a directory is never forgotten. Volumes of a node that is no longer a member go without asking.

A node offers its disk by the annotation edgekube.io/local-path on its Node: the directory that its volumes are made in.
Source: sigs.k8s.io/sig-storage-lib-external-provisioner controller.go (shouldProvision, shouldDelete, words of events), and
rancher/local-path-provisioner for what is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from edgekube.api.meta import ObjectMeta
from edgekube.client.interface import Client
from edgekube.control.config import Config
from edgekube.control.controllers.volumebinder import PROVISIONER, SELECTED_NODE
from edgekube.control.scheduler.rules.volumebinding import LOCAL_PATH, LOCAL_PATH_ROOT
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import persistentvolume as volume_kind
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core.node import Node
from edgekube.kinds.core.persistentvolume import (
    LocalVolumeSource,
    PersistentVolume,
    PersistentVolumeSpec,
    VolumeNodeAffinity,
)
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference
from edgekube.kinds.storage import storageclass as class_kind
from edgekube.kinds.storage.storageclass import StorageClass
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import NOTHING, Action, Create, Delete, Note, Patch, Plan, Tell, about

CLAIM, VOLUME = claim_kind.KIND, volume_kind.KIND
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
HOSTNAME = "kubernetes.io/hostname"
SINGLE_NODE_MODES = {"ReadWriteOnce", "ReadWriteOncePod"}
FILE_NAME_BYTES_MAX = 255
WORKERS = 4  # a large directory that takes its time to go must not hold up others
ASK_AGAIN_S = 30.0  # a node coming back wakes its volumes; this is for one whose answer was a failure


@dataclass(frozen=True, slots=True)
class Seen:
    """A claim with its class and the nodes, or a volume with the node it lies on.

    `trouble` is why the volume's directory is not gone yet: "" once it is, None while nobody has asked.
    """

    claim: PersistentVolumeClaim | None = None
    storage_class: StorageClass | None = None
    nodes: Mapping[str, Node] | None = None
    volume: PersistentVolume | None = None
    claim_lives: bool = False
    trouble: str | None = None


def reconcile(seen: Seen) -> Plan:
    """Make a claim's volume; let a volume go whose claim is gone."""
    if seen.claim is not None and seen.storage_class is not None:
        return Plan(_provide(seen.claim, seen.storage_class, seen.nodes or {}))
    if seen.volume is not None:
        return _let_go(seen, seen.volume)
    return NOTHING


def volume_name(claim: PersistentVolumeClaim) -> str:
    """The name of the volume that is made for a claim."""
    return f"pvc-{claim.metadata.uid}"


def directory_name(volume: PersistentVolume) -> str:
    """The volume's directory within its node's directory of volumes."""
    return volume.spec.local.path.rpartition("/")[2] if volume.spec.local is not None else ""


def node_of(volume: PersistentVolume, nodes: Iterable[Node]) -> Node | None:
    """The node a volume lies on, None when that is no longer a member."""
    affinity = volume.spec.node_affinity
    required = affinity.required if affinity is not None else None
    terms = (required.node_selector_terms or ()) if required is not None else ()
    hosts = {value for term in terms for one in term.match_expressions if one.key == HOSTNAME for value in one.values}
    return next((node for node in nodes if _hostname(node) in hosts), None)


def _hostname(node: Node) -> str:
    return node.metadata.labels.get(HOSTNAME, node.metadata.name)


# ---- claims


def _provide(claim: PersistentVolumeClaim, storage_class: StorageClass, nodes: Mapping[str, Node]) -> list[Action]:
    reference = about(CLAIM, claim)
    serving = {name: node for name, node in nodes.items() if node.metadata.annotations.get(LOCAL_PATH_ROOT)}
    selected = claim.metadata.annotations.get(SELECTED_NODE, "")
    if not selected and storage_class.volume_binding_mode == "Immediate" and len(serving) == 1:
        selected = next(iter(serving))
    why = _refused(claim) or _not_there(selected, serving)
    if why:
        failed = f'failed to provision volume with StorageClass "{storage_class.metadata.name}": {why}'
        actions: list[Action] = [Tell(Note(reference, "Warning", "ProvisioningFailed", failed))]
        if claim.metadata.annotations.get(SELECTED_NODE) and selected not in serving:  # the scheduler chooses again
            patch = {
                "metadata": {
                    "resourceVersion": claim.metadata.resource_version,
                    "annotations": {SELECTED_NODE: None},
                }
            }
            actions.append(Patch(kind=CLAIM, namespace=claim.metadata.namespace, name=claim.metadata.name, patch=patch))
        return actions
    volume = _volume_for(claim, storage_class, serving[selected])
    whose = f"{claim.metadata.namespace}/{claim.metadata.name}"
    begun = f'External provisioner is provisioning volume for claim "{whose}"'
    made = f"Successfully provisioned volume {volume.metadata.name}"
    return [
        Tell(Note(reference, "Normal", "Provisioning", begun)),
        Create(
            kind=VOLUME,
            item=volume,
            may_exist=True,
            done=Note(reference, "Normal", "ProvisioningSucceeded", made),
            failed=Note(reference, "Warning", "ProvisioningFailed", "{error}"),
        ),
    ]


def _refused(claim: PersistentVolumeClaim) -> str:
    """Why no directory can be what the claim asks for, or ""."""
    if claim.spec.selector is not None:
        return "claim.Spec.Selector is not supported"
    if claim.spec.volume_mode == "Block":
        return "block volumes are not supported"
    if claim.spec.data_source is not None or claim.spec.data_source_ref is not None:
        return "data sources are not supported"
    if not set(claim.spec.access_modes) <= SINGLE_NODE_MODES:
        return "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes"
    return ""


def _not_there(selected: str, serving: Mapping[str, Node]) -> str:
    if not selected:
        return "configuration error, no node was specified"
    return "" if selected in serving else f'node "{selected}" does not offer local volumes'


def _volume_for(claim: PersistentVolumeClaim, storage_class: StorageClass, node: Node) -> PersistentVolume:
    metadata, name = claim.metadata, volume_name(claim)
    root = node.metadata.annotations[LOCAL_PATH_ROOT].rstrip("/")
    directory = f"{name}_{metadata.namespace}_{metadata.name}"[:FILE_NAME_BYTES_MAX]
    here = NodeSelectorRequirement(key=HOSTNAME, operator="In", values=[_hostname(node)])
    return PersistentVolume(
        metadata=ObjectMeta(name=name, annotations={PROVISIONED_BY: LOCAL_PATH}, finalizers=[FINALIZER]),
        spec=PersistentVolumeSpec(
            capacity={"storage": claim.spec.resources.requests["storage"]},
            access_modes=list(claim.spec.access_modes),
            local=LocalVolumeSource(path=f"{root}/{directory}"),
            claim_ref=ObjectReference(
                kind="PersistentVolumeClaim",
                api_version="v1",
                namespace=metadata.namespace,
                name=metadata.name,
                uid=metadata.uid,
                resource_version=metadata.resource_version,
            ),
            persistent_volume_reclaim_policy=storage_class.reclaim_policy or "Delete",
            storage_class_name=storage_class.metadata.name,
            mount_options=list(storage_class.mount_options),
            volume_mode="Filesystem",
            node_affinity=VolumeNodeAffinity(
                required=NodeSelector(node_selector_terms=[NodeSelectorTerm(match_expressions=[here])])
            ),
        ),
    )


# ---- volumes


def must_be_removed(seen: Seen) -> bool:
    """Whether the data of a volume is to go: its claim is gone and the class said Delete."""
    volume = seen.volume
    return (
        volume is not None
        and volume.spec.persistent_volume_reclaim_policy == "Delete"
        and volume.status.phase in ("Released", "Failed")
        and not seen.claim_lives
        and FINALIZER in volume.metadata.finalizers
    )


def _let_go(seen: Seen, volume: PersistentVolume) -> Plan:
    metadata = volume.metadata
    going = metadata.deletion_timestamp is not None
    if must_be_removed(seen):
        if seen.trouble is None:
            return Plan(look_again_s=ASK_AGAIN_S)
        if seen.trouble:
            told = Tell(Note(about(VOLUME, volume), "Warning", "VolumeFailedDelete", seen.trouble))
            return Plan([told], look_again_s=ASK_AGAIN_S)
        actions = [] if going else [Delete(kind=VOLUME, namespace="", name=metadata.name, uid=metadata.uid)]
        return Plan([*actions, *_without_finalizer(volume)])
    kept = volume.spec.persistent_volume_reclaim_policy != "Delete"
    return Plan(_without_finalizer(volume) if going and kept and not seen.claim_lives else ())


def _without_finalizer(volume: PersistentVolume) -> list[Action]:
    """As a test and a removal, because the deletion before it has changed the volume's revision."""
    at = volume.metadata.finalizers.index(FINALIZER) if FINALIZER in volume.metadata.finalizers else -1
    if at < 0:
        return []
    path = f"/metadata/finalizers/{at}"
    patch = [{"op": "test", "path": path, "value": FINALIZER}, {"op": "remove", "path": path}]
    content_type = "application/json-patch+json"
    return [Patch(kind=VOLUME, namespace="", name=volume.metadata.name, patch=patch, content_type=content_type)]


# ---- observing


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """A claim by namespace and name, a volume by name alone; only those of our provisioner."""
    nodes = {node.metadata.name: node for node in caches.of(node_kind.KIND).list()}
    if not key.namespace:
        volume = caches.of(VOLUME).get("", key.name)
        if volume is None or volume.metadata.annotations.get(PROVISIONED_BY) != LOCAL_PATH:
            return None
        reference = volume.spec.claim_ref
        claim = caches.of(CLAIM).get(reference.namespace, reference.name) if reference is not None else None
        lives = claim is not None and reference is not None and claim.metadata.uid == reference.uid
        return Seen(volume=volume, claim_lives=lives, nodes=nodes)
    claim = caches.of(CLAIM).get(*key)
    if claim is None or claim.spec.volume_name or claim.metadata.deletion_timestamp is not None:
        return None
    storage_class = caches.of(class_kind.KIND).get("", claim.spec.storage_class_name or "")
    if storage_class is None or claim.metadata.annotations.get(PROVISIONER) != LOCAL_PATH:
        return None
    delayed = storage_class.volume_binding_mode == "WaitForFirstConsumer"
    if delayed and not claim.metadata.annotations.get(SELECTED_NODE):
        return None
    if caches.of(VOLUME).get("", volume_name(claim)) is not None:
        return None
    return Seen(claim=claim, storage_class=storage_class, nodes=nodes)


async def inquire(config: Config, _: Client, seen: Seen) -> Seen:
    """Have the node take the directory away. Where there is no such node any more, there is nothing to take away."""
    if seen.volume is None or not must_be_removed(seen):
        return seen
    node = node_of(seen.volume, (seen.nodes or {}).values())
    if node is None:
        return replace(seen, trouble="")
    if config.remove_volume is None:
        return seen
    return replace(seen, trouble=await config.remove_volume(node.metadata.name, directory_name(seen.volume)))


def of_node(caches: Caches, node: Node, before: Node | None = None) -> Iterable[Key]:
    """A node that came, went or turned ready: volumes that are to go look again."""
    if before is not None and _is_ready(before) == _is_ready(node):
        return
    for volume in caches.of(VOLUME).list():
        if volume.status.phase in ("Released", "Failed"):
            yield Key("", volume.metadata.name)


def _is_ready(node: Node) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)


def of_claim(_: Caches, claim: PersistentVolumeClaim, __: PersistentVolumeClaim | None = None) -> Iterable[Key]:
    """The claim, and its volume, which may be free to go now."""
    yield Key(claim.metadata.namespace, claim.metadata.name)
    if claim.spec.volume_name:
        yield Key("", claim.spec.volume_name)


def controller(config: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name=LOCAL_PATH,
        watches=(Watch(VOLUME, own_key), Watch(CLAIM, of_claim), Watch(node_kind.KIND, of_node)),
        observe=observe,
        reconcile=reconcile,
        inquire=partial(inquire, config),
        lists_for=(class_kind.KIND,),
        workers=WORKERS,
    )
