"""CSR approving: a machine with a token becomes a node, a node renews its own certificate and gets one to serve with.

Client certificates as upstream: whoever may `create certificatesigningrequests/nodeclient` (or selfnodeclient) gets them. Ours on
top: a token that is good for one use is spent here, before the approval, on the key that asks; a name that belongs to the server's
own machine, or to a node that is connected this very moment, is refused; and serving certificates are approved when every name in
them is the node's own. Source: k8s.io/kubernetes pkg/controller/certificates/approver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from ipaddress import ip_network
from typing import Any

import msgspec

from edgekube.api import certificates
from edgekube.api.certificates import APPROVED, DENIED, NODE_CLIENT, NODE_SERVING, Asked
from edgekube.client.interface import Client
from edgekube.control import tokens
from edgekube.control.config import Config
from edgekube.errors import NotFound
from edgekube.kinds.certificates import certificatesigningrequest
from edgekube.kinds.certificates.certificatesigningrequest import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
)
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import secret as secret_kind
from edgekube.kinds.core.node import Node
from edgekube.kinds.core.secret import Secret
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Action, Plan, Update

KIND = certificatesigningrequest.KIND
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
AUTOMATIC = "AutoApproved"
SELF_WORDS = "Auto approving self kubelet client certificate after SubjectAccessReview."
CLIENT_WORDS = "Auto approving kubelet client certificate after SubjectAccessReview."
SERVING_WORDS = "Auto approving kubelet serving certificate: all its names are the node's own."


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An undecided request. What must be asked (`allowed`, `token`) is filled in by `inquire`."""

    request: CertificateSigningRequest
    asked: Asked
    now: datetime
    nodes: Sequence[Node] = ()
    server_addresses: tuple[str, ...] = ()
    own_node: str = ""
    connected: bool = False  # the node it names has its tunnel open
    allowed: str = ""  # the words it is approved with
    token: Secret | None = None
    token_missing: bool = False


def reconcile(seen: Seen) -> Plan:
    """Spend the token, then approve; or deny in words; or leave it to a person."""
    request, asked = seen.request, seen.asked
    if not seen.allowed or certificates.problem(asked, request.spec.usages, request.spec.signer_name):
        return NOTHING
    if request.spec.signer_name == NODE_SERVING:
        return Plan([_decided(request, APPROVED, SERVING_WORDS)]) if serves_itself(seen) else NOTHING
    joins = not request.spec.username.startswith(certificates.NODE_USER)
    if joins and (refusal := _refusal(seen)):
        return Plan([_decided(request, DENIED, refusal)])
    actions: list[Action] = []
    if seen.token is not None and (after := tokens.spent(seen.token, asked.node, asked.key, seen.now)) is not None:
        actions.append(Update(kind=secret_kind.KIND, item=after))
    return Plan([*actions, _decided(request, APPROVED, seen.allowed)])


def _refusal(seen: Seen) -> str:
    node = seen.asked.node
    if not node:
        return "the request names no node"
    if node == seen.own_node:
        return f"{node} is the name of the server's own node; choose another with --node-name"
    if seen.token_missing:
        return "the token was revoked"
    if seen.token is not None and (other := tokens.used_by_another(seen.token, seen.asked.key)):
        return f"the token was used already, by {other}; make a fresh one with: edgekube token create"
    if seen.connected:
        return f"a node {node} is connected right now; choose another name with --node-name, or remove that node first"
    return ""


def serves_itself(seen: Seen) -> bool:
    """Whether a serving certificate names only the node that asks: its name, and addresses that are nobody else's."""
    name = seen.request.spec.username.removeprefix(certificates.NODE_USER)
    if seen.asked.common_name != seen.request.spec.username or certificates.NODE_GROUP not in seen.request.spec.groups:
        return False
    own = next((node for node in seen.nodes if node.metadata.name == name), None)
    if own is None:
        return False
    mine = {one.address for one in own.status.addresses}
    others = {one.address for node in seen.nodes if node is not own for one in node.status.addresses}
    others.update(seen.server_addresses)
    if any(address not in mine or address in others for address in seen.asked.addresses):
        return False
    return set(seen.asked.dns) <= {name} and name != seen.own_node


