"""The ConfigMap by which aggregated servers learn whom to believe: kube-system/extension-apiserver-authentication.

Kept as it should be at every start. Source: kubernetes pkg/controlplane/controller/clusterauthenticationtrust.
"""

from __future__ import annotations

import json
from typing import Any

from edgekube import errors
from edgekube.kinds.core import configmap
from edgekube.server.context import LOOPBACK, Context
from edgekube.server.registry import Registry
from edgekube.server.stored import Stored
from edgekube.server.writing import Target

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
FRONT_PROXY = "system:auth-proxy"  # the name in our own client certificate


def content(client_ca: str, request_header_ca: str) -> dict[str, str]:
    """What it holds."""
    return {
        "client-ca-file": client_ca,
        "requestheader-allowed-names": json.dumps([FRONT_PROXY]),
        "requestheader-client-ca-file": request_header_ca,
        "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
        "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
        "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
        "requestheader-username-headers": json.dumps(["X-Remote-User"]),
    }


async def publish(registry: Registry, client_ca: str, request_header_ca: str) -> None:
    """Create it, or put right what differs. Raises EdgekubeError."""
    kind, data = configmap.KIND, content(client_ca, request_header_ca)
    context = Context(user=LOOPBACK, field_manager="kube-apiserver", field_validation="Ignore")
    present = registry.cluster.find(kind, NAMESPACE, NAME)
    if present is None:
        try:
            await registry.create(kind, NAMESPACE, {"metadata": {"name": NAME}, "data": data}, context)
        except errors.AlreadyExists:
            return
    elif any((present.data or {}).get(key) != value for key, value in data.items()):

        async def transform(live: Stored[Any] | None) -> dict[str, Any]:
            assert live is not None
            return {**kind.to_dict(live.item), "data": {**(live.item.data or {}), **data}}

        target = Target(kind=kind, namespace=NAMESPACE, name=NAME)
        await registry.writer.update(target, transform, context, may_create=False)
