"""Services and endpoints to nftables objects: a pure function, no clock, no commands.

The result is data (`Ruleset`): chains by name, map elements, affinity sets. `text` renders all of it for a fresh start,
`difference` only what changed, so that an update of one service does not disturb the affinity of another.
Packet path and names follow upstream's nftables kube-proxy where a person would look for them.

    prerouting, output -> services -> service/<ns>/<name>/<proto>/<port> -> endpoint/... -> dnat
                                   -> external/... (node ports: masquerade unless the traffic policy is Local) -> service/...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgekube.kinds.core.service import Service, ServicePort, ServiceSpec
from edgekube.kinds.discovery.endpointslice import Endpoint, EndpointSlice
from edgekube.network.config import NetworkConfig

MARK = "0x4000"  # upstream's masquerade bit
AFFINITY_S = 10800
NAME_MOST_CHARACTERS = 120

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"


MAPS = {
    "service-ips": "ipv4_addr . inet_proto . inet_service : verdict",
    "service-nodeports": "inet_proto . inet_service : verdict",
    "no-endpoint-services": "ipv4_addr . inet_proto . inet_service : verdict",
    "no-endpoint-nodeports": "inet_proto . inet_service : verdict",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where one endpoint listens."""

    ip: str
    port: int


@dataclass(slots=True)
class Ruleset:
    """Everything inside our table. `maps` holds elements: key text -> verdict text."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    maps: dict[str, dict[str, str]] = field(default_factory=lambda: {name: {} for name in MAPS})
    affinity: dict[str, int] = field(default_factory=dict)  # set name -> timeout in seconds
    udp: dict[tuple[str, int], frozenset[str]] = field(default_factory=dict)  # (ip, port) -> endpoint ips


def chain_name(*parts: str) -> str:
    """A readable chain name; over-long ones end in a hash."""
    name = "/".join(parts)
    if len(name) <= NAME_MOST_CHARACTERS:
        return name
    return f"{name[: NAME_MOST_CHARACTERS - 11]}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def base_chains(config: NetworkConfig) -> dict[str, tuple[str, ...]]:
    """The chains that do not depend on services."""
    pods, services = config.cluster_cidr, config.service_cidr
    dns = config.dns_ip
    return {
        "nat-prerouting": ("type nat hook prerouting priority dstnat; policy accept;", "jump services"),
        "nat-output": ("type nat hook output priority -100; policy accept;", "jump services"),
        "nat-postrouting": (
            "type nat hook postrouting priority srcnat; policy accept;",
            f"meta mark & {MARK} != 0 meta mark set meta mark ^ {MARK} masquerade fully-random",
            f'ip saddr {pods} ip daddr != {pods} oifname != {{ "lo", "{config.bridge}" }} masquerade fully-random',
        ),
        "guard-prerouting": (
            "type filter hook prerouting priority raw; policy accept;",
            # route_localnet is on for node ports on localhost; nothing from outside may use it.
            'iifname != "lo" ip daddr 127.0.0.0/8 ct direction original drop',
        ),
        "filter-input": (
            "type filter hook input priority -110; policy accept;",
            "ct state new jump refuse",
        ),
        "filter-forward": ("type filter hook forward priority -110; policy accept;", "ct state new jump refuse"),
        # After the output hook's address translation: what still carries a service address has no service.
        "filter-output": ("type filter hook output priority filter; policy accept;", "ct state new jump refuse"),
        "refuse": (
            f"ip daddr {dns} return",
            "ip daddr . meta l4proto . th dport vmap @no-endpoint-services",
            "fib daddr type local meta l4proto . th dport vmap @no-endpoint-nodeports",
            f"ip daddr {services} reject",
        ),
        "refuse-packet": ("reject",),
        "services": (
            "ip daddr . meta l4proto . th dport vmap @service-ips",
            "fib daddr type local meta l4proto . th dport vmap @service-nodeports",
        ),
    }


def ruleset(
    config: NetworkConfig, services: Iterable[Service], slices: Iterable[EndpointSlice], zone: str = ""
) -> Ruleset:
    """Everything the proxy wants in its table now. `zone` is the node's, for endpoints that are meant for zones."""
    made = Ruleset(chains=base_chains(config))
    by_service: dict[tuple[str, str], list[EndpointSlice]] = {}
    for piece in slices:
        if piece.address_type == "IPv4" and (name := piece.metadata.labels.get(SERVICE_NAME_LABEL)):
            by_service.setdefault((piece.metadata.namespace, name), []).append(piece)
    for service in sorted(services, key=lambda item: (item.metadata.namespace, item.metadata.name)):
        spec = service.spec
        if spec.type == "ExternalName" or spec.cluster_ip in ("", "None") or ":" in spec.cluster_ip:
            continue
        if spec.cluster_ip == config.dns_ip or PROXY_NAME_LABEL in service.metadata.labels:
            continue
        pieces = by_service.get((service.metadata.namespace, service.metadata.name), [])
        for port in spec.ports:
            _add_port(made, config, service, port, pieces, zone)
    return made


