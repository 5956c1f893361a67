"""Cluster IPs and node ports: what a Service is given, and that nothing is given twice.

There is no allocation table: what is taken is what stored Services and IPAddresses say, plus what writes under way have been
promised. So nothing has to be repaired after a crash. Random choice keeps freed addresses from being given away at once; the lower part of each
range is left to those who ask for a number of their own until the upper part is full.
Source: kubernetes pkg/registry/core/service/storage/alloc.go, ipallocator and portallocator.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from edgekube.api import rules
from edgekube.api.kind import FieldError
from edgekube.clock import Clock
from edgekube.kinds.core import service
from edgekube.kinds.networking import ipaddress as ipaddress_kind
from edgekube.kinds.networking import servicecidr
from edgekube.server import answers
from edgekube.server.admission.interface import DELETE, Cluster, Review, Step

HEADLESS = "None"
SINGLE, PREFER_DUAL, REQUIRE_DUAL = "SingleStack", "PreferDualStack", "RequireDualStack"
WITH_PORTS = ("NodePort", "LoadBalancer")
MANAGED_BY, ALLOCATOR = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"


class Taken:
    """Numbers of one range: which are given, and choosing one that is not."""

    def __init__(self, first: int, last: int, static: int, clock: Clock) -> None:
        """`static`: how many at the beginning are only chosen when all others are given."""
        self.first, self.last, self._static, self._clock = first, last, static, clock

    def choose(self, used: set[int]) -> int | None:
        """A free number, or None when all are given."""
        dynamic = self.first + self._static
        for low, high in ((dynamic, self.last), (self.first, dynamic - 1)):
            size = high - low + 1
            if size <= 0:
                continue
            start = low + int(self._clock.chance() * size)
            for step in range(size):
                candidate = low + (start - low + step) % size
                if candidate not in used:
                    return candidate
        return None


def _static_addresses(size: int) -> int:
    return min(max(16, size // 16), 256) if size >= 16 else 0


def _range(network: ipaddress.IPv4Network | ipaddress.IPv6Network, clock: Clock) -> Taken:
    """The addresses of a network that can be given."""
    first, last = int(network.network_address) + 1, int(network.broadcast_address)
    if network.version == 4 and network.num_addresses > 2:
        last -= 1
    return Taken(first, last, _static_addresses(last - first + 1), clock)


def _static_ports(size: int) -> int:
    return min(max(16, size // 32), 128) if size >= 16 else 0


class ServiceAllocator(Step):
    """Gives Services their addresses and ports, as the last step before an object's rules are asked."""

    name = "ServiceAllocator"

    def __init__(self, clock: Clock, service_cidr: str, node_ports: tuple[int, int]) -> None:
        self._network, self._clock = ipaddress.ip_network(service_cidr), clock
        self._addresses = _range(self._network, clock)
        low, high = node_ports
        self._ports = Taken(low, high, _static_ports(high - low + 1), clock)
        self._promised_addresses: dict[int, int] = {}  # address -> id of the review it was promised to
        self._promised_ports: dict[tuple[str, int], int] = {}

    @property
    def family(self) -> str:
        """ "IPv4" or "IPv6"."""
        return f"IPv{self._network.version}"

    async def prepare(self, review: Review, cluster: Cluster) -> None:
        """Raises Invalid for what is taken, or cannot be had here."""
        if review.resource != "/services" or review.operation == DELETE or review.subresource:
            return
        spec, old = review.item.spec, review.old.spec if review.old is not None else None
        broken = self._families(spec, old)
        if not broken:
            broken = self._give_address(review, spec, old, cluster)
        if not broken:
            broken = self._give_ports(review, spec, old, cluster)
        if broken:
            raise answers.invalid(service.KIND, review.item.metadata.name, broken)

    async def settle(self, review: Review, cluster: Cluster, *, stored: bool) -> None:
        """What was promised is either stored now or free again."""
        mine = id(review)
        self._promised_addresses = {ip: whose for ip, whose in self._promised_addresses.items() if whose != mine}
        self._promised_ports = {port: whose for port, whose in self._promised_ports.items() if whose != mine}

    # Families

    def _families(self, spec: Any, old: Any | None) -> list[FieldError]:
        if spec.type == "ExternalName":
            return []
        if spec.cluster_ip == HEADLESS and not spec.selector and not spec.ip_family_policy and not spec.ip_families:
            spec.ip_family_policy = REQUIRE_DUAL
            spec.ip_families = ["IPv4", "IPv6"] if self.family == "IPv4" else ["IPv6", "IPv4"]
            return []
        broken: list[FieldError] = []
        headless_anywhere = spec.cluster_ip == HEADLESS and not spec.selector
        for position, family in enumerate(spec.ip_families):
            if family in ("IPv4", "IPv6") and family != self.family and not headless_anywhere:
                broken.append(rules.invalid(f"spec.ipFamilies[{position}]", family, "not configured on this cluster"))
        if spec.ip_family_policy == REQUIRE_DUAL and not headless_anywhere:
            words = "this cluster is not configured for dual-stack services"
            broken.append(rules.invalid("spec.ipFamilyPolicy", spec.ip_family_policy, words))
        if broken:
            return broken
        if spec.ip_family_policy is None:
            spec.ip_family_policy = old.ip_family_policy if old is not None and old.ip_family_policy else SINGLE
        if not spec.ip_families:
            kept = list(old.ip_families) if old is not None else []
            spec.ip_families = kept or [self.family]
        return []

    # Addresses

    def _give_address(self, review: Review, spec: Any, old: Any | None, cluster: Cluster) -> list[FieldError]:
        if spec.type == "ExternalName" or spec.cluster_ip == HEADLESS:
            return []
        if old is not None and spec.cluster_ip and spec.cluster_ip == old.cluster_ip:
            return []
        if spec.cluster_ips and spec.cluster_ip != spec.cluster_ips[0]:
            return []  # the rules say what is wrong
        used = self._used_addresses(cluster, review)
        ranges = self._ranges(cluster)
        if spec.cluster_ip:
            return self._claim_address(review, spec, used, ranges, cluster)
        for one in ranges:
            while (number := one.choose(used)) is not None:
                text = str(ipaddress.ip_address(number))
                if self._written_down(cluster, text):
                    used.add(number)
                    continue
                self._promised_addresses[number] = id(review)
                spec.cluster_ip, spec.cluster_ips = text, [text]
                return []
        return [rules.internal("spec.clusterIPs", "failed to allocate a serviceIP: range is full")]

    def _ranges(self, cluster: Cluster) -> list[Taken]:
        """The configured range, and those that were added while the cluster ran."""
        made = [self._addresses]
        for one in cluster.all(servicecidr.KIND):
            ready = any(found.type == "Ready" and found.status == "True" for found in one.status.conditions)
            if not ready or one.metadata.deletion_timestamp is not None:
                continue
            networks = (ipaddress.ip_network(text, strict=False) for text in one.spec.cidrs)
            made += [
                _range(network, self._clock)
                for network in networks
                if network.version == self._network.version and network != self._network
            ]
        return made

    @staticmethod
    def _written_down(cluster: Cluster, text: str) -> bool:
        """Whether somebody wrote an IPAddress for it. Those that only repeat what Services say tell nothing new."""
        found = cluster.find(ipaddress_kind.KIND, "", text)
        return found is not None and found.metadata.labels.get(MANAGED_BY) != ALLOCATOR

    def _claim_address(
        self, review: Review, spec: Any, used: set[int], ranges: list[Taken], cluster: Cluster
    ) -> list[FieldError]:
        text = spec.cluster_ip
        try:
            number = int(ipaddress.ip_address(text))
        except ValueError:
            return []  # the rules say what is wrong
        start = f"failed to allocate IP {text}: "
        if not any(one.first <= number <= one.last for one in ranges):
            words = "the provided network does not match the current range"
            if ipaddress.ip_address(text).version == self._network.version:
                words = f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {self._network}"
            return [rules.invalid("spec.clusterIPs", [text], start + words)]
        if number in used or self._written_down(cluster, str(ipaddress.ip_address(text))):
            return [rules.invalid("spec.clusterIPs", [text], f"{start}provided IP is already allocated")]
        self._promised_addresses[number] = id(review)
        spec.cluster_ips = spec.cluster_ips or [text]
        return []

    def _used_addresses(self, cluster: Cluster, review: Review) -> set[int]:
        used = set(self._promised_addresses)
        for one in self._others(cluster, review):
            for text in one.spec.cluster_ips:
                if text and text != HEADLESS:
                    used.add(int(ipaddress.ip_address(text)))
        return used

    @staticmethod
    def _others(cluster: Cluster, review: Review) -> Iterable[Any]:
        mine = (review.namespace, review.name)
        return (one for one in cluster.all(service.KIND) if (one.metadata.namespace, one.metadata.name) != mine)

    # Ports

    def _give_ports(self, review: Review, spec: Any, old: Any | None, cluster: Cluster) -> list[FieldError]:
        wants = spec.type == "NodePort" or (spec.type == "LoadBalancer" and spec.allocate_load_balancer_node_ports)
        health = spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"
        if spec.type not in WITH_PORTS or not (wants or health or any(port.node_port for port in spec.ports)):
            return []
        used = self._used_ports(cluster, review)
        broken: list[FieldError] = []
        for position, port in enumerate(spec.ports):
            if port.node_port:
                broken += self._claim_port(review, f"spec.ports[{position}].nodePort", port, used)
        for position, port in enumerate(spec.ports):
            if wants and not port.node_port and not broken:
                broken += self._choose_port(review, f"spec.ports[{position}].nodePort", port, spec, used)
        if health and not broken:
            broken = self._give_health_port(review, spec, old, used)
        return broken

    def _claim_port(self, review: Review, path: str, port: Any, used: set[tuple[str, int]]) -> list[FieldError]:
        number = port.node_port
        if not self._ports.first <= number <= self._ports.last:
            valid = f"{self._ports.first}-{self._ports.last}"
            words = f"provided port is not in the valid range. The range of valid ports is {valid}"
            return [rules.invalid(path, number, words)]
        if any(taken == number for _, taken in used):
            return [rules.invalid(path, number, "provided port is already allocated")]
        self._promised_ports[port.protocol, number] = id(review)
        return []

    def _choose_port(
        self, review: Review, path: str, port: Any, spec: Any, used: set[tuple[str, int]]
    ) -> list[FieldError]:
        twins = [one for one in spec.ports if one.port == port.port and one.protocol != port.protocol and one.node_port]
        own = {(one.protocol, one.node_port) for one in spec.ports if one.node_port}
        if twins and (port.protocol, twins[0].node_port) not in own:
            port.node_port = twins[0].node_port
        else:
            number = self._ports.choose({taken for _, taken in used} | {taken for _, taken in own})
            if review.context.dry_run:
                number = self._ports.last + 2  # upstream's number for ports that are only talked about
            if number is None:
                return [rules.internal(path, "failed to allocate a nodePort: range is full")]
            port.node_port = number
        self._promised_ports[port.protocol, port.node_port] = id(review)
        return []

    def _give_health_port(
        self, review: Review, spec: Any, old: Any | None, used: set[tuple[str, int]]
    ) -> list[FieldError]:
        path, number = "spec.healthCheckNodePort", spec.health_check_node_port
        if number and old is not None and number == old.health_check_node_port:
            return []
        own = {one.node_port for one in spec.ports}
        if number and (number in own or any(taken == number for _, taken in used)):
            words = f"failed to allocate requested HealthCheck NodePort {number}: provided port is already allocated"
            return [rules.internal(path, words)]
        if not number:
            chosen = self._ports.choose({taken for _, taken in used} | own)
            if chosen is None:
                return [rules.internal(path, "failed to allocate a HealthCheck NodePort: range is full")]
            spec.health_check_node_port = chosen
        self._promised_ports["health", spec.health_check_node_port] = id(review)
        return []

    def _used_ports(self, cluster: Cluster, review: Review) -> set[tuple[str, int]]:
        used = set(self._promised_ports)
        for one in self._others(cluster, review):
            used |= {(port.protocol, port.node_port) for port in one.spec.ports if port.node_port}
            if one.spec.health_check_node_port:
                used.add(("health", one.spec.health_check_node_port))
        return used
