"""Does this taint, selector or term match? Shared by rules and scores. Pure.

Source: k8s.io/component-helpers scheduling/corev1 (helpers.go, nodeaffinity).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekube.api.meta import LabelSelector, LabelSelectorRequirement
from edgekube.api.selectors import NOTHING, LabelQuery, LabelRequirement, from_label_selector
from edgekube.control.scheduler.snapshot import Snapshot
from edgekube.kinds.core.node import Node, Taint
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import PodAffinityTerm, Toleration
from edgekube.kinds.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm

OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether one toleration covers a taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator in ("", "Equal"):
        return toleration.value == taint.value
    if toleration.operator == "Exists":
        return True
    return _compares(toleration, taint)


def _compares(toleration: Toleration, taint: Taint) -> bool:
    try:
        asked, given = int(toleration.value), int(taint.value)
    except ValueError:
        return False
    return given > asked if toleration.operator == "Gt" else given < asked if toleration.operator == "Lt" else False


def tolerated(taint: Taint, tolerations: Sequence[Toleration]) -> bool:
    """Whether any toleration covers a taint."""
    return any(tolerates(toleration, taint) for toleration in tolerations)


def untolerated(node: Node, tolerations: Sequence[Toleration], effects: tuple[str, ...]) -> Taint | None:
    """The first taint of these effects that nothing tolerates."""
    for taint in node.spec.taints:
        if taint.effect in effects and not tolerated(taint, tolerations):
            return taint
    return None


def _requirement_holds(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    operator = OPERATORS.get(requirement.operator)
    if operator is None or (operator in ("gt", "lt") and len(requirement.values) != 1):
        return False
    return LabelRequirement(requirement.key, operator, tuple(requirement.values)).matches(labels)


def term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    """Whether all of a term's requirements hold of a node; an empty term matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_requirement_holds(entry, node.metadata.labels) for entry in term.match_expressions) and all(
        _requirement_holds(entry, fields) for entry in term.match_fields
    )


def selector_matches(selector: NodeSelector, node: Node) -> bool:
    """Whether any term matches a node."""
    return any(term_matches(term, node) for term in selector.node_selector_terms or ())


def wants_node(pod: Pod, node: Node) -> bool:
    """Whether a pod's nodeSelector and required node affinity allow a node."""
    if any(node.metadata.labels.get(key) != value for key, value in pod.spec.node_selector.items()):
        return False
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    return required is None or selector_matches(required, node)


class Term:
    """A pod affinity term made ready to be asked."""

    __slots__ = ("everywhere", "namespace_query", "namespaces", "query", "topology_key")

    def __init__(self, term: PodAffinityTerm, owner: Pod) -> None:
        self.topology_key = term.topology_key
        self.query = with_label_keys(term.label_selector, owner, term.match_label_keys, term.mismatch_label_keys)
        self.namespace_query = (
            from_label_selector(term.namespace_selector) if term.namespace_selector is not None else NOTHING
        )
        self.everywhere = self.namespace_query.everything and term.namespace_selector is not None
        own = not term.namespaces and term.namespace_selector is None
        self.namespaces = frozenset([owner.metadata.namespace] if own else term.namespaces)

    def matches(self, pod: Pod, snapshot: Snapshot) -> bool:
        """Whether the term speaks of this pod."""
        namespace = pod.metadata.namespace
        if namespace not in self.namespaces and not self.everywhere:
            labels = snapshot.namespaces.get(namespace)
            if labels is None or not self.namespace_query.matches(labels):
                return False
        return self.query.matches(pod.metadata.labels)


def with_label_keys(
    selector: LabelSelector | None, pod: Pod, same: Sequence[str] = (), different: Sequence[str] = ()
) -> LabelQuery:
    """A selector narrowed to pods that share (or do not share) some of `pod`'s label values."""
    labels = pod.metadata.labels
    more = [LabelSelectorRequirement(key=key, operator="In", values=[labels[key]]) for key in same if key in labels]
    more += [
        LabelSelectorRequirement(key=key, operator="NotIn", values=[labels[key]]) for key in different if key in labels
    ]
    if selector is None or not more:
        return from_label_selector(selector)
    return from_label_selector(
        LabelSelector(match_labels=selector.match_labels, match_expressions=[*selector.match_expressions, *more])
    )


def required_affinity(pod: Pod) -> list[Term]:
    """The pods this one must be near."""
    affinity = pod.spec.affinity.pod_affinity if pod.spec.affinity is not None else None
    terms = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else []
    return [Term(term, pod) for term in terms]


def required_anti_affinity(pod: Pod) -> list[Term]:
    """The pods this one must be away from."""
    affinity = pod.spec.affinity.pod_anti_affinity if pod.spec.affinity is not None else None
    terms = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else []
    return [Term(term, pod) for term in terms]


def preferred(pod: Pod) -> list[tuple[int, Term]]:
    """The pods this one wants to be near (positive weight) or away from (negative)."""
    affinity = pod.spec.affinity
    if affinity is None:
        return []
    made: list[tuple[int, Term]] = []
    if affinity.pod_affinity is not None:
        wishes = affinity.pod_affinity.preferred_during_scheduling_ignored_during_execution
        made += [(wish.weight, Term(wish.pod_affinity_term, pod)) for wish in wishes]
    if affinity.pod_anti_affinity is not None:
        wishes = affinity.pod_anti_affinity.preferred_during_scheduling_ignored_during_execution
        made += [(-wish.weight, Term(wish.pod_affinity_term, pod)) for wish in wishes]
    return made
