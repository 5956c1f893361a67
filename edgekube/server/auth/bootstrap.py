"""Putting the default roles and bindings in place, and keeping aggregated roles together.

What is missing is made, what somebody added stays; an object whose autoupdate annotation is "false" is left alone. Works
through a client with full rights. Source: k8s.io/kubernetes pkg/registry/rbac/reconciliation,
pkg/controller/clusterroleaggregation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio
from msgspec.structs import replace

from edgekube.api.kind import Kind
from edgekube.api.meta import LabelSelector, ObjectMeta
from edgekube.api.selectors import from_label_selector
from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client
from edgekube.errors import AlreadyExists, ApiError, Conflict
from edgekube.kinds.rbac import clusterrole, clusterrolebinding, role, rolebinding
from edgekube.kinds.rbac.clusterrole import AggregationRule, ClusterRole, PolicyRule
from edgekube.kinds.rbac.clusterrolebinding import ClusterRoleBinding, RoleRef, Subject
from edgekube.kinds.rbac.role import Role
from edgekube.kinds.rbac.rolebinding import RoleBinding
from edgekube.server.auth import membership_policy, policy
from edgekube.server.auth.escalation import rule_of
from edgekube.server.auth.policy_notation import RoleFacts, parse
from edgekube.server.auth.rbac import GROUP
from edgekube.server.auth.rules import Rule

LABEL = {"kubernetes.io/bootstrapping": "rbac-defaults"}
OWN_LABEL = {"edgekube.io/bootstrapping": "rbac-defaults"}  # roles upstream does not have are not among its defaults
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
ATTEMPTS = 5  # against others who write the same object while we do
AT_ONCE = 32  # creations under way together: they share transactions

log = logging.getLogger("edgekube.rbac")


def default_cluster_roles() -> list[ClusterRole]:
    """The default cluster roles; aggregated ones already hold what they gather."""
    facts = [
        *parse(policy.CLUSTER_ROLES),
        *parse(policy.CONTROLLER_ROLES, policy.CONTROLLER),
        *parse(membership_policy.OWN_CLUSTER_ROLES),
    ]
    made = [_cluster_role(one) for one in facts]
    for _ in range(3):  # admin gathers edit, which gathers view, which gathers its sources
        made = [replace(one, rules=aggregated(one, made)) if one.aggregation_rule else one for one in made]
    return made


def default_roles() -> list[Role]:
    """The default roles of namespaces."""
    made = []
    for one in (*parse(policy.ROLES), *parse(membership_policy.OWN_ROLES)):
        space, _, name = one.name.partition("/")
        made.append(Role(metadata=_metadata(name, space), rules=[_policy_rule(rule) for rule in one.rules]))
    return made


def default_cluster_bindings() -> list[ClusterRoleBinding]:
    """The default cluster role bindings, those of kube-system's controllers included."""
    bound = {name: (name, subjects) for name, subjects in policy.CLUSTER_BINDINGS.items()}
    for one in parse(policy.CONTROLLER_ROLES):
        name = f"{policy.CONTROLLER}{one.name}"
        bound[name] = (name, (f"ServiceAccount kube-system/{one.name}",))
    bound |= membership_policy.OWN_CLUSTER_BINDINGS
    return [
        ClusterRoleBinding(
            metadata=_metadata(name),
            role_ref=RoleRef(api_group=GROUP, kind="ClusterRole", name=role_name),
            subjects=[_subject(text) for text in subjects],
        )
        for name, (role_name, subjects) in bound.items()
    ]


def default_bindings() -> list[RoleBinding]:
    """The default role bindings."""
    made = []
    for place, (role_name, subjects) in (policy.BINDINGS | membership_policy.OWN_BINDINGS).items():
        space, _, name = place.partition("/")
        made.append(
            RoleBinding(
                metadata=_metadata(name, space),
                role_ref=RoleRef(api_group=GROUP, kind="Role", name=role_name),
                subjects=[_subject(text) for text in subjects],
            )
        )
    return made


async def put_in_place(client: Client) -> None:
    """Make what is missing (kube-system and kube-public are there). Raises ApiError when the server refuses."""
    await _reconcile(client, clusterrole.KIND, default_cluster_roles(), _mended_role)
    await _reconcile(client, role.KIND, default_roles(), _mended_role)
    await _reconcile(client, clusterrolebinding.KIND, default_cluster_bindings(), _mended_binding)
    await _reconcile(client, rolebinding.KIND, default_bindings(), _mended_binding)


