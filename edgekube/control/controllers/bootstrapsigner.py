"""kube-public/cluster-info: the cluster's address and CA, signed with every token that is for signing, so that who holds a token
can tell it is genuine. Nothing is signed where there is no such ConfigMap.

Source: k8s.io/kubernetes pkg/controller/bootstrap/bootstrapsigner.go, k8s.io/cluster-bootstrap token/jws (detached HS256).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from edgekube.client.interface import Client
from edgekube.control import tokens
from edgekube.control.config import Config
from edgekube.errors import NotFound
from edgekube.kinds.core import configmap
from edgekube.kinds.core import secret as secret_kind
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.kinds.core.secret import Secret
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, path_of
from edgekube.reconcile.plan import NOTHING, Call, Plan

NAMESPACE, NAME = "kube-public", "cluster-info"
SIGNED, SIGNATURE = "kubeconfig", "jws-kubeconfig-"
KEY = Key(NAMESPACE, NAME)


@dataclass(frozen=True, slots=True)
class Seen:
    """Secrets by token id; the ConfigMap is filled in by `inquire`."""

    secrets: Mapping[str, str]
    info: ConfigMap | None = None


def reconcile(seen: Seen) -> Plan:
    """Every signature that should be there, and no other."""
    info = seen.info
    if info is None or SIGNED not in info.data:
        return NOTHING
    kept = {name: value for name, value in info.data.items() if not name.startswith(SIGNATURE)}
    signed = {
        f"{SIGNATURE}{id_}": signature(info.data[SIGNED], id_, secret) for id_, secret in sorted(seen.secrets.items())
    }
    if kept | signed == info.data:
        return NOTHING
    kind, better = configmap.KIND, msgspec.structs.replace(info, data=kept | signed)
    document = kind.to_dict(better) | {"apiVersion": kind.api_version, "kind": kind.name}
    # A request, because the loops' cache of ConfigMaps does not hold this one: none would wait to see it.
    return Plan([Call(method="PUT", path=path_of(kind, NAMESPACE, NAME), body=document)])


def signature(content: str, id_: str, secret: str) -> str:
    """A JSON Web Signature whose payload is left out: header, nothing, HMAC-SHA256."""
    header = _encoded(json.dumps({"alg": "HS256", "kid": id_}, separators=(",", ":")).encode())
    signed = f"{header}.{_encoded(content.encode())}".encode()
    return f"{header}..{_encoded(hmac.digest(secret.encode(), signed, hashlib.sha256))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def observe(caches: Caches, _: Key, now: datetime) -> Seen:
    """Tokens for signing whose time is not over."""
    found: dict[str, str] = {}
    for secret in caches.of(secret_kind.KIND).list(tokens.NAMESPACE):
        id_, held = tokens.text(secret, "token-id"), tokens.text(secret, "token-secret")
        if secret.type != tokens.TYPE or secret.metadata.name != f"{tokens.PREFIX}{id_}" or not held:
            continue
        ends = tokens.expires_at(secret)
        if tokens.text(secret, "usage-bootstrap-signing") == "true" and (ends is None or ends > now):
            found[id_] = held
    return Seen(found)


async def inquire(client: Client, seen: Seen) -> Seen:
    """The ConfigMap as it is now."""
    try:
        return Seen(seen.secrets, await client.get(configmap.KIND, NAME, NAMESPACE))
    except NotFound:
        return seen


def of_secret(_: Caches, item: Secret, __: Secret | None = None) -> Iterable[Key]:
    """A token that came, changed or went."""
    if item.type == tokens.TYPE:
        yield KEY


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="bootstrap-signer-controller",
        watches=(Watch(secret_kind.KIND, of_secret),),
        observe=observe,
        inquire=inquire,
        reconcile=reconcile,
        seeds=(KEY,),
    )