def targets_of(
    pieces: Sequence[EndpointSlice], port: ServicePort, node: str, *, local: bool, zone: str = ""
) -> list[Target]:
    """Where a service port's traffic may go: ready endpoints (those meant for this node or zone, where all say for whom they are),
    else those still serving while they terminate."""
    ready: list[tuple[Endpoint, Target]] = []
    serving: list[tuple[Endpoint, Target]] = []
    for piece in pieces:
        number = next((p.port for p in piece.ports or () if (p.name or "") == port.name and p.port), None)
        if number is None or not _same_protocol(piece, port):
            continue
        for endpoint in piece.endpoints or ():
            if local and endpoint.node_name != node:
                continue
            chosen = ready if _ready(endpoint) else serving if _still_serving(endpoint) else None
            if chosen is not None and endpoint.addresses:
                chosen.append((endpoint, Target(endpoint.addresses[0], number)))
    if not local:
        ready = _near(ready, node, zone)
    found = {target for _, target in ready or serving}
    return sorted(found, key=lambda target: (tuple(map(int, target.ip.split("."))), target.port))


def _near(ready: list[tuple[Endpoint, Target]], node: str, zone: str) -> list[tuple[Endpoint, Target]]:
    """Those meant for this node, else for its zone. All are taken when one of them has no hint, or none is meant for us.
    Source: pkg/proxy/topology.go."""
    hints = [endpoint.hints for endpoint, _ in ready]
    for here, names in (
        (node, [{each.name for each in hint.for_nodes} if hint else set() for hint in hints]),
        (zone, [{each.name for each in hint.for_zones} if hint else set() for hint in hints]),
    ):
        if here and names and all(names) and any(here in meant for meant in names):
            return [each for each, meant in zip(ready, names, strict=True) if here in meant]
    return ready


def _same_protocol(piece: EndpointSlice, port: ServicePort) -> bool:
    return any(
        (p.name or "") == port.name and (p.protocol or "TCP") == (port.protocol or "TCP") for p in piece.ports or ()
    )


def _ready(endpoint: Endpoint) -> bool:
    return endpoint.conditions.ready is not False


def _still_serving(endpoint: Endpoint) -> bool:
    return bool(endpoint.conditions.serving) and bool(endpoint.conditions.terminating)


