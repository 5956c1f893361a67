"""The node authoriser: a node may read what its own pods need, and nothing else of that sort.

What each pod refers to is kept beside the pods' nodes, brought up to date from a watch before a decision, without waiting. It has
an opinion only about users that are nodes. Source: k8s.io/kubernetes plugin/pkg/auth/authorizer/node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from edgekube.api.selectors import parse_fields
from edgekube.server.auth import policy
from edgekube.server.auth.policy_notation import parse
from edgekube.server.auth.rules import Rule
from edgekube.server.context import Attributes, User
from edgekube.store.interface import ChangeType, Compacted, Key, Row, Store, Watch

PODS, CLAIMS = "/pods", "/persistentvolumeclaims"
NODE_USER, NODE_GROUP = "system:node:", "system:nodes"
LEASE_NAMESPACE = "kube-node-lease"
READ = ("get", "list", "watch")
LEASE_VERBS = ("get", "create", "update", "patch", "delete")


class _Pod(NamedTuple):
    node: str
    refers: frozenset[tuple[str, str]]  # (plural, name), all in the pod's namespace


class NodeAuthorizer:
    """Decides for nodes. Made by `open_node_authorizer`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pods: dict[Key, _Pod] = {}
        self._by_node: dict[str, set[Key]] = {}
        self._watch: Watch | None = None
        self._rules: tuple[Rule, ...] = next(
            role.rules for role in parse(policy.CLUSTER_ROLES) if role.name == "system:node"
        )
        self._special: dict[str, Callable[[str, Attributes], str | None]] = {
            "/secrets": self._read_one,
            "/configmaps": self._read_one,
            "/persistentvolumeclaims": self._claims,
            "/persistentvolumes": self._one_storage,
            "/serviceaccounts": self._accounts,
            "/nodes": self._nodes,
            "/pods": self._pods_of_node,
            "coordination.k8s.io/leases": self._leases,
            "storage.k8s.io/csinodes": self._csinodes,
        }

    def decide(self, attributes: Attributes) -> tuple[bool, str]:
        """(True, "") when a node may; (False, why) when this has no opinion or says no."""
        node = node_of(attributes.user)
        if node is None:
            return False, ""
        if not node:
            return False, f'unknown node for user "{attributes.user.name}"'
        special = self._special.get(f"{attributes.group}/{attributes.resource}")
        if special is not None:
            reason = special(node, attributes)
            return reason is None, reason or ""
        return any(rule.allows(attributes) for rule in self._rules), ""

    # one method per resource with a rule of its own: None allows, a text refuses

    def _read_one(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in READ:
            return "can only read resources of this type"
        if asked.subresource:
            return "cannot read subresource"
        if not asked.namespace:
            return "can only read namespaced object of this type"
        return self._related(node, asked)

    def _claims(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource == "status":
            if asked.verb not in ("get", "update", "patch"):
                return "can only get/update/patch this type"
            return self._related(node, asked)
        return self._one_storage(node, asked)

    def _one_storage(self, node: str, asked: Attributes) -> str | None:
        """As upstream's `get`, and following one by name: our nodes wait for a claim to be bound without asking again."""
        if asked.verb not in READ or (asked.verb != "get" and not asked.name):
            return "can only get individual resources of this type"
        if asked.subresource:
            return "cannot get subresource"
        return self._related(node, asked)

    def _accounts(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource == "token":
            if asked.verb != "create":
                return "only create access is supported for service account tokens"
            return self._related(node, asked)
        return self._get(node, asked)

    def _nodes(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource not in ("", "status"):
            return f"unsupported node subresource '{asked.subresource}'"
        if asked.verb not in READ:
            return None if any(rule.allows(asked) for rule in self._rules) else ""
        if asked.name == node:
            return None
        if asked.name:
            return f"node '{node}' cannot read '{asked.name}', only its own Node object"
        return f"node '{node}' cannot read all nodes, only its own Node object"

    def _pods_of_node(self, node: str, asked: Attributes) -> str | None:
        if asked.verb in ("list", "watch") and not asked.subresource:
            try:
                chosen = parse_fields(asked.field_selector).exact("spec.nodeName")
            except ValueError:
                chosen = None
            return None if chosen == node else "can only list/watch pods with spec.nodeName field selector"
        if asked.verb == "get":
            self._catch_up()
            pod = self._pods.get(Key(PODS, asked.namespace, asked.name))
            if pod is None or pod.node != node:
                return f"no relationship found between node '{node}' and this object"
            return None
        return None if any(rule.allows(asked) for rule in self._rules) else ""

    def _leases(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in LEASE_VERBS:
            return "can only get, create, update, patch, or delete a node lease"
        if asked.namespace != LEASE_NAMESPACE:
            return f'can only access leases in the "{LEASE_NAMESPACE}" system namespace'
        if asked.verb != "create" and asked.name != node:
            return "can only access node lease with the same name as the requesting node"
        return None

    def _csinodes(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in LEASE_VERBS:
            return "can only get, create, update, patch, or delete a CSINode"
        if asked.subresource:
            return "cannot authorize CSINode subresources"
        if asked.verb != "create" and asked.name != node:
            return "can only access CSINode with the same name as the requesting node"
        return None

    def _get(self, node: str, asked: Attributes) -> str | None:
        if asked.verb != "get":
            return "can only get individual resources of this type"
        if asked.subresource:
            return "cannot get subresource"
        return self._related(node, asked)

    def _related(self, node: str, asked: Attributes) -> str | None:
        if not asked.name:
            return "No Object name found"
        self._catch_up()
        for key in self._by_node.get(node, ()):
            refers = self._pods[key].refers
            if asked.resource == "persistentvolumes":
                if any(
                    self._volume_of(key.namespace, claim) == asked.name for kind, claim in refers if kind == CLAIMS[1:]
                ):
                    return None
            elif key.namespace == asked.namespace and (asked.resource, asked.name) in refers:
                return None
        return f"no relationship found between node '{node}' and this object"

    def _volume_of(self, namespace: str, claim: str) -> str:
        row = self._store.get(Key(CLAIMS, namespace, claim))
        return "" if row is None else (msgspec.json.decode(row.value).get("spec") or {}).get("volumeName") or ""

    # keeping up with the pods

    def start(self, watch: Watch) -> None:
        """Follow this watch (entered, from the revision `load` gave)."""
        self._watch = watch

    def load(self) -> int:
        """Read all pods; the revision they are from."""
        self._pods.clear()
        self._by_node.clear()
        listing = self._store.list(PODS)
        for row in listing.rows:
            self._put(row)
        return listing.revision

    def _catch_up(self) -> None:
        assert self._watch is not None, "the authoriser was not started"
        try:
            for change in self._watch.take_nowait():
                self._drop(change.row.key)
                if change.type is not ChangeType.DELETED:
                    self._put(change.row)
        except Compacted:
            self._watch.restart(self.load())

    def _put(self, row: Row) -> None:
        spec = msgspec.json.decode(row.value).get("spec") or {}
        node = spec.get("nodeName") or ""
        if node:
            self._pods[row.key] = _Pod(node, frozenset(references(spec, row.key.name)))
            self._by_node.setdefault(node, set()).add(row.key)

    def _drop(self, key: Key) -> None:
        if (pod := self._pods.pop(key, None)) is not None:
            self._by_node[pod.node].discard(key)
            if not self._by_node[pod.node]:
                del self._by_node[pod.node]


@asynccontextmanager
async def open_node_authorizer(store: Store) -> AsyncIterator[NodeAuthorizer]:
    """The authoriser over a store."""
    authorizer = NodeAuthorizer(store)
    async with store.watch(PODS, after=authorizer.load()) as watch:
        authorizer.start(watch)
        yield authorizer


def node_of(user: User) -> str | None:
    """The node a user is; None for everybody else, "" for a node without a name."""
    if not user.name.startswith(NODE_USER) or NODE_GROUP not in user.groups:
        return None
    return user.name.removeprefix(NODE_USER)


def references(spec: dict[str, Any], pod_name: str) -> Iterator[tuple[str, str]]:
    """Everything in its namespace that a pod refers to, as (plural, name)."""
    yield "serviceaccounts", spec.get("serviceAccountName") or "default"
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name") or ""
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            yield from _container_references(container)
    for volume in spec.get("volumes") or ():
        yield from _volume_references(volume, pod_name)


def _container_references(container: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        for member, plural in (("secretRef", "secrets"), ("configMapRef", "configmaps")):
            if member in source:
                yield plural, source[member].get("name") or ""
    for variable in container.get("env") or ():
        chosen = variable.get("valueFrom") or {}
        for member, plural in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
            if member in chosen:
                yield plural, chosen[member].get("name") or ""


def _volume_references(volume: dict[str, Any], pod_name: str) -> Iterator[tuple[str, str]]:
    if "secret" in volume:
        yield "secrets", volume["secret"].get("secretName") or ""
    if "configMap" in volume:
        yield "configmaps", volume["configMap"].get("name") or ""
    if "persistentVolumeClaim" in volume:
        yield "persistentvolumeclaims", volume["persistentVolumeClaim"].get("claimName") or ""
    if "ephemeral" in volume:
        yield "persistentvolumeclaims", f"{pod_name}-{volume.get('name', '')}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        for member, plural in (("secret", "secrets"), ("configMap", "configmaps")):
            if member in source:
                yield plural, source[member].get("name") or ""
    for driver in ("csi", "cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
        reference = (volume.get(driver) or {}).get("nodePublishSecretRef" if driver == "csi" else "secretRef")
        if reference:
            yield "secrets", reference.get("name") or ""
