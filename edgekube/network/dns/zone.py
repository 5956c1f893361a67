"""What the cluster's DNS answers: a pure function from a question and a view of services and endpoints to records.

Names and record types follow the Kubernetes DNS specification (schema version 1.1.0). No sockets and no packets here.
Records are plain data; `dns.server` puts them on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from edgekube.kinds.core.service import Service
from edgekube.kinds.discovery.endpointslice import Endpoint, EndpointSlice

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
SCHEMA_VERSION = "1.1.0"


@dataclass(frozen=True, slots=True)
class Record:
    """One answer. `type`: A, AAAA, SRV, PTR, CNAME, TXT, SOA, NS. `data`: address or target; for SRV (priority, weight, port, target)."""

    name: str
    type: str
    data: str | tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """`exists` False = NXDOMAIN; True with no records = NODATA. None instead of an Answer = not our zone."""

    exists: bool
    records: tuple[Record, ...] = ()
    extra: tuple[Record, ...] = ()


@dataclass(slots=True)
class Zone:
    """An index over services and endpoints, rebuilt whenever they change. All names are lower case without final dot."""

    domain: str
    names: dict[str, list[Record]] = field(default_factory=dict)
    reverse: dict[str, list[str]] = field(default_factory=dict)  # address text -> names

    def answer(self, name: str, kind: str) -> Answer | None:
        """Records for a question, or None when the name is not ours to answer."""
        name = name.rstrip(".").lower()
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._pointer(name)
        if name != self.domain and not name.endswith("." + self.domain):
            return None
        if name == self.domain:
            return Answer(True, (Record(name, "NS", f"ns.dns.{self.domain}"),) if kind == "NS" else ())
        if name == f"dns-version.{self.domain}":
            return Answer(True, (Record(name, "TXT", SCHEMA_VERSION),) if kind in ("TXT", "ANY") else ())
        found = self.names.get(name)
        if found is None:
            found = self._pod_address(name)
            if found is None:
                return Answer(False)
        records = tuple(record for record in found if record.type in (kind, "CNAME") or kind == "ANY")
        targets = [record.data[3] for record in records if isinstance(record.data, tuple)]
        extra = tuple(a for t in targets for a in self.names.get(t, ()) if a.type in ("A", "AAAA"))
        return Answer(True, records, extra)

    def _pointer(self, name: str) -> Answer | None:
        address = _address_of_reverse(name)
        names = self.reverse.get(address, ()) if address else ()
        if not names:
            return None  # not ours: the forwarder may know
        return Answer(True, tuple(Record(name, "PTR", target) for target in names))

    def _pod_address(self, name: str) -> list[Record] | None:
        """<a-b-c-d>.<namespace>.pod.<domain>: the address spelled in the name."""
        labels = name.removesuffix("." + self.domain).split(".")
        if len(labels) == 3 and labels[2] == "pod":
            try:
                return [Record(name, "A", str(ip_address(labels[0].replace("-", "."))))]
            except ValueError:
                try:
                    return [Record(name, "AAAA", str(ip_address(labels[0].replace("-", ":"))))]
                except ValueError:
                    return None
        return None


def build(domain: str, services: Iterable[Service], slices: Iterable[EndpointSlice]) -> Zone:
    """Index everything that can be asked for."""
    zone = Zone(domain)
    by_service: dict[tuple[str, str], list[EndpointSlice]] = {}
    for piece in slices:
        if name := piece.metadata.labels.get(SERVICE_NAME_LABEL):
            by_service.setdefault((piece.metadata.namespace, name), []).append(piece)
    parents: set[str] = {f"svc.{domain}", f"pod.{domain}"}
    for service in services:
        meta, spec = service.metadata, service.spec
        base = f"{meta.name}.{meta.namespace}.svc.{domain}"
        parents.add(f"{meta.namespace}.svc.{domain}")
        if spec.type == "ExternalName":
            if spec.external_name:
                zone.names.setdefault(base, []).append(Record(base, "CNAME", spec.external_name.rstrip(".").lower()))
        elif spec.cluster_ip == "None":
            pieces = by_service.get((meta.namespace, meta.name), [])
            _add_headless(zone, base, pieces, publish_all=spec.publish_not_ready_addresses)
        elif spec.cluster_ip:
            _add_cluster_ip(zone, base, service)
    for name in parents:
        zone.names.setdefault(name, [])
    return zone


def _add_cluster_ip(zone: Zone, base: str, service: Service) -> None:
    spec = service.spec
    for address in dict.fromkeys([spec.cluster_ip, *spec.cluster_ips]):
        zone.names.setdefault(base, []).append(_address_record(base, address))
        zone.reverse.setdefault(address, []).append(base)
    for port in spec.ports:
        if port.name:
            _add_srv(zone, base, port.name, port.protocol or "TCP", port.port, base)


def _add_headless(zone: Zone, base: str, pieces: Sequence[EndpointSlice], *, publish_all: bool) -> None:
    records = zone.names.setdefault(base, [])
    for piece in pieces:
        if piece.address_type == "FQDN":
            continue
        for endpoint in piece.endpoints or ():
            if endpoint.conditions.ready is False and not publish_all:
                continue
            for address in endpoint.addresses or ():
                record = _address_record(base, address)
                if record not in records:
                    records.append(record)
                host = f"{_host_label(endpoint, address)}.{base}"
                own = zone.names.setdefault(host, [])
                if (host_record := _address_record(host, address)) not in own:
                    own.append(host_record)
                if endpoint.hostname:
                    names = zone.reverse.setdefault(address, [])
                    if host not in names:
                        names.append(host)
                for port in piece.ports or ():
                    if port.name and port.port:
                        _add_srv(zone, base, port.name, port.protocol or "TCP", port.port, host)


def _host_label(endpoint: Endpoint, address: str) -> str:
    return endpoint.hostname or address.replace(".", "-").replace(":", "-")


def _add_srv(zone: Zone, base: str, port_name: str, protocol: str, number: int, target: str) -> None:
    middle = f"_{protocol.lower()}.{base}"
    name = f"_{port_name.lower()}.{middle}"
    zone.names.setdefault(middle, [])
    records = zone.names.setdefault(name, [])
    record = Record(name, "SRV", (0, 100, number, target))
    if record not in records:
        records.append(record)


def _address_record(name: str, address: str) -> Record:
    return Record(name, "AAAA" if ":" in address else "A", address)


def _address_of_reverse(name: str) -> str | None:
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa") and len(labels) == 6:
            return str(ip_address(".".join(reversed(labels[:4]))))
        if name.endswith(".ip6.arpa") and len(labels) == 34:
            digits = "".join(reversed(labels[:32]))
            return str(ip_address(":".join(digits[i : i + 4] for i in range(0, 32, 4))))
    except ValueError:
        return None
    return None