def _add_port(
    made: Ruleset,
    config: NetworkConfig,
    service: Service,
    port: ServicePort,
    pieces: Sequence[EndpointSlice],
    zone: str,
) -> None:
    """A chain for all endpoints and one for those of this node, each where a policy leads to it; then the ways into them."""
    spec, meta = service.spec, service.metadata
    protocol = (port.protocol or "TCP").lower()
    identity = (meta.namespace, meta.name, protocol, port.name or str(port.port))
    everywhere = targets_of(pieces, port, config.node_name, local=False, zone=zone)
    here = targets_of(pieces, port, config.node_name, local=True)
    affinity = _affinity_s(service)
    inside_local = spec.internal_traffic_policy == "Local"
    outside_local = spec.external_traffic_policy == "Local" and bool(
        _outer_addresses(service) or _node_port(spec, port)
    )
    if everywhere and not (inside_local and not _outer_addresses(service) and not _node_port(spec, port)):
        _add_chain(made, chain_name("service", *identity), everywhere, affinity, identity, protocol)
    if here and (inside_local or outside_local):
        _add_chain(made, chain_name("service-local", *identity), here, affinity, identity, protocol)

    inside = here if inside_local else everywhere
    key = f"{spec.cluster_ip} . {protocol} . {port.port}"
    if inside:
        chain = chain_name("service-local" if inside_local else "service", *identity)
        # Traffic to a cluster address from outside the pods would come back unrecognised without this.
        made.chains[chain] = (
            f"ip daddr {spec.cluster_ip} ip saddr != {config.cluster_cidr} fib saddr type != local "
            f"meta mark set meta mark | {MARK}",
            *made.chains[chain],
        )
        made.maps["service-ips"][key] = f"goto {chain}"
    else:
        made.maps["no-endpoint-services"][key] = _refusal(everywhere)
    if protocol == "udp":
        made.udp[(spec.cluster_ip, port.port)] = frozenset(target.ip for target in inside)
    _add_outside(made, config, service, port, identity, (everywhere, here))


def _refusal(everywhere: Sequence[Target]) -> str:
    """A service without endpoints refuses; one that merely has none on this node says nothing, as upstream."""
    return "drop" if everywhere else "goto refuse-packet"


def _outer_addresses(service: Service) -> list[str]:
    """External IPs and load-balancer addresses."""
    spec = service.spec
    addresses = [ip for ip in spec.external_ips if ":" not in ip]
    addresses += [entry.ip for entry in service.status.load_balancer.ingress if entry.ip and ":" not in entry.ip]
    return [ip for ip in addresses if ip != spec.cluster_ip]


def _node_port(spec: ServiceSpec, port: ServicePort) -> int:
    return port.node_port if spec.type in ("NodePort", "LoadBalancer") else 0


def _add_outside(
    made: Ruleset,
    config: NetworkConfig,
    service: Service,
    port: ServicePort,
    identity: tuple[str, str, str, str],
    targets: tuple[list[Target], list[Target]],
) -> None:
    """Node ports, external IPs and load-balancer addresses. Pods and this host reach all endpoints whatever the policy."""
    addresses, node_port = _outer_addresses(service), _node_port(service.spec, port)
    if not addresses and not node_port:
        return
    everywhere, here = targets
    protocol = identity[2]
    local_only = service.spec.external_traffic_policy == "Local"
    outside = here if local_only else everywhere
    if not outside:
        for ip in addresses:
            made.maps["no-endpoint-services"][f"{ip} . {protocol} . {port.port}"] = _refusal(everywhere)
        if node_port:
            made.maps["no-endpoint-nodeports"][f"{protocol} . {node_port}"] = _refusal(everywhere)
    if not everywhere:
        return
    external, cluster = chain_name("external", *identity), chain_name("service", *identity)
    if local_only:
        rules = [
            f"ip saddr {config.cluster_cidr} goto {cluster}",
            f"fib saddr type local meta mark set meta mark | {MARK}",
            f"fib saddr type local goto {cluster}",
        ]
        if here:
            rules.append(f"goto {chain_name('service-local', *identity)}")
    else:
        rules = [f"meta mark set meta mark | {MARK}", f"goto {cluster}"]
    made.chains[external] = tuple(rules)
    for ip in addresses:
        made.maps["service-ips"][f"{ip} . {protocol} . {port.port}"] = f"goto {external}"
    if node_port:
        made.maps["service-nodeports"][f"{protocol} . {node_port}"] = f"goto {external}"
        if protocol == "udp":
            made.udp[("", node_port)] = frozenset(target.ip for target in outside)


