"""DefaultStorageClass and DefaultIngressClass: claims and ingresses that name no class get the default one.

Source: kubernetes plugin/pkg/admission/storage/storageclass/setdefault and plugin/pkg/admission/network/defaultingressclass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgekube.kinds.networking import ingressclass
from edgekube.kinds.storage import storageclass
from edgekube.server.admission.interface import CREATE, Cluster, Review, Step

STORAGE_DEFAULT = "storageclass.kubernetes.io/is-default-class"
STORAGE_CLASS_OF_OLD = "volume.beta.kubernetes.io/storage-class"
INGRESS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
INGRESS_CLASS_OF_OLD = "kubernetes.io/ingress.class"


def newest_default(classes: Iterable[Any], annotation: str) -> str | None:
    """The name of the class marked as default; of several, the newest, then the first by name."""
    marked = [one for one in classes if one.metadata.annotations.get(annotation) == "true"]
    marked.sort(key=lambda one: one.metadata.name)
    marked.sort(key=lambda one: one.metadata.creation_timestamp or "", reverse=True)
    return marked[0].metadata.name if marked else None


class DefaultStorageClass(Step):
    """For claims."""

    name = "DefaultStorageClass"

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Never refuses."""
        if review.resource != "/persistentvolumeclaims" or review.operation != CREATE or review.subresource:
            return
        claim = review.item
        if claim.spec.storage_class_name is None and STORAGE_CLASS_OF_OLD not in claim.metadata.annotations:
            claim.spec.storage_class_name = newest_default(cluster.all(storageclass.KIND), STORAGE_DEFAULT)


class DefaultIngressClass(Step):
    """For ingresses."""

    name = "DefaultIngressClass"

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Never refuses."""
        if review.resource != "networking.k8s.io/ingresses" or review.operation != CREATE or review.subresource:
            return
        ingress = review.item
        if ingress.spec.ingress_class_name is None and INGRESS_CLASS_OF_OLD not in ingress.metadata.annotations:
            ingress.spec.ingress_class_name = newest_default(cluster.all(ingressclass.KIND), INGRESS_DEFAULT)
