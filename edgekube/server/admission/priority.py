"""Priority: a pod's class becomes its number. Source: kubernetes plugin/pkg/admission/priority/admission.go."""

from __future__ import annotations

from typing import Any

from edgekube.kinds.scheduling import priorityclass
from edgekube.server import answers
from edgekube.server.admission.interface import CREATE, DELETE, Cluster, Review, Step

DEFAULT_PREEMPTION = "PreemptLowerPriority"
SYSTEM_CLASSES = ("system-node-critical", "system-cluster-critical")


class Priority(Step):
    """Resolves classes, and keeps one default at most."""

    name = "Priority"

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden for an unknown class, or numbers of the pod's own."""
        if review.resource != "/pods" or review.operation != CREATE or review.subresource:
            return
        spec = review.item.spec
        name, value, preemption = self._class_of(review, cluster, spec.priority_class_name)
        spec.priority_class_name = name
        computed = "must not be provided in pod spec; priority admission controller computed"
        given = "from the given PriorityClass name"
        if spec.priority is not None and spec.priority != value:
            raise answers.forbidden(
                review.kind, review.name, f"the integer value of priority ({spec.priority}) {computed} {value} {given}"
            )
        spec.priority = value
        if spec.preemption_policy is not None and spec.preemption_policy != preemption:
            why = f"the string value of PreemptionPolicy ({spec.preemption_policy}) {computed} {preemption} {given}"
            raise answers.forbidden(review.kind, review.name, why)
        spec.preemption_policy = preemption

    @staticmethod
    def _class_of(review: Review, cluster: Cluster, name: str) -> tuple[str, int, str]:
        if name:
            found = cluster.find(priorityclass.KIND, "", name)
            if found is None:
                raise answers.forbidden(review.kind, review.name, f"no PriorityClass with name {name} was found")
        else:
            found = default_class(cluster)
        if found is None:
            return "", 0, DEFAULT_PREEMPTION
        return found.metadata.name, found.value, found.preemption_policy or DEFAULT_PREEMPTION

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden for a second default class."""
        if review.resource != "scheduling.k8s.io/priorityclasses":
            return
        if review.operation == DELETE:
            if review.name in SYSTEM_CLASSES:
                why = "this is a system priority class and cannot be deleted"
                raise answers.forbidden(review.kind, review.name, why)
            return
        if not review.item.global_default:
            return
        present = default_class(cluster)
        if present is not None and present.metadata.name != review.name:
            why = f"PriorityClass {present.metadata.name} is already marked as default. Only one default can exist"
            raise answers.forbidden(review.kind, review.name, why)


def default_class(cluster: Cluster) -> Any | None:
    """The class of pods that name none; should there be several, the lowest."""
    marked = [one for one in cluster.all(priorityclass.KIND) if one.global_default]
    return min(marked, key=lambda one: one.value, default=None)
