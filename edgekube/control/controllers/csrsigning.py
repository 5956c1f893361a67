"""CSR signing: approved requests to the signers of kubernetes.io get their certificate, or a Failed condition that says why not.

A certificate that lets a node in is only published after the fingerprint of its key is written down as one this node may use:
the server believes no other. A node that renews may go on with the key before; one that joins afresh has only the new one.
Source: k8s.io/kubernetes pkg/controller/certificates/signer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import msgspec

from edgekube.api import certificates
from edgekube.api.certificates import APPROVED, FAILED, KEYS_NAME, KEYS_NAMESPACE, SIGNERS, Asked
from edgekube.api.meta import ObjectMeta
from edgekube.client.interface import Client
from edgekube.control.config import Config
from edgekube.errors import NotFound
from edgekube.kinds.certificates import certificatesigningrequest
from edgekube.kinds.certificates.certificatesigningrequest import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
)
from edgekube.kinds.core import configmap
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, path_of
from edgekube.reconcile.plan import Call, Plan, Update

KIND = certificatesigningrequest.KIND
KEYS_KEPT = 2  # of one node: the one it has, and the one it is changing to


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An approved request without a certificate. `asked` None: it cannot be read; `keys` is filled in by `inquire`."""

    request: CertificateSigningRequest
    asked: Asked | None
    sign: Callable[[bytes, str, float, Sequence[str]], bytes]
    keys: ConfigMap | None = None


def reconcile(seen: Seen) -> Plan:
    """Note the key first, then sign."""
    request, asked = seen.request, seen.asked
    spec = request.spec
    if asked is None:
        return Plan([_failed(request, "the request cannot be read, or is not signed by its own key")])
    if wrong := certificates.problem(asked, spec.usages, spec.signer_name):
        return Plan([_failed(request, wrong)])
    if not asked.node or spec.signer_name == certificates.NODE_SERVING:
        return Plan([_signed(seen)])
    if seen.keys is None:
        metadata = ObjectMeta(name=KEYS_NAME, namespace=KEYS_NAMESPACE)
        return Plan([_written("POST", ConfigMap(metadata=metadata))], look_again_s=0.0)
    held = certificates.keys_of(seen.keys.data, asked.node)
    renews = spec.username == asked.common_name
    wanted = (asked.key, *(key for key in held if renews and key != asked.key))[:KEYS_KEPT]
    if wanted == held:
        return Plan([_signed(seen)])
    data = seen.keys.data | {asked.node: ",".join(wanted)}
    return Plan([_written("PUT", msgspec.structs.replace(seen.keys, data=data)), _signed(seen)])


def _written(method: str, keys: ConfigMap) -> Call:
    """A write of the keys as a request: the loops' cache of ConfigMaps does not hold them, so none would wait to see it."""
    kind = configmap.KIND
    name = KEYS_NAME if method == "PUT" else ""
    document = kind.to_dict(keys) | {"apiVersion": kind.api_version, "kind": kind.name}
    return Call(method=method, path=path_of(kind, KEYS_NAMESPACE, name).rstrip("/"), body=document)


def _signed(seen: Seen) -> Update:
    request, spec = seen.request, seen.request.spec
    made = seen.sign(spec.request, spec.signer_name, certificates.life_s(spec.expiration_seconds), spec.usages)
    status = msgspec.structs.replace(request.status, certificate=made)
    return Update(kind=KIND, item=msgspec.structs.replace(request, status=status), subresource="status")


def _failed(request: CertificateSigningRequest, message: str) -> Update:
    condition = CertificateSigningRequestCondition(
        type=FAILED, status="True", reason="SignerValidationFailure", message=message
    )
    status = msgspec.structs.replace(request.status, conditions=[*request.status.conditions, condition])
    return Update(kind=KIND, item=msgspec.structs.replace(request, status=status), subresource="status")


def observe(config: Config, caches: Caches, key: Key, _: datetime) -> Seen | None:
    """Only what is approved, for one of our signers, and not answered yet."""
    request = caches.of(KIND).get("", key.name)
    if request is None or config.sign is None or request.status.certificate:
        return None
    if not certificates.has_condition(request, APPROVED) or certificates.has_condition(request, FAILED):
        return None
    if request.spec.signer_name not in SIGNERS:
        return None
    asked: Asked | None
    try:
        asked = certificates.read_request(request.spec.request)
    except ValueError:
        asked = None
    return Seen(request=request, asked=asked, sign=config.sign)


async def inquire(client: Client, seen: Seen) -> Seen:
    """The keys nodes have, as they are now: a stale copy would lose somebody's."""
    if seen.asked is None or not seen.asked.node:
        return seen
    try:
        return replace(seen, keys=await client.get(configmap.KIND, KEYS_NAME, KEYS_NAMESPACE))
    except NotFound:
        return seen


def of_request(_: Caches, item: CertificateSigningRequest, __: object = None) -> Iterable[Key]:
    """Requests to our signers."""
    if item.spec.signer_name in SIGNERS:
        yield Key("", item.metadata.name)


def controller(config: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="certificatesigningrequest-signing-controller",
        watches=(Watch(KIND, of_request),),
        observe=partial(observe, config),
        inquire=inquire,
        reconcile=reconcile,
    )
