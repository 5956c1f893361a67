"""The server's side of joining: what new machines are told, how certificates are signed, and how a node is put out again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from edgekube.api.certificates import KEYS_NAME, KEYS_NAMESPACE, NODE_SERVING
from edgekube.app.config import ServerConfig
from edgekube.app.pki import LEAF_DAYS, Pki
from edgekube.client.kubeconfig import Access, render
from edgekube.client.local import LocalClient
from edgekube.clock import TrustedClock
from edgekube.errors import NotFound
from edgekube.kinds.core import configmap
from edgekube.kinds.core import node as node_kind
from edgekube.net.listener import OpenConnections
from edgekube.server.apiserver import ApiServer
from edgekube.server.auth.assembly import Auth
from edgekube.server.auth.nodekeys import KEY as NODE_KEYS
from edgekube.server.context import LOOPBACK
from edgekube.server.joining import Pages
from edgekube.store.interface import Compacted, Store

LOG = logging.getLogger("edgekube.joining")
INFO_NAMESPACE, INFO_NAME = "kube-public", "cluster-info"
DAY_S = 24 * 3600.0
LOOK_S = 600.0  # for certificates that expired


def pages(config: ServerConfig, pki: Pki, clock: TrustedClock, auth: Auth, api: ApiServer) -> Pages:
    """What machines ask before they are nodes, and when they leave."""

    def sign(request: bytes, usages: Sequence[str]) -> bytes:
        return pki.sign_request(request, "client-ca", days=LEAF_DAYS, usages=usages)

    client = LocalClient(api.verbs, LOOPBACK, manager="kube-apiserver")

    async def forget(node: str) -> None:
        try:
            await client.delete(node_kind.KIND, node)
        except NotFound:
            pass  # it never registered, or somebody was quicker

    async def shut_out(node: str) -> None:
        await client.patch(configmap.KIND, KEYS_NAME, KEYS_NAMESPACE, {"data": {node: None}})

    return Pages(
        authenticator=auth.authentication,
        authority=pki.certificate("server-ca").read_bytes,
        keys=auth.keys.of,
        sign=sign,
        settings=agent_settings(config),
        now=clock.now,
        certain=clock.certain,
        forget=forget,
        shut_out=shut_out,
    )


def agent_settings(config: ServerConfig) -> dict[str, str]:
    """What every node of the cluster must know, by the names of the server's own options."""
    return {
        "cluster-cidr": str(config.cluster_cidr),
        "service-cidr": str(config.service_cidr),
        "cluster-dns": config.dns_ip,
        "cluster-domain": config.cluster_domain,
        "network-backend": config.network_backend,
        "agent-heartbeat": f"{config.agent_heartbeat:g}",
    }


def signing(pki: Pki) -> Callable[[bytes, str, float, Sequence[str]], bytes]:
    """(request, signer, seconds, usages) -> certificate, as the signing controller wants it."""

    def sign(request: bytes, signer: str, seconds: float, usages: Sequence[str]) -> bytes:
        authority = "server-ca" if signer == NODE_SERVING else "client-ca"
        return pki.sign_request(request, authority, days=seconds / DAY_S, usages=usages)

    return sign


async def publish(api: ApiServer, pki: Pki, server: str) -> None:
    """kube-public/cluster-info: where this cluster is and what its CA is, for who has nothing but a token. Signatures are kept."""
    client = LocalClient(api.verbs, LOOPBACK, manager="kube-apiserver")
    shown = render(Access(server=server, ca=pki.certificate("server-ca").read_bytes()), "edgekube")
    try:
        found = await client.get(configmap.KIND, INFO_NAME, INFO_NAMESPACE)
    except NotFound:
        made = configmap.ConfigMap(data={"kubeconfig": shown})
        made.metadata.name = INFO_NAME
        await client.create(configmap.KIND, made, INFO_NAMESPACE)
        return
    if found.data.get("kubeconfig") != shown:
        await client.patch(configmap.KIND, INFO_NAME, INFO_NAMESPACE, {"data": {"kubeconfig": shown}})


async def end_what_is_over(store: Store, opened: OpenConnections, auth: Auth) -> None:
    """A node that lost its key loses its connections too, tunnel and watches included; so do certificates that expired. Never ends."""
    while True:
        with trio.move_on_after(LOOK_S):
            try:
                async with store.watch(NODE_KEYS.resource, after=store.revision) as watch:
                    async for change in watch:
                        if change.row.key == NODE_KEYS:
                            break
            except Compacted:
                pass
        if ended := opened.end(auth.authentication.is_over):
            LOG.info("%d connections were ended: what they were let in with is worth nothing any more", ended)