def _decided(request: CertificateSigningRequest, verdict: str, message: str) -> Update:
    reason = AUTOMATIC if verdict == APPROVED else "Refused"
    condition = CertificateSigningRequestCondition(type=verdict, status="True", reason=reason, message=message)
    status = msgspec.structs.replace(request.status, conditions=[*request.status.conditions, condition])
    return Update(kind=KIND, item=msgspec.structs.replace(request, status=status), subresource="approval")


def observe(config: Config, caches: Caches, key: Key, now: datetime) -> Seen | None:
    """Only requests of nodes that nobody has decided."""
    request = caches.of(KIND).get("", key.name)
    if request is None or request.status.certificate or certificates.has_condition(request, APPROVED, DENIED):
        return None
    if request.spec.signer_name not in (NODE_CLIENT, NODE_SERVING):
        return None
    try:
        asked = certificates.read_request(request.spec.request)
    except ValueError:
        return None
    connected = config.connected is not None and config.connected(asked.node)
    return Seen(
        request=request,
        asked=asked,
        now=now,
        nodes=caches.of(node_kind.KIND).list(),
        server_addresses=(*config.api_addresses, str(ip_network(config.service_cidr)[1])),
        own_node=config.own_node,
        connected=connected,
    )


async def inquire(client: Client, seen: Seen) -> Seen:
    """May who asks have this; and the token it came with, as it is now."""
    spec = seen.request.spec
    if spec.signer_name == NODE_SERVING:
        return replace(seen, allowed=SERVING_WORDS)
    itself = spec.username == seen.asked.common_name
    if itself and await _may(client, seen.request, "selfnodeclient"):
        words = SELF_WORDS
    elif await _may(client, seen.request, "nodeclient"):
        words = CLIENT_WORDS
    else:
        return seen
    name = tokens.secret_name(spec.username)
    if not name:
        return replace(seen, allowed=words)
    try:
        token = await client.get(secret_kind.KIND, name, tokens.NAMESPACE)
    except NotFound:
        return replace(seen, allowed=words, token_missing=True)
    return replace(seen, allowed=words, token=token)


async def _may(client: Client, request: CertificateSigningRequest, subresource: str) -> bool:
    spec = request.spec
    wanted = {
        "group": KIND.group,
        "resource": KIND.plural,
        "subresource": subresource,
        "verb": "create",
    }
    body: dict[str, Any] = {
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": {
            "user": spec.username,
            "uid": spec.uid,
            "groups": spec.groups,
            "extra": spec.extra,
            "resourceAttributes": wanted,
        },
    }
    return bool((await client.call("POST", REVIEWS, body)).get("status", {}).get("allowed"))


def of_request(_: Caches, item: CertificateSigningRequest, __: object = None) -> Iterable[Key]:
    """Requests for nodes."""
    if item.spec.signer_name in (NODE_CLIENT, NODE_SERVING):
        yield Key("", item.metadata.name)


def of_node(caches: Caches, item: Node, before: Node | None = None) -> Iterable[Key]:
    """A node whose addresses changed may now get what it asked for."""
    if before is not None and before.status.addresses == item.status.addresses:
        return
    user = certificates.NODE_USER + item.metadata.name
    for request in caches.of(KIND).list():
        if request.spec.username == user and request.spec.signer_name == NODE_SERVING:
            yield Key("", request.metadata.name)


def controller(config: Config) -> Controller[Seen]:
    """The loop: one worker, so that a token is spent once."""
    return Controller(
        name="certificatesigningrequest-approving-controller",
        watches=(Watch(KIND, of_request), Watch(node_kind.KIND, of_node)),
        observe=partial(observe, config),
        inquire=inquire,
        reconcile=reconcile,
    )
