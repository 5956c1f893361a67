"""ReplicaSet: a number of identical pods. The decision is `control.replicas`."""

from __future__ import annotations

from datetime import datetime

from edgekube.api.selectors import LabelQuery, from_label_selector
from edgekube.control import owners, replicas
from edgekube.control.config import Config
from edgekube.kinds.apps import replicaset
from edgekube.kinds.apps.replicaset import ReplicaSet, ReplicaSetCondition
from edgekube.kinds.core import pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key


def query_of(owner: ReplicaSet) -> LabelQuery:
    """Which pods may be its own."""
    return from_label_selector(owner.spec.selector)


def observe(caches: Caches, key: Key, now: datetime) -> replicas.Seen | None:
    """The set, its pods and the orphans of the namespace."""
    owner = caches.of(replicaset.KIND).get(*key)
    if owner is None:
        return None
    cache = caches.of(pod.KIND)
    mine = cache.by("owner", owner.metadata.uid)
    related = list(mine)
    reference = owners.controller_of(owner)
    if reference is not None:
        for sibling in caches.of(replicaset.KIND).by("owner", reference.uid):
            if sibling.metadata.uid != owner.metadata.uid:
                related += cache.by("owner", sibling.metadata.uid)
    return replicas.Seen(
        kind=replicaset.KIND,
        owner=owner,
        query=query_of(owner),
        template=owner.spec.template,
        pods=owners.candidates(cache, owner),
        related=related,
        condition_type=ReplicaSetCondition,
        counts_terminating=True,
        now=now,
    )


def controller(_: Config) -> Controller[replicas.Seen]:
    """The loop."""
    return Controller(
        name="replicaset-controller",
        watches=(
            Watch(replicaset.KIND, own_key),
            Watch(
                pod.KIND,
                owners.keys_of_owner(replicaset.KIND, orphans=owners.those_selecting(replicaset.KIND, query_of)),
            ),
        ),
        observe=observe,
        reconcile=replicas.reconcile,
        workers=3,
    )
