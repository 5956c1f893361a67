"""Steps of a few lines: finalizers that protect volumes in use, and the taint a new node begins with.

Source: kubernetes plugin/pkg/admission/storage/storageobjectinuseprotection, plugin/pkg/admission/nodetaint.
"""

from __future__ import annotations

from edgekube.kinds.core.node import Taint
from edgekube.server.admission.interface import CREATE, Cluster, Review, Step

PROTECTED = {
    "/persistentvolumes": "kubernetes.io/pv-protection",
    "/persistentvolumeclaims": "kubernetes.io/pvc-protection",
}
NOT_READY = "node.kubernetes.io/not-ready"


class StorageObjectInUseProtection(Step):
    """Volumes and claims cannot vanish under a pod."""

    name = "StorageObjectInUseProtection"

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Never refuses."""
        finalizer = PROTECTED.get(review.resource)
        if finalizer is None or review.operation != CREATE or review.subresource:
            return
        meta = review.item.metadata
        if finalizer not in meta.finalizers:
            meta.finalizers = [*meta.finalizers, finalizer]


class TaintNodesByCondition(Step):
    """Nothing is scheduled to a node before it has said that it is ready."""

    name = "TaintNodesByCondition"

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Never refuses."""
        if review.resource != "/nodes" or review.operation != CREATE or review.subresource:
            return
        spec = review.item.spec
        if not any(one.key == NOT_READY and one.effect == "NoSchedule" for one in spec.taints):
            spec.taints = [*spec.taints, Taint(key=NOT_READY, effect="NoSchedule")]
