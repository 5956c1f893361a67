"""Whether an aggregated server can be used: its Available condition, with upstream's reasons and words.

`before_asking` is pure; what follows is one request for the discovery document that every such server must have, which is kept
for our own discovery. Source: kube-aggregator pkg/controllers/status/remote/remote_available_controller.go.
"""

from __future__ import annotations

from typing import Any

import msgspec
import trio

from edgekube import errors
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.discovery import endpointslice as slice_kind
from edgekube.server.admission.interface import Cluster
from edgekube.server.aggregation.remotes import Remote, identity_headers
from edgekube.server.context import User
from edgekube.server.reach import SERVICE_LABEL, Reach

CHECK_S = 5.0
AGGREGATOR = User("system:kube-aggregator", ("system:masters",))

Told = tuple[str, str, str]  # status, reason, message
PASSED: Told = ("True", "Passed", "all checks passed")


def before_asking(remote: Remote, cluster: Cluster) -> Told | None:
    """Why it cannot be available, from what is stored; None when it may be."""
    assert remote.to.service is not None
    namespace, name, port = remote.to.service
    service = cluster.find(service_kind.KIND, namespace, name)
    if service is None:
        return "False", "ServiceNotFound", f'service/{name} in "{namespace}" is not present'
    if service.spec.type != "ClusterIP":
        return None
    declared = next((one for one in service.spec.ports if one.port == port), None)
    if declared is None:
        return "False", "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}'
    slices = [one for one in cluster.all(slice_kind.KIND, namespace) if one.metadata.labels.get(SERVICE_LABEL) == name]
    if not slices:
        return "False", "EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"'
    for one in slices:
        ready = any(endpoint.conditions.ready is not False for endpoint in one.endpoints or ())
        if ready and any((at.name or "") == declared.name and at.port for at in one.ports or ()):
            return None
    of = f'endpointslices for service/{name} in "{namespace}"'
    return "False", "MissingEndpoints", f'{of} have no addresses with port name "{declared.name}"'


async def ask(remote: Remote, reach: Reach, cluster: Cluster) -> tuple[Told, dict[str, Any] | None]:
    """(what its condition should say, its discovery document)."""
    url = remote.to.url + remote.path
    try:
        with trio.fail_after(CHECK_S):
            reply = await reach.call(
                cluster,
                remote.to,
                "GET",
                tail=remote.path,
                headers=[("accept", "application/json"), *identity_headers(AGGREGATOR)],
            )
    except errors.ConnectionFailed as problem:
        why = f'Get "{url}": {problem}'
    except trio.TooSlowError:
        why = f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    else:
        if 200 <= reply.status < 300:
            return PASSED, _document(reply.body)
        why = f"bad status from {url}: {reply.status}"
    return ("False", "FailedDiscoveryCheck", f"failing or missing response from {url}: {why}"), None


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return document if isinstance(document, dict) and document.get("kind") == "APIResourceList" else None