async def keep_aggregated(client: Client, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Give every cluster role with an aggregation rule the rules it gathers, whenever they change. Never ends."""
    cache: Cache[ClusterRole] = Cache()
    changed = trio.Event()

    def touch(*_: Any) -> None:
        changed.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: follow(client, clusterrole.KIND, cache, on_change=touch, task_status=task_status)
        )
        task_status.started()
        while True:
            await changed.wait()
            changed = trio.Event()
            for one in cache.list():
                await _aggregate(client, one, cache.list())


async def _aggregate(client: Client, one: ClusterRole, everyone: Sequence[ClusterRole]) -> None:
    if one.aggregation_rule is None:
        return
    rules = aggregated(one, everyone)
    if rules == (one.rules or []):
        return
    try:
        await client.update(clusterrole.KIND, replace(one, rules=rules))
    except ApiError as error:  # the change that made it stale wakes us again
        log.debug("%s: aggregating later: %s", one.metadata.name, error)


def aggregated(one: ClusterRole, everyone: Iterable[ClusterRole]) -> list[PolicyRule]:
    """The rules a role gathers, in the order of the names it gathers from, each once."""
    assert one.aggregation_rule is not None
    queries = [from_label_selector(selector) for selector in one.aggregation_rule.cluster_role_selectors]
    rules: list[PolicyRule] = []
    for other in sorted(everyone, key=lambda item: item.metadata.name):
        if other.metadata.name == one.metadata.name:
            continue
        if any(query.matches(other.metadata.labels) for query in queries):
            rules += [rule for rule in other.rules or () if rule not in rules]
    return rules


async def _reconcile(
    client: Client, kind: Kind[Any], wanted: Sequence[Any], mended: Callable[[Any, Any], Any | None]
) -> None:
    listing = await client.list(kind)
    present = {(item.metadata.namespace, item.metadata.name): item for item in listing.items}
    limit = trio.CapacityLimiter(AT_ONCE)

    async def one(item: Any) -> None:
        async with limit:
            await _settle(client, kind, item, present.get((item.metadata.namespace, item.metadata.name)), mended)

    async with trio.open_nursery() as nursery:
        for item in wanted:
            nursery.start_soon(one, item)


async def _settle(
    client: Client, kind: Kind[Any], wanted: Any, found: Any | None, mended: Callable[[Any, Any], Any | None]
) -> None:
    for _ in range(ATTEMPTS):
        try:
            if found is None:
                await client.create(kind, wanted)
                return
            if found.metadata.annotations.get(AUTOUPDATE) == "false":
                return
            better = mended(found, wanted)
            if better is None:
                return
            log.info("%s %s: restoring what is missing", kind.singular, wanted.metadata.name)
            if getattr(better, "role_ref", None) != getattr(found, "role_ref", None):
                await client.delete(kind, found.metadata.name, found.metadata.namespace, uid=found.metadata.uid)
                await client.create(kind, wanted)
            else:
                await client.update(kind, better)
            return
        except (Conflict, AlreadyExists):
            found = await client.get(kind, wanted.metadata.name, wanted.metadata.namespace)


def _mended_role(found: Any, wanted: Any) -> Any | None:
    """The role with everything the default has, None when nothing is missing."""
    metadata = _mended_metadata(found.metadata, wanted.metadata)
    changes: dict[str, Any] = {} if metadata is None else {"metadata": metadata}
    aggregation = getattr(wanted, "aggregation_rule", None)
    if aggregation is not None:
        held = found.aggregation_rule.cluster_role_selectors if found.aggregation_rule else []
        missing = [selector for selector in aggregation.cluster_role_selectors if selector not in held]
        if missing:
            changes["aggregation_rule"] = AggregationRule(cluster_role_selectors=[*held, *missing])
    else:
        rules = [rule_of(rule) for rule in found.rules or ()]
        lacking = [rule for rule in wanted.rules or () if not _covered(rules, rule_of(rule))]
        if lacking:
            changes["rules"] = [*(found.rules or ()), *lacking]
    return replace(found, **changes) if changes else None


def _covered(held: Sequence[Rule], rule: Rule) -> bool:
    return all(any(one.covers(part) for one in held) for part in rule.parts())


def _mended_binding(found: Any, wanted: Any) -> Any | None:
    """The binding with everything the default has, None when nothing is missing."""
    if found.role_ref != wanted.role_ref:
        return wanted
    metadata = _mended_metadata(found.metadata, wanted.metadata)
    lacking = [subject for subject in wanted.subjects if subject not in found.subjects]
    changes: dict[str, Any] = {} if metadata is None else {"metadata": metadata}
    if lacking:
        changes["subjects"] = [*found.subjects, *lacking]
    return replace(found, **changes) if changes else None


def _mended_metadata(found: ObjectMeta, wanted: ObjectMeta) -> ObjectMeta | None:
    labels, annotations = {**wanted.labels, **found.labels}, {**wanted.annotations, **found.annotations}
    if labels == found.labels and annotations == found.annotations:
        return None
    return replace(found, labels=labels, annotations=annotations)


def _cluster_role(facts: RoleFacts) -> ClusterRole:
    made = ClusterRole(
        metadata=_metadata(facts.name, labels={f"{AGGREGATE}{target}": "true" for target in facts.into}),
        rules=[_policy_rule(rule) for rule in facts.rules],
    )
    if facts.of:
        selector = LabelSelector(match_labels={f"{AGGREGATE}{facts.of}": "true"})
        made.aggregation_rule = AggregationRule(cluster_role_selectors=[selector])
    return made


def _metadata(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> ObjectMeta:
    label = OWN_LABEL if name.startswith("edgekube:") else LABEL
    return ObjectMeta(
        name=name, namespace=namespace, labels={**label, **(labels or {})}, annotations={AUTOUPDATE: "true"}
    )


def _policy_rule(rule: Rule) -> PolicyRule:
    return PolicyRule(
        verbs=list(rule.verbs),
        api_groups=list(rule.groups),
        resources=list(rule.resources),
        resource_names=list(rule.names),
        non_resource_urls=list(rule.urls),
    )


def _subject(text: str) -> Subject:
    kind, _, name = text.partition(" ")
    if kind == "ServiceAccount":
        namespace, _, name = name.partition("/")
        return Subject(kind=kind, namespace=namespace, name=name)
    return Subject(kind=kind, api_group=GROUP, name=name)
