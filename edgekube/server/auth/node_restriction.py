"""What a node may write: its own object, lease and CSINode, the status of its own pods, mirror pods, tokens of its own pods.

The node authoriser says which requests a node may make at all; this looks into what is written. Everybody else passes.
Source: k8s.io/kubernetes plugin/pkg/admission/noderestriction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekube.errors import ApiError, Forbidden, NotFound
from edgekube.kinds.core import node as nodes
from edgekube.kinds.core import pod as pods
from edgekube.server import answers
from edgekube.server.admission.interface import CREATE, DELETE, UPDATE, Cluster, Review, Step
from edgekube.server.auth.node import LEASE_NAMESPACE, node_of, references
from edgekube.server.context import User

MIRROR = "kubernetes.io/config.mirror"
OWN_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
    }
)
OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")


class NodeRestriction(Step):
    """Refuses what a node may not write."""

    name = "NodeRestriction"

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden, or NotFound for a mirror pod of a node that is not there."""
        node = node_of(review.context.user)
        if node is None:
            return
        if not node:
            raise _forbidden(review, f'could not determine node from user "{review.context.user.name}"')
        problem = None
        if review.resource == "/pods":
            problem = _pod_problem(node, review, cluster)
        elif review.resource == "/nodes":
            problem = _node_problem(node, review)
        elif review.resource == "/persistentvolumeclaims" and review.subresource != "status":
            problem = "may only update PVC status"
        elif review.resource == "coordination.k8s.io/leases":
            problem = _lease_problem(node, review)
        elif review.resource == "storage.k8s.io/csinodes" and review.name != node:
            problem = "can only access CSINode with the same name as the requesting node"
        if problem:
            raise _forbidden(review, problem)


def check_token(
    user: User,
    namespace: str,
    name: str,
    reference: Any,
    find: Callable[[str, str], tuple[str, str, str] | None],
) -> None:
    """A node may only have tokens that end with one of its own pods. Raises Forbidden, NotFound.

    `find` gives (uid, node, service account) of a pod by namespace and name.
    """
    node = node_of(user)
    if node is None:
        return
    if reference is None or (reference.api_version, reference.kind) != ("v1", "Pod") or not reference.name:
        problem = "node requested token not bound to a pod"
    elif not reference.uid:
        problem = "node requested token with a pod binding without a uid"
    elif (pod := find(namespace, reference.name)) is None:
        raise answers.not_found(pods.KIND, reference.name)
    elif reference.uid != pod[0]:
        problem = f"the UID in the bound object reference ({reference.uid}) does not match the UID in record"
    elif pod[1] != node:
        problem = "node requested token bound to a pod scheduled on a different node"
    elif pod[2] != name:
        problem = f"pod {reference.name} does not run as service account {name}"
    else:
        return
    raise Forbidden(f'serviceaccounts "{name}" is forbidden: {problem}', name=name, kind="serviceaccounts")


def _pod_problem(node: str, review: Review, cluster: Cluster) -> str | None:
    if review.subresource == "status":
        if review.old.spec.node_name != node:
            return f'node "{node}" can only update pod status for pods with spec.nodeName set to itself'
        if review.old.metadata.labels != review.item.metadata.labels:
            return f'node "{node}" cannot update labels through pod status'
        return None
    if review.subresource == "eviction":
        pod = cluster.find(pods.KIND, review.namespace, review.name)
        if pod is not None and pod.spec.node_name != node:
            return f'node "{node}" can only evict pods with spec.nodeName set to itself'
        return None
    if review.subresource:
        return f"unexpected pod subresource \"{review.subresource}\", only 'status' and 'eviction' are allowed"
    if review.operation == CREATE:
        return _mirror_problem(node, review.item, cluster)
    if review.operation == DELETE:
        if review.old is not None and review.old.spec.node_name != node:
            return f'node "{node}" can only delete pods with spec.nodeName set to itself'
        return None
    return f'unexpected operation "{review.operation}", node "{node}" can only create and delete mirror pods'


def _mirror_problem(node: str, pod: Any, cluster: Cluster) -> str | None:
    if MIRROR not in pod.metadata.annotations:
        return f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
    if pod.spec.node_name != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    owners = pod.metadata.owner_references
    if len(owners) > 1:
        return f'node "{node}" can only create pods with a single owner reference set to itself'
    if not owners or (owners[0].api_version, owners[0].kind, owners[0].name) != ("v1", "Node", node):
        return f'node "{node}" can only create pods with an owner reference set to itself'
    if not owners[0].controller:
        return f'node "{node}" can only create pods with a controller owner reference set to itself'
    if owners[0].block_owner_deletion:
        return f'node "{node}" must not set blockOwnerDeletion on an owner reference'
    found = cluster.find(nodes.KIND, "", node)
    if found is None:
        raise _no_node(node)
    if owners[0].uid != found.metadata.uid:
        return f"node {node} UID mismatch: expected {owners[0].uid} got {found.metadata.uid}"
    if pod.spec.service_account_name:
        return f'node "{node}" can not create pods that reference a service account'
    spec = pods.KIND.to_dict(pod).get("spec") or {}
    for plural, _ in references(spec, pod.metadata.name):
        if plural != "serviceaccounts":
            return f'node "{node}" can not create pods that reference {plural}'
    return None


def _node_problem(node: str, review: Review) -> str | None:
    if review.name != node:
        return f'node "{node}" is not allowed to modify node "{review.name}"'
    if review.operation == CREATE:
        if refused := _forbidden_labels(review.item.metadata.labels, {}):
            return f'node "{node}" is not allowed to set the following labels: {", ".join(refused)}'
    elif review.operation == UPDATE:
        old, new = review.old, review.item
        if old.spec.taints != new.spec.taints:
            return f'node "{node}" is not allowed to modify taints'
        if old.metadata.owner_references != new.metadata.owner_references:
            return f'node "{node}" is not allowed to modify ownerReferences'
        if refused := _forbidden_labels(new.metadata.labels, old.metadata.labels):
            return f'node "{node}" is not allowed to modify labels: {", ".join(refused)}'
    return None


def _forbidden_labels(new: dict[str, str], old: dict[str, str]) -> list[str]:
    changed = {key for key in new.keys() | old.keys() if new.get(key) != old.get(key) or (key in new) != (key in old)}
    return sorted(key for key in changed if not _own_label(key))


def _own_label(key: str) -> bool:
    prefix, slash, _ = key.partition("/")
    if not slash or key in OWN_LABELS:
        return True
    if any(prefix == own or prefix.endswith(f".{own}") for own in OWN_PREFIXES):
        return True
    return not any(prefix == own or prefix.endswith(f".{own}") for own in ("kubernetes.io", "k8s.io"))


def _lease_problem(node: str, review: Review) -> str | None:
    if review.namespace != LEASE_NAMESPACE:
        return f'can only access leases in the "{LEASE_NAMESPACE}" system namespace'
    if review.name != node:
        return "can only access node lease with the same name as the requesting node"
    return None


def _forbidden(review: Review, why: str) -> ApiError:
    return answers.forbidden(review.kind, review.name, why)


def _no_node(node: str) -> NotFound:
    return answers.not_found(nodes.KIND, node)