def _affinity_s(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    if config and config.client_ip and config.client_ip.timeout_seconds:
        return config.client_ip.timeout_seconds
    return AFFINITY_S


def _add_chain(
    made: Ruleset, name: str, targets: Sequence[Target], affinity: int, identity: tuple[str, ...], protocol: str
) -> None:
    """A chain that picks one endpoint, remembered clients first."""
    rules: list[str] = []
    picks: list[str] = []
    for number, target in enumerate(targets):
        endpoint = chain_name("endpoint", *identity, f"{target.ip}/{target.port}")
        body = [f"ip saddr {target.ip} meta mark set meta mark | {MARK}"]  # hairpin
        if affinity:
            remembered = chain_name("affinity", *identity, f"{target.ip}/{target.port}")
            made.affinity[remembered] = affinity
            rules.append(f"ip saddr @{remembered} goto {endpoint}")
            body.append(f"update @{remembered} {{ ip saddr timeout {affinity}s }}")
        body.append(f"meta l4proto {protocol} dnat to {target.ip}:{target.port}")
        made.chains[endpoint] = tuple(body)
        picks.append(f"{number} : goto {endpoint}")
    if len(targets) == 1:
        rules.append(picks[0].split(" : ", 1)[1])
    else:
        rules.append(f"numgen random mod {len(targets)} vmap {{ {', '.join(picks)} }}")
    made.chains[name] = tuple(rules)


def text(table: str, wanted: Ruleset) -> str:
    """The script that replaces the whole table in one transaction."""
    lines = [f"add table ip {table}", f"delete table ip {table}", f"add table ip {table}"]
    lines += _define(table, wanted.affinity, wanted.chains)
    lines += [f"add map ip {table} {name} {{ type {kind}; }}" for name, kind in MAPS.items()]
    lines += _fill(table, wanted.chains, wanted.chains)
    for name, elements in wanted.maps.items():
        lines += [f"add element ip {table} {name} {{ {key} : {verdict} }}" for key, verdict in elements.items()]
    return "\n".join(lines) + "\n"


def difference(table: str, have: Ruleset, want: Ruleset) -> str:
    """The script that turns one rule set into another, in one transaction; "" when they are equal.

    Order: new objects, then map elements and chain bodies that may point to them, then what nothing points to any more.
    """
    new_chains = {name: body for name, body in want.chains.items() if name not in have.chains}
    changed = {name: body for name, body in want.chains.items() if have.chains.get(name) not in (None, body)}
    new_sets = {name: seconds for name, seconds in want.affinity.items() if have.affinity.get(name) is None}
    lines = _define(table, new_sets, new_chains)
    for name in MAPS:
        before, after = have.maps[name], want.maps[name]
        for key, verdict in before.items():
            if after.get(key) != verdict:
                lines.append(f"delete element ip {table} {name} {{ {key} }}")
    lines += [f"flush chain ip {table} {name}" for name in changed]
    gone = [name for name in have.chains if name not in want.chains]
    lines += [f"flush chain ip {table} {name}" for name in gone]
    lines += _fill(table, want.chains, [*new_chains, *changed])
    for name in MAPS:
        before, after = have.maps[name], want.maps[name]
        for key, verdict in after.items():
            if before.get(key) != verdict:
                lines.append(f"add element ip {table} {name} {{ {key} : {verdict} }}")
    lines += [f"delete chain ip {table} {name}" for name in gone]
    lines += [f"delete set ip {table} {name}" for name in have.affinity if name not in want.affinity]
    return "\n".join(lines) + "\n" if lines else ""


def _define(table: str, sets: Mapping[str, int], chains: Mapping[str, tuple[str, ...]]) -> list[str]:
    lines = [
        f"add set ip {table} {name} {{ type ipv4_addr; size 65535; flags dynamic,timeout; timeout {seconds}s; }}"
        for name, seconds in sets.items()
    ]
    for name, body in chains.items():
        hook = f" {{ {body[0]} }}" if body and body[0].startswith("type ") else ""
        lines.append(f"add chain ip {table} {name}{hook}")
    return lines


def _fill(table: str, chains: Mapping[str, tuple[str, ...]], names: Iterable[str]) -> list[str]:
    lines = []
    for name in names:
        rules = [rule for rule in chains[name] if not rule.startswith("type ")]
        lines += [f"add rule ip {table} {name} {rule}" for rule in rules]
    return lines
