"""RuntimeClass: what a class of runtime costs and where it runs becomes part of the pod.

Source: kubernetes plugin/pkg/admission/runtimeclass/admission.go.
"""

from __future__ import annotations

from typing import Any

from edgekube.kinds.node import runtimeclass
from edgekube.server import answers
from edgekube.server.admission.interface import CREATE, Cluster, Review, Step


class RuntimeClass(Step):
    """Merges overhead and scheduling of the class into pods."""

    name = "RuntimeClass"

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden for an unknown class, and for what contradicts it."""
        found = self._class_of(review, cluster)
        if found is None:
            return
        spec = review.item.spec
        if found.overhead is not None:
            if spec.overhead and spec.overhead != found.overhead.pod_fixed:
                raise _rejected(review, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec.overhead = dict(found.overhead.pod_fixed)
        if found.scheduling is None:
            return
        for key, value in found.scheduling.node_selector.items():
            if spec.node_selector.get(key, value) != value:
                own = spec.node_selector[key]
                why = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
                raise answers.forbidden(review.kind, review.name, f"conflict: {why}")
        spec.node_selector = {**spec.node_selector, **found.scheduling.node_selector}
        spec.tolerations = [
            *spec.tolerations,
            *(one for one in found.scheduling.tolerations if one not in spec.tolerations),
        ]

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden for an overhead without a class that has one."""
        found = self._class_of(review, cluster)
        if not self._concerned(review):
            return
        if review.item.spec.overhead and (found is None or found.overhead is None):
            raise _rejected(review, "Pod Overhead set without corresponding RuntimeClass defined Overhead")

    @staticmethod
    def _concerned(review: Review) -> bool:
        return review.resource == "/pods" and review.operation == CREATE and not review.subresource

    def _class_of(self, review: Review, cluster: Cluster) -> Any | None:
        if not self._concerned(review) or not review.item.spec.runtime_class_name:
            return None
        name = review.item.spec.runtime_class_name
        found = cluster.find(runtimeclass.KIND, "", name)
        if found is None:
            raise _rejected(review, f'RuntimeClass "{name}" not found')
        return found


def _rejected(review: Review, why: str) -> Exception:
    return answers.forbidden(review.kind, review.name, f"pod rejected: {why}")
