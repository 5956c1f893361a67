"""What the API server needs to call out and to be called in the name of others: ways into nodes, its certificate as a front
proxy, and the ConfigMap that tells aggregated servers whom to believe.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from edgekube.app.config import ServerConfig
from edgekube.app.pki import Pki
from edgekube.server.aggregation import extension_config
from edgekube.server.apiserver import ApiServer
from edgekube.server.reach import Gates


async def equip(api: ApiServer, config: ServerConfig, pki: Pki, gates: Gates, stack: AsyncExitStack) -> None:
    """Before the first request."""
    api.reach.gates = gates
    stack.push_async_callback(api.reach.aclose)
    api.aggregation.identity = (str(pki.certificate("client-proxy")), str(pki.key("client-proxy")))


async def publish(api: ApiServer, pki: Pki) -> None:
    """Once objects can be written. Raises EdgekubeError."""
    authorities = [pki.certificate(name).read_text() for name in ("client-ca", "request-header-ca")]
    await extension_config.publish(api.registry, *authorities)
