"""What a server has for its agents' sake: their tunnels, the figures of nodes, and the count of what goes over each one's link."""

from __future__ import annotations

from collections.abc import Iterable

from edgekube.net.exchange import Handler
from edgekube.net.listener import OpenConnections
from edgekube.net.nodegate import NodeGate
from edgekube.net.traffic import PeerTraffic
from edgekube.server.apiserver import ApiServer
from edgekube.server.auth.assembly import Auth
from edgekube.server.metrics import Family, Sample
from edgekube.server.metrics_api import MetricsApi
from edgekube.server.tunnels import Leases, Tunnels
from edgekube.wire.tunnel import PATH


async def let_agents_in(
    api: ApiServer, auth: Auth, gates: dict[str, NodeGate], handler: Handler, opened: OpenConnections, *, own: str
) -> None:
    """`handler` answers what agents ask inside their tunnels, as it does over HTTPS. `own` is the node in this process, "" for none."""
    figures = MetricsApi(api.registry, gates)
    if own:
        await figures.appear()
    renew = Leases(api.registry, api.registry.clock).renew
    tunnels = Tunnels(gates, renew, handler, own=own, connected=figures.appear)
    api.routes.taken_over[PATH] = tunnels.handle
    api.metrics.gauge("edgekube_tunnels", "Agents that are connected.", lambda: float(len(tunnels)))
    traffic = PeerTraffic(opened, auth.authentication.node_of)

    def samples() -> Iterable[Sample]:
        for node, bytes_ in sorted(traffic.sums().items()):
            yield Sample((("node", node), ("direction", "received")), bytes_.received)
            yield Sample((("node", node), ("direction", "sent")), bytes_.sent)

    words = "Bytes over the connections of each node, TCP and IP headers included."
    api.metrics.add(Family("edgekube_node_link_bytes_total", "counter", words, samples))
