"""ReplicationController: ReplicaSet's predecessor, with a plain label map as selector. The decision is `control.replicas`."""

from __future__ import annotations

from datetime import datetime

from edgekube.api.meta import LabelSelector
from edgekube.api.selectors import NOTHING, LabelQuery, from_label_selector
from edgekube.control import owners, replicas
from edgekube.control.config import Config
from edgekube.kinds.core import pod, replicationcontroller
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.replicationcontroller import ReplicationController, ReplicationControllerCondition
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key


def query_of(owner: ReplicationController) -> LabelQuery:
    """Which pods may be its own; an empty selector means none."""
    return from_label_selector(LabelSelector(match_labels=owner.spec.selector)) if owner.spec.selector else NOTHING


def observe(caches: Caches, key: Key, now: datetime) -> replicas.Seen | None:
    """The controller object, its pods and the orphans of the namespace."""
    owner = caches.of(replicationcontroller.KIND).get(*key)
    if owner is None:
        return None
    cache = caches.of(pod.KIND)
    return replicas.Seen(
        kind=replicationcontroller.KIND,
        owner=owner,
        query=query_of(owner),
        template=owner.spec.template or PodTemplateSpec(),
        pods=owners.candidates(cache, owner),
        related=cache.by("owner", owner.metadata.uid),
        condition_type=ReplicationControllerCondition,
        counts_terminating=False,
        now=now,
    )


def controller(_: Config) -> Controller[replicas.Seen]:
    """The loop."""
    orphans = owners.those_selecting(replicationcontroller.KIND, query_of)
    return Controller(
        name="replication-controller",
        watches=(
            Watch(replicationcontroller.KIND, own_key),
            Watch(pod.KIND, owners.keys_of_owner(replicationcontroller.KIND, orphans=orphans)),
        ),
        observe=observe,
        reconcile=replicas.reconcile,
    )
