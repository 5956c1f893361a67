"""Default roles in a live server: made once, mended when torn, aggregated as they change; and nobody escalates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from edgekube.api.meta import ObjectMeta
from edgekube.client.local import LocalClient
from edgekube.clock import SeededClock
from edgekube.errors import BadRequest, Forbidden, Invalid, NotFound
from edgekube.kinds.core import configmap, node, pod, secret, serviceaccount
from edgekube.kinds.rbac import clusterrole, clusterrolebinding, role, rolebinding
from edgekube.kinds.rbac.clusterrole import ClusterRole, PolicyRule
from edgekube.kinds.rbac.clusterrolebinding import RoleRef, Subject
from edgekube.kinds.rbac.rolebinding import RoleBinding
from edgekube.server.admission import catalog
from edgekube.server.apiserver import ApiServer, Settings
from edgekube.server.auth.assembly import Auth, open_auth
from edgekube.server.auth.bootstrap import AUTOUPDATE, default_cluster_roles, keep_aggregated, put_in_place
from edgekube.server.auth.token_secrets import TYPE, keep_token_secrets
from edgekube.server.context import LOOPBACK, User
from edgekube.store.memory import MemoryStore

GROUP = "rbac.authorization.k8s.io"
JANE = User("jane", ("system:authenticated",))


class Cluster:
    """A server with default roles, and clients of it."""

    def __init__(self, api: ApiServer, auth: Auth) -> None:
        self.api, self.auth = api, auth
        self.root = self.client(LOOPBACK)

    def client(self, user: User) -> LocalClient:
        return LocalClient(self.api.verbs, user, manager="tester")

    async def allow(self, name: str, *rules: PolicyRule, to: str = "jane") -> None:
        """A role in `default`, bound to a user."""
        made = role.Role(metadata=ObjectMeta(name=name, namespace="default"), rules=list(rules))
        await self.root.create(role.KIND, made)
        await self.root.create(rolebinding.KIND, binding(name, name, to=to))


@pytest.fixture(scope="module")
def keys() -> tuple[bytes, bytes]:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    return b"", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
async def cluster(keys: tuple[bytes, bytes]) -> AsyncIterator[Cluster]:
    store, clock, settings = MemoryStore(), SeededClock(), Settings()
    async with open_auth(store, clock, client_ca=keys[0], signing_key=keys[1]) as auth:
        api = ApiServer(
            store,
            authenticator=auth.authentication,
            authorizer=auth.authorization,
            clock=clock,
            settings=settings,
            special=auth.special,
            admission=[*catalog.built_in(clock, settings), *auth.steps],
        )
        await api.bootstrap()
        made = Cluster(api, auth)
        await put_in_place(made.root)
        yield made


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> PolicyRule:
    return PolicyRule(
        verbs=verbs.split(), api_groups=[group], resources=resources.split(), resource_names=names.split()
    )


def binding(name: str, role_name: str, *, kind: str = "Role", to: str = "bob") -> RoleBinding:
    return RoleBinding(
        metadata=ObjectMeta(name=name, namespace="default"),
        role_ref=RoleRef(api_group=GROUP, kind=kind, name=role_name),
        subjects=[Subject(kind="User", api_group=GROUP, name=to)],
    )


async def test_doing_it_twice_changes_nothing(cluster: Cluster) -> None:
    before = cluster.api.registry.store.revision
    await put_in_place(cluster.root)
    assert cluster.api.registry.store.revision == before


async def test_what_was_torn_out_comes_back_and_what_was_added_stays(cluster: Cluster) -> None:
    found = await cluster.root.get(clusterrole.KIND, "system:discovery")
    extra = PolicyRule(verbs=["get"], non_resource_urls=["/extra"])
    await cluster.root.update(clusterrole.KIND, replace(found, rules=[extra]))
    await cluster.root.delete(clusterrolebinding.KIND, "system:basic-user")
    bound = await cluster.root.get(clusterrolebinding.KIND, "system:discovery")
    await cluster.root.update(clusterrolebinding.KIND, replace(bound, subjects=[]))
    await put_in_place(cluster.root)
    mended = await cluster.root.get(clusterrole.KIND, "system:discovery")
    assert mended.rules == [extra, *(found.rules or [])]
    assert await cluster.root.get(clusterrolebinding.KIND, "system:basic-user")
    again = await cluster.root.get(clusterrolebinding.KIND, "system:discovery")
    assert [subject.name for subject in again.subjects] == ["system:authenticated"]


async def test_a_binding_turned_to_another_role_is_made_anew(cluster: Cluster) -> None:
    bound = await cluster.root.get(clusterrolebinding.KIND, "system:discovery")
    await cluster.root.delete(clusterrolebinding.KIND, "system:discovery")
    metadata = replace(bound.metadata, resource_version="", uid="")
    other = RoleRef(api_group=GROUP, kind="ClusterRole", name="view")
    await cluster.root.create(clusterrolebinding.KIND, replace(bound, metadata=metadata, role_ref=other))
    await put_in_place(cluster.root)
    assert (await cluster.root.get(clusterrolebinding.KIND, "system:discovery")).role_ref.name == "system:discovery"


async def test_a_role_without_autoupdate_is_left_alone(cluster: Cluster) -> None:
    found = await cluster.root.get(clusterrole.KIND, "system:discovery")
    annotations = {**found.metadata.annotations, AUTOUPDATE: "false"}
    await cluster.root.update(
        clusterrole.KIND, replace(found, rules=[], metadata=replace(found.metadata, annotations=annotations))
    )
    await put_in_place(cluster.root)
    assert not (await cluster.root.get(clusterrole.KIND, "system:discovery")).rules


async def test_roles_that_gather_follow_what_they_gather(cluster: Cluster, autojump_clock: Any) -> None:
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    widgets = ClusterRole(
        metadata=ObjectMeta(name="widgets", labels=label), rules=[rule("get", "widgets", group="example.com")]
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_aggregated, cluster.root)
        await cluster.root.create(clusterrole.KIND, widgets)
        await trio.sleep(10)
        for name in ("view", "edit", "admin"):
            assert widgets.rules[0] in ((await cluster.root.get(clusterrole.KIND, name)).rules or [])  # type: ignore[index]
        await cluster.root.delete(clusterrole.KIND, "widgets")
        await trio.sleep(10)
        defaults = {one.metadata.name: one.rules for one in default_cluster_roles()}
        for name in ("view", "edit", "admin"):
            assert (await cluster.root.get(clusterrole.KIND, name)).rules == defaults[name]
        nursery.cancel_scope.cancel()


async def test_nobody_gives_what_they_do_not_hold(cluster: Cluster) -> None:
    await cluster.allow("keeper", rule("create update", "roles rolebindings", group=GROUP), rule("get", "pods"))
    jane = cluster.client(JANE)

    def wanting(name: str, *rules: PolicyRule) -> role.Role:
        return role.Role(metadata=ObjectMeta(name=name, namespace="default"), rules=list(rules))

    made = await jane.create(role.KIND, wanting("fine", rule("get", "pods")))
    with pytest.raises(Forbidden) as caught:
        await jane.create(role.KIND, wanting("evil", rule("get", "secrets")))
    assert caught.value.message == (
        'roles.rbac.authorization.k8s.io "evil" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting '
        'to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    with pytest.raises(Forbidden):
        await jane.update(role.KIND, replace(made, rules=[rule("*", "*", group="*")]))
    with pytest.raises(Forbidden):
        await jane.create(rolebinding.KIND, binding("b", "admin", kind="ClusterRole"))
    with pytest.raises(NotFound) as missing:
        await jane.create(rolebinding.KIND, binding("b", "nosuch"))
    assert missing.value.name == "nosuch"
    await jane.create(rolebinding.KIND, binding("b", "fine"))
    await cluster.allow("binder", rule("bind", "clusterroles", group=GROUP, names="admin"))
    await jane.create(rolebinding.KIND, binding("c", "admin", kind="ClusterRole"))
    await cluster.allow("escalator", rule("escalate", "roles", group=GROUP))
    await jane.create(role.KIND, wanting("evil", rule("*", "*", group="*")))


async def ask(client: LocalClient, what: str, group: str, spec: dict[str, Any], path: str = "") -> dict[str, Any]:
    body = {"apiVersion": f"{group}/v1", "kind": what, "spec": spec}
    return await client.call("POST", path or f"/apis/{group}/v1/{what.lower()}s", body)


async def test_access_is_reviewed(cluster: Cluster) -> None:
    await cluster.allow("reader", rule("get", "pods"))
    about = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}, "user": "jane"}
    answer = await ask(cluster.root, "SubjectAccessReview", "authorization.k8s.io", about)
    assert answer["status"] == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "reader/default" of Role "reader" to User "jane"',
    }
    own = {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "default"}}
    answer = await ask(cluster.client(JANE), "SelfSubjectAccessReview", "authorization.k8s.io", own)
    assert answer["status"] == {"allowed": False}
    plain = {"nonResourceAttributes": {"verb": "get", "path": "/api"}}
    answer = await ask(cluster.client(JANE), "SelfSubjectAccessReview", "authorization.k8s.io", plain)
    assert answer["status"]["allowed"]
    for bad in ({}, {"user": "x"}, {**about, **plain}, {**own}):
        with pytest.raises(Invalid):
            await ask(cluster.root, "SubjectAccessReview", "authorization.k8s.io", bad)
    path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    answer = await ask(cluster.root, "LocalSubjectAccessReview", "authorization.k8s.io", about, path)
    assert answer["status"]["allowed"]
    elsewhere = {**about, "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "kube-system"}}
    with pytest.raises(Invalid):
        await ask(cluster.root, "LocalSubjectAccessReview", "authorization.k8s.io", elsewhere, path)


async def test_rules_identity_and_tokens_are_reviewed(cluster: Cluster) -> None:
    await cluster.allow("reader", rule("get", "pods"))
    jane = cluster.client(JANE)
    answer = await ask(jane, "SelfSubjectRulesReview", "authorization.k8s.io", {"namespace": "default"})
    assert {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]} in answer["status"]["resourceRules"]
    with pytest.raises(BadRequest):
        await ask(jane, "SelfSubjectRulesReview", "authorization.k8s.io", {})
    who = await ask(jane, "SelfSubjectReview", "authentication.k8s.io", {})
    assert who["status"]["userInfo"] == {"username": "jane", "groups": ["system:authenticated"]}
    account = serviceaccount.ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default"))
    await cluster.root.create(serviceaccount.KIND, account)
    path = "/api/v1/namespaces/default/serviceaccounts/robot/token"
    made = await ask(cluster.root, "TokenRequest", "authentication.k8s.io", {}, path)
    token = made["status"]["token"]
    seen = await ask(cluster.root, "TokenReview", "authentication.k8s.io", {"token": token})
    assert seen["status"]["authenticated"]
    assert seen["status"]["user"]["username"] == "system:serviceaccount:default:robot"
    unknown = await ask(cluster.root, "TokenReview", "authentication.k8s.io", {"token": "abc"})
    assert unknown["status"] == {"user": {}, "error": "invalid bearer token"}
    await cluster.root.delete(serviceaccount.KIND, "robot", "default")
    assert not (await ask(cluster.root, "TokenReview", "authentication.k8s.io", {"token": token}))["status"].get(
        "authenticated"
    )


async def test_an_ordinary_user_is_told_what_is_missing(cluster: Cluster) -> None:
    with pytest.raises(Forbidden) as caught:
        await cluster.client(JANE).list(configmap.KIND, "default")
    assert caught.value.message == (
        'configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default"'
    )


NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))


def labelled(name: str, **labels: str) -> node.Node:
    return node.Node(
        metadata=ObjectMeta(name=name, labels={key.replace("__", "/"): value for key, value in labels.items()})
    )


async def test_a_node_writes_only_its_own(cluster: Cluster) -> None:
    own = cluster.client(NODE)
    for refused in (labelled("n2"), labelled("n1", **{"node-role.kubernetes.io__admin": "x"})):
        with pytest.raises(Forbidden):
            await own.create(node.KIND, refused)
    fine = {"kubernetes.io__hostname": "n1", "example.com__rack": "r1", "node.kubernetes.io__kind": "x"}
    made = await own.create(node.KIND, labelled("n1", **fine))
    labels = {**made.metadata.labels, "node-restriction.kubernetes.io/pci": "no"}
    steered = replace(made, metadata=replace(made.metadata, labels=labels))
    with pytest.raises(Forbidden, match=r"is not allowed to modify labels: node-restriction\.kubernetes\.io/pci"):
        await own.update(node.KIND, steered)
    with pytest.raises(Forbidden, match="taints"):
        await own.update(node.KIND, replace(made, spec=replace(made.spec, taints=[])))
    spec = {"nodeName": "n1", "serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]}
    account = serviceaccount.ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default"))
    await cluster.root.create(serviceaccount.KIND, account)
    pod_document = {"metadata": {"name": "p", "namespace": "default"}, "spec": spec}
    bound = await cluster.root.create(pod.KIND, pod.KIND.from_dict(pod_document))
    path = "/api/v1/namespaces/default/serviceaccounts/robot/token"
    reference = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": bound.metadata.uid}
    made_token = await ask(own, "TokenRequest", "authentication.k8s.io", {"boundObjectRef": reference}, path)
    assert made_token["status"]["token"]
    for bad in ({}, {"boundObjectRef": reference | {"uid": ""}}, {"boundObjectRef": reference | {"uid": "x"}}):
        with pytest.raises(Forbidden):
            await ask(own, "TokenRequest", "authentication.k8s.io", bad, path)
    other = cluster.client(User("system:node:n2", NODE.groups))
    with pytest.raises(Forbidden):
        await ask(other, "TokenRequest", "authentication.k8s.io", {"boundObjectRef": reference}, path)
    status = replace(bound, status=replace(bound.status, phase="Running"))
    with pytest.raises(Forbidden, match="can only update pod status"):
        await other.update(pod.KIND, status, subresource="status")
    assert (await own.update(pod.KIND, status, subresource="status")).status.phase == "Running"
    with pytest.raises(Forbidden):
        await other.delete(pod.KIND, "p", "default")
    with pytest.raises(Forbidden, match="mirror"):
        await own.create(
            pod.KIND, pod.KIND.from_dict({**pod_document, "metadata": {"name": "q", "namespace": "default"}})
        )
    await own.delete(pod.KIND, "p", "default", grace_s=0)


async def test_a_token_secret_is_filled_works_and_goes_with_its_account(cluster: Cluster, autojump_clock: Any) -> None:
    metadata = ObjectMeta(
        name="robot-token", namespace="default", annotations={"kubernetes.io/service-account.name": "robot"}
    )
    account = serviceaccount.ServiceAccount(metadata=ObjectMeta(name="robot", namespace="default"))
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_token_secrets, cluster.root, cluster.auth.tokens, b"PEM")
        await cluster.root.create(serviceaccount.KIND, account)
        await cluster.root.create(secret.KIND, secret.Secret(metadata=metadata, type=TYPE))
        await trio.sleep(5)
        filled = await cluster.root.get(secret.KIND, "robot-token", "default")
        assert (filled.data["ca.crt"], filled.data["namespace"]) == (b"PEM", b"default")
        token = filled.data["token"].decode()
        user = await cluster.auth.authentication.user_of_token(token)
        assert user is not None
        assert user.name == "system:serviceaccount:default:robot"
        await cluster.root.update(secret.KIND, replace(filled, data={}))
        await trio.sleep(5)
        assert (await cluster.root.get(secret.KIND, "robot-token", "default")).data["token"]
        await cluster.root.delete(serviceaccount.KIND, "robot", "default")
        await trio.sleep(5)
        with pytest.raises(NotFound):
            await cluster.root.get(secret.KIND, "robot-token", "default")
        assert await cluster.auth.authentication.user_of_token(token) is None
        nursery.cancel_scope.cancel()
