"""RBAC: rules, bindings that count at once, refusals to give what one does not have, nodes, impersonation."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgekube.errors import ApiError, BadRequest, Forbidden
from edgekube.net.exchange import Request
from edgekube.server.auth import policy
from edgekube.server.auth.authorization import Authorization
from edgekube.server.auth.bootstrap import aggregated, default_cluster_bindings, default_cluster_roles
from edgekube.server.auth.impersonation import Impersonation
from edgekube.server.auth.node import open_node_authorizer
from edgekube.server.auth.policy_notation import parse
from edgekube.server.auth.rbac import BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES, open_rbac
from edgekube.server.auth.rules import Rule, uncovered
from edgekube.server.context import Attributes, User
from edgekube.store.interface import Key, Put, Remove
from edgekube.store.memory import MemoryStore

JANE = User("jane", ("system:authenticated",))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(window_changes=20)


@pytest.fixture
async def authorization(store: MemoryStore) -> AsyncIterator[Authorization]:
    async with open_rbac(store) as rbac, open_node_authorizer(store) as nodes:
        yield Authorization(nodes, rbac)


async def put(store: MemoryStore, resource: str, namespace: str, name: str, **body: Any) -> None:
    text = json.dumps({"metadata": {"name": name, "resourceVersion": "@"}} | body)
    await store.write([Put(Key(resource, namespace, name), text.replace("@", "").encode(), text.index("@"), None)])


async def role(store: MemoryStore, name: str, *rules: Rule, namespace: str = "ns") -> None:
    resource = ROLES if namespace else CLUSTER_ROLES
    await put(store, resource, namespace, name, rules=[rule.to_wire() for rule in rules])


async def bind(
    store: MemoryStore, name: str, subject: dict[str, str], *, kind: str = "Role", namespace: str = "ns"
) -> None:
    resource = BINDINGS if namespace else CLUSTER_BINDINGS
    await put(store, resource, namespace, name, roleRef={"kind": kind, "name": name}, subjects=[subject])


def asking(user: User = JANE, verb: str = "get", resource: str = "pods", **more: Any) -> Attributes:
    more.setdefault("namespace", "ns")
    return Attributes(user=user, verb=verb, resource=resource, **more)


PODS = Rule(("get", "list"), ("",), ("pods",))


async def test_a_binding_counts_for_the_very_next_question(store: MemoryStore, authorization: Authorization) -> None:
    assert authorization.refuse(asking()) == ""
    await role(store, "reader", PODS)
    assert authorization.refuse(asking()) == ""
    await bind(store, "reader", {"kind": "User", "name": "jane"})
    assert authorization.decide(asking()) == (
        True,
        'RBAC: allowed by RoleBinding "reader/ns" of Role "reader" to User "jane"',
    )
    assert authorization.refuse(asking(namespace="other")) == ""
    assert authorization.refuse(asking(verb="delete")) == ""
    await store.write([Remove(Key(BINDINGS, "ns", "reader"), b"", 0, None)])
    assert authorization.refuse(asking()) == ""


async def test_a_missing_role_is_said(store: MemoryStore, authorization: Authorization) -> None:
    await bind(store, "gone", {"kind": "User", "name": "jane"}, kind="ClusterRole")
    assert authorization.refuse(asking()) == 'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'


async def test_groups_and_service_accounts_are_subjects(store: MemoryStore, authorization: Authorization) -> None:
    await role(store, "reader", PODS, namespace="")
    await bind(store, "reader", {"kind": "Group", "name": "devs"}, kind="ClusterRole", namespace="")
    assert authorization.decide(asking(User("x", ("devs",)), namespace="any"))[1] == (
        'RBAC: allowed by ClusterRoleBinding "reader" of ClusterRole "reader" to Group "devs"'
    )
    await bind(store, "reader", {"kind": "ServiceAccount", "name": "robot", "namespace": "ns"}, kind="ClusterRole")
    robot = User("system:serviceaccount:ns:robot")
    assert authorization.decide(asking(robot))[0]
    assert not authorization.decide(asking(robot, namespace="other"))[0]


async def test_being_asked_rarely_does_not_miss_changes(store: MemoryStore, authorization: Authorization) -> None:
    await role(store, "reader", PODS)
    await bind(store, "reader", {"kind": "User", "name": "jane"})
    for number in range(40):  # twice what the window holds
        await role(store, f"filler-{number}", PODS)
    assert authorization.decide(asking())[0]
    await store.write([Remove(Key(BINDINGS, "ns", "reader"), b"", 0, None)])
    assert not authorization.decide(asking())[0]


@pytest.mark.parametrize(
    ("rule", "asked", "allowed"),
    [
        (Rule(("*",), ("*",), ("*",)), asking(resource="pods", subresource="log", verb="x"), True),
        (Rule(("get",), ("",), ("pods",)), asking(resource="pods", subresource="log"), False),
        (Rule(("get",), ("",), ("pods/log",)), asking(resource="pods", subresource="log"), True),
        (Rule(("get",), ("",), ("*/scale",)), asking(resource="things", subresource="scale"), True),
        (Rule(("get",), ("",), ("*/scale",)), asking(resource="things"), False),
        (Rule(("get",), ("",), ("pods",), ("a",)), asking(name="a"), True),
        (Rule(("get",), ("",), ("pods",), ("a",)), asking(name="b"), False),
        (Rule(("get",), ("",), ("pods",), ("a",)), asking(), False),
        (Rule(("get",), ("apps",), ("pods",)), asking(), False),
        (Rule(("get",), urls=("/api/*",)), Attributes(user=JANE, verb="get", path="/api/v1"), True),
        (Rule(("get",), urls=("/api",)), Attributes(user=JANE, verb="get", path="/api/v1"), False),
        (Rule(("get",), urls=("*",)), Attributes(user=JANE, verb="get", path="/metrics"), True),
        (Rule(("*",), ("*",), ("*",)), Attributes(user=JANE, verb="get", path="/metrics"), False),
    ],
)
def test_what_a_rule_allows(rule: Rule, asked: Attributes, allowed: bool) -> None:
    assert rule.allows(asked) is allowed


def test_what_is_missing_is_told_compactly_and_in_order() -> None:
    wanted = [
        Rule(("get", "delete"), ("",), ("secrets", "pods"), ("x",)),
        Rule(("list",), ("apps",), ("deployments",)),
        Rule(("get",), urls=("/metrics",)),
    ]
    assert [str(rule) for rule in uncovered([PODS], wanted)] == [
        '{APIGroups:[""], Resources:["pods"], ResourceNames:["x"], Verbs:["delete"]}',
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["x"], Verbs:["get" "delete"]}',
        '{APIGroups:["apps"], Resources:["deployments"], Verbs:["list"]}',
        '{NonResourceURLs:["/metrics"], Verbs:["get"]}',
    ]
    assert not uncovered([Rule(("*",), ("*",), ("*",)), Rule(("*",), urls=("*",))], wanted)


def test_the_default_roles_hold_together() -> None:
    roles = {one.metadata.name: one for one in default_cluster_roles()}
    names = {rule for one in parse(policy.CLUSTER_ROLES) for rule in one.rules}
    assert len(names) > 60
    assert {binding.role_ref.name for binding in default_cluster_bindings()} <= set(roles)
    for name in ("admin", "edit", "view"):
        assert roles[name].rules == aggregated(roles[name], roles.values())
    assert all(rule in (roles["edit"].rules or ()) for rule in roles["view"].rules or ())
    assert all(rule in (roles["admin"].rules or ()) for rule in roles["edit"].rules or ())


NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))


async def test_a_node_reads_what_its_pods_need(store: MemoryStore, authorization: Authorization) -> None:
    spec = {
        "nodeName": "n1",
        "containers": [{"envFrom": [{"configMapRef": {"name": "c1"}}]}],
        "volumes": [{"name": "v", "secret": {"secretName": "s1"}}],
    }
    assert authorization.refuse(asking(NODE, resource="secrets", name="s1")) == (
        "no relationship found between node 'n1' and this object"
    )
    await put(store, "/pods", "ns", "p", spec=spec)
    assert authorization.refuse(asking(NODE, resource="secrets", name="s1")) is None
    assert authorization.refuse(asking(NODE, resource="configmaps", name="c1")) is None
    assert authorization.refuse(asking(NODE, resource="serviceaccounts", name="default")) is None
    assert authorization.refuse(asking(NODE, resource="secrets", name="s2")) is not None
    assert authorization.refuse(asking(NODE, resource="secrets", name="s1", namespace="other")) is not None
    assert authorization.refuse(asking(NODE, resource="secrets", verb="list")) == "No Object name found"
    assert authorization.refuse(asking(NODE, resource="secrets", name="s1", verb="update")) == (
        "can only read resources of this type"
    )
    assert authorization.refuse(asking(NODE, resource="services", verb="list")) is None
    await store.write([Remove(Key("/pods", "ns", "p"), b"", 0, None)])
    assert authorization.refuse(asking(NODE, resource="secrets", name="s1")) is not None


@pytest.mark.parametrize("verb", ["get", "list", "watch"])
async def test_a_node_reads_and_follows_its_pods_claims_and_their_volumes_by_name(
    store: MemoryStore, authorization: Authorization, verb: str
) -> None:
    def refused(resource: str, name: str, as_verb: str = verb) -> str | None:
        namespace = "ns" if resource == "persistentvolumeclaims" else ""
        return authorization.refuse(asking(NODE, as_verb, resource, name=name, namespace=namespace))

    await put(store, "/persistentvolumeclaims", "ns", "c1", spec={"volumeName": "v1"})
    assert refused("persistentvolumes", "v1") == "no relationship found between node 'n1' and this object"
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "c1"}}
    await put(store, "/pods", "ns", "p", spec={"nodeName": "n1", "containers": [], "volumes": [volume]})
    assert refused("persistentvolumeclaims", "c1") is None
    assert refused("persistentvolumes", "v1") is None
    for resource, other in (("persistentvolumeclaims", "c2"), ("persistentvolumes", "v2")):
        assert refused(resource, other) is not None
        assert refused(resource, "") is not None, "never a whole kind"
        assert refused(resource, other, "delete") == "can only get individual resources of this type"


async def test_a_node_sees_its_own_pods_lease_and_object(authorization: Authorization) -> None:
    own = "spec.nodeName=n1"
    assert authorization.refuse(asking(NODE, verb="watch", field_selector=own)) is None
    assert authorization.refuse(asking(NODE, verb="watch")) is not None
    lease = {"group": "coordination.k8s.io", "resource": "leases", "verb": "update", "namespace": "kube-node-lease"}
    assert authorization.refuse(asking(NODE, name="n1", **lease)) is None
    assert authorization.refuse(asking(NODE, name="n2", **lease)) is not None
    assert authorization.refuse(asking(NODE, resource="nodes", name="n1", namespace="")) is None
    assert authorization.refuse(asking(NODE, resource="nodes", name="n2", namespace="")) is not None


def refusal(asked: Attributes, reason: str) -> ApiError:
    return Forbidden(f"{asked.verb} {asked.resource} {asked.name}")


def heads(**headers: str) -> Request:
    return Request("GET", "/", headers=tuple((name.replace("_", "-"), value) for name, value in headers.items()))


async def test_masters_act_as_anybody(authorization: Authorization) -> None:
    impersonation = Impersonation(authorization, refusal)
    root = asking(User("root", ("system:masters",)))
    as_jane = impersonation.act_as(heads(impersonate_user="jane"), root)
    assert as_jane == User("jane", ("system:authenticated",))
    account = impersonation.act_as(heads(impersonate_user="system:serviceaccount:ns:robot"), root)
    assert account.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    grouped = impersonation.act_as(
        Request(
            "GET", "/", headers=(("impersonate-user", "x"), ("impersonate-group", "a"), ("impersonate-group", "b"))
        ),
        root,
    )
    assert grouped.groups == ("a", "b", "system:authenticated")
    extra = impersonation.act_as(heads(impersonate_user="x", impersonate_extra_scopes="view"), root)
    assert extra.extra == {"scopes": ("view",)}
    nobody = impersonation.act_as(heads(impersonate_user="system:anonymous"), root)
    assert nobody.groups == ("system:unauthenticated",)
    assert impersonation.act_as(heads(), root) is root.user
    with pytest.raises(BadRequest, match="without impersonating a user name"):
        impersonation.act_as(heads(impersonate_group="dev"), root)


async def test_acting_as_others_takes_the_right(store: MemoryStore, authorization: Authorization) -> None:
    impersonation = Impersonation(authorization, refusal)
    with pytest.raises(Forbidden, match="impersonate-on:user-info:get pods"):
        impersonation.act_as(heads(impersonate_user="bob"), asking())
    await role(store, "act", Rule(("impersonate",), ("",), ("serviceaccounts",), ("robot",)))
    await bind(store, "act", {"kind": "User", "name": "jane"})
    robot = impersonation.act_as(heads(impersonate_user="system:serviceaccount:ns:robot"), asking())
    assert robot.name == "system:serviceaccount:ns:robot"
    with pytest.raises(Forbidden, match="impersonate users bob"):  # the old way worked last, so it is told first
        impersonation.act_as(heads(impersonate_user="bob"), asking())


async def test_constrained_modes_allow_without_the_old_right(store: MemoryStore, authorization: Authorization) -> None:
    impersonation = Impersonation(authorization, refusal)
    await role(
        store,
        "act",
        Rule(("impersonate-on:user-info:get",), ("",), ("pods",)),
        Rule(("impersonate:user-info",), ("authentication.k8s.io",), ("users", "groups")),
        namespace="",
    )
    await bind(store, "act", {"kind": "User", "name": "jane"}, kind="ClusterRole", namespace="")
    assert impersonation.act_as(heads(impersonate_user="bob"), asking()).name == "bob"
    with pytest.raises(Forbidden):
        impersonation.act_as(heads(impersonate_user="bob"), asking(verb="delete"))
    with pytest.raises(Forbidden):
        impersonation.act_as(heads(impersonate_user="bob", impersonate_group="system:masters"), asking())
