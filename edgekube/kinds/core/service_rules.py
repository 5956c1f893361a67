"""Rules of services. What is already taken (addresses, node ports) is the allocator's to know.

Source: ValidateService, ValidateServiceUpdate and ValidateLoadBalancerStatus in upstream's core validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.core import address_rules, meta_rules

if TYPE_CHECKING:
    from edgekube.kinds.core.service import Service, ServicePort, ServiceSpec

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
TRAFFIC_POLICIES = ("Cluster", "Local")
TRAFFIC_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
AFFINITY_TIMEOUT_MAX_S = 86400
ONLY_LOAD_BALANCER = "may only be used when `type` is 'LoadBalancer'"
ONE_PER_FAMILY = "may specify no more than one IP for each IP family"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"


def is_headless(spec: ServiceSpec) -> bool:
    """Whether there is no address at all."""
    return spec.cluster_ips == ["None"]


def is_reachable(spec: ServiceSpec) -> bool:
    """Whether the service is meant to be reached from outside."""
    return spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and bool(spec.external_ips))


def service(item: Service) -> list[FieldError]:
    """A service as it is to be stored."""
    spec = item.spec
    broken: list[FieldError] = []
    if not spec.ports and not is_headless(spec) and spec.type != "ExternalName":
        broken.append(rules.required("spec.ports"))
    broken += _type(spec)
    seen: set[str] = set()
    for position, port in enumerate(spec.ports):
        broken += _port(f"spec.ports[{position}]", port, seen, named=len(spec.ports) > 1)
    broken += meta_rules.labels("spec.selector", spec.selector)
    broken += _affinity(spec)
    broken += _cluster_ips(spec)
    for position, text in enumerate(spec.external_ips):
        at = f"spec.externalIPs[{position}]"
        broken += address_rules.ip(at, text) or address_rules.ordinary_ip(at, text)
    broken += rules.one_of("spec.type", spec.type, TYPES)
    broken += _ports_are_unique(spec)
    broken += _source_ranges(item)
    broken += _load_balancer(spec)
    return broken + _traffic(spec)


def _type(spec: ServiceSpec) -> list[FieldError]:
    if spec.type in ("LoadBalancer", "NodePort"):
        if not is_headless(spec):
            return []
        words = f"may not be set to 'None' for {spec.type} services"
        return [rules.invalid("spec.clusterIPs[0]", "None", words)]
    if spec.type != "ExternalName":
        return []
    words = "may not be set for ExternalName services"
    given = (
        ("clusterIPs", spec.cluster_ips),
        ("ipFamilies", spec.ip_families),
        ("ipFamilyPolicy", spec.ip_family_policy),
    )
    broken = [rules.forbidden(f"spec.{member}", words) for member, value in given if value]
    name = spec.external_name.removesuffix(".")
    if not name:
        return [*broken, rules.required("spec.externalName")]
    return broken + rules.each("spec.externalName", name, names.dns_subdomain(name))


def _port(path: str, port: ServicePort, seen: set[str], *, named: bool) -> list[FieldError]:
    broken: list[FieldError] = []
    if port.name:
        broken += rules.each(f"{path}.name", port.name, names.dns_label(port.name))
        if port.name in seen:
            broken.append(rules.duplicate(f"{path}.name", port.name))
        seen.add(port.name)
    elif named:
        broken.append(rules.required(f"{path}.name"))
    broken += rules.each(f"{path}.port", port.port, names.port_number(port.port))
    broken += address_rules.protocol(f"{path}.protocol", port.protocol)
    broken += address_rules.port_or_name(f"{path}.targetPort", port.target_port)
    if port.app_protocol is not None:
        broken += rules.each(f"{path}.appProtocol", port.app_protocol, names.qualified_name(port.app_protocol))
    return broken


def _affinity(spec: ServiceSpec) -> list[FieldError]:
    broken = rules.one_of("spec.sessionAffinity", spec.session_affinity, ("ClientIP", "None"))
    config, at = spec.session_affinity_config, "spec.sessionAffinityConfig"
    if spec.session_affinity == "None" and config is not None:
        broken.append(rules.forbidden(at, "must not be set when session affinity is None"))
    if spec.session_affinity != "ClientIP":
        return broken
    words = "when session affinity type is ClientIP"
    if config is None:
        return [*broken, rules.required(at, words)]
    if config.client_ip is None:
        return [*broken, rules.required(f"{at}.clientIP", words)]
    timeout_s = config.client_ip.timeout_seconds
    if timeout_s is None:
        return [*broken, rules.required(f"{at}.clientIP.timeoutSeconds", words)]
    if not 0 < timeout_s <= AFFINITY_TIMEOUT_MAX_S:
        words = f"must be greater than 0 and less than {AFFINITY_TIMEOUT_MAX_S}"
        broken.append(rules.invalid(f"{at}.clientIP.timeoutSeconds", timeout_s, words))
    return broken


def _cluster_ips(spec: ServiceSpec) -> list[FieldError]:
    """`clusterIP`, `clusterIPs`, families and their policy, which must not contradict each other."""
    if spec.type == "ExternalName":
        return []
    at, given = "spec.clusterIPs", spec.cluster_ips
    broken = _first_is_cluster_ip(spec)
    for position, family in enumerate(spec.ip_families):
        where = f"spec.ipFamilies[{position}]"
        if family not in FAMILIES:
            broken.append(rules.not_supported(where, family, FAMILIES))
        if family in spec.ip_families[:position]:
            broken.append(rules.duplicate(where, family))
    if spec.ip_family_policy is not None and spec.ip_family_policy not in FAMILY_POLICIES:
        broken.append(rules.not_supported("spec.ipFamilyPolicy", spec.ip_family_policy, FAMILY_POLICIES))
    bad: list[FieldError] = []
    for position, text in enumerate(given):
        if not position and text == "None":
            if len(given) > 1:
                bad.append(rules.invalid(at, given, "'None' must be the first and only value"))
        else:
            bad += address_rules.ip(f"{at}[{position}]", text)
    broken += bad
    if len(given) > 2:
        broken.append(rules.invalid(at, given, "may only hold up to 2 values"))
    if bad:
        return broken
    if len(given) > 1 and not address_rules.one_per_family(given[:2]):
        broken.append(rules.invalid(at, given, ONE_PER_FAMILY))
    if is_headless(spec):
        return broken
    for position, (text, family) in enumerate(zip(given, spec.ip_families, strict=False)):
        found = address_rules.parse_ip(text)
        if found is not None and family in FAMILIES and family != f"IPv{found.version}":
            words = f"expected an {family} value as indicated by `ipFamilies[{position}]`"
            broken.append(rules.invalid(f"{at}[{position}]", text, words))
    return broken


def _first_is_cluster_ip(spec: ServiceSpec) -> list[FieldError]:
    at, given = "spec.clusterIPs", spec.cluster_ips
    if not spec.cluster_ip:
        return [rules.invalid(at, given, "must be empty when `clusterIP` is not specified")] if given else []
    if not given:
        return [rules.required(at)]
    return [rules.invalid(at, given, "first value must match `clusterIP`")] if given[0] != spec.cluster_ip else []


def _ports_are_unique(spec: ServiceSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    node_ports: set[tuple[str, int]] = set()
    if spec.type == "ClusterIP":
        words = "may not be used when `type` is 'ClusterIP'"
        broken += [
            rules.forbidden(f"spec.ports[{position}].nodePort", words)
            for position, port in enumerate(spec.ports)
            if port.node_port
        ]
    for position, port in enumerate(spec.ports):
        if port.node_port and (port.protocol, port.node_port) in node_ports:
            broken.append(rules.duplicate(f"spec.ports[{position}].nodePort", port.node_port))
        node_ports.add((port.protocol, port.node_port))
    ports: set[tuple[str, int]] = set()
    for position, port in enumerate(spec.ports):
        if (port.protocol, port.port) in ports:
            shown = {"port": port.port, "protocol": port.protocol}
            broken.append(rules.duplicate(f"spec.ports[{position}]", shown))
        ports.add((port.protocol, port.port))
    return broken


def _source_ranges(item: Service) -> list[FieldError]:
    spec = item.spec
    annotated = item.metadata.annotations.get(SOURCE_RANGES)
    if spec.load_balancer_source_ranges:
        at = "spec.LoadBalancerSourceRanges"  # upstream's spelling
        texts = [(f"{at}[{position}]", text) for position, text in enumerate(spec.load_balancer_source_ranges)]
    elif annotated is not None:
        at = f"metadata.annotations[{SOURCE_RANGES}]"
        texts = [(at, text) for text in annotated.split(",")] if annotated.strip() else []
    else:
        return []
    broken = [] if spec.type == "LoadBalancer" else [rules.forbidden(at, ONLY_LOAD_BALANCER)]
    for where, text in texts:
        broken += address_rules.cidr(where, text.strip())
    return broken


def _load_balancer(spec: ServiceSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    if spec.type == "LoadBalancer":
        if spec.allocate_load_balancer_node_ports is None:
            broken.append(rules.required("allocateLoadBalancerNodePorts"))
        if spec.load_balancer_class is not None:
            name = spec.load_balancer_class
            broken += rules.each("spec.loadBalancerClass", name, names.qualified_name(name))
        return broken
    if spec.allocate_load_balancer_node_ports is not None:
        broken.append(rules.forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER))
    if spec.load_balancer_class is not None:
        broken.append(rules.forbidden("spec.loadBalancerClass", ONLY_LOAD_BALANCER))
    return broken


def _traffic(spec: ServiceSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    external, at = spec.external_traffic_policy, "spec.externalTrafficPolicy"
    if is_reachable(spec):
        broken += rules.one_of(at, external, TRAFFIC_POLICIES)
    elif external:
        broken.append(rules.invalid(at, external, "may only be set for externally-accessible services"))
    health, at = spec.health_check_node_port, "spec.healthCheckNodePort"
    if spec.type == "LoadBalancer" and external == "Local":
        if health:  # upstream also requires it, after its allocator ran
            broken += rules.each(at, health, names.port_number(health))
    elif health:
        words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        broken.append(rules.invalid(at, health, words))
    internal, at = spec.internal_traffic_policy, "spec.internalTrafficPolicy"
    if internal is None and spec.type != "ExternalName":
        broken.append(rules.required(at))
    elif internal is not None and internal not in TRAFFIC_POLICIES:
        broken.append(rules.not_supported(at, internal, TRAFFIC_POLICIES))
    spread = spec.traffic_distribution
    if spread is not None and spread not in TRAFFIC_DISTRIBUTIONS:
        broken.append(rules.not_supported("spec.trafficDistribution", spread, TRAFFIC_DISTRIBUTIONS))
    return broken


def update(new: Service, old: Service) -> list[FieldError]:
    """Addresses and families stay; a second one may come and go."""
    ours, theirs = new.spec, old.spec
    broken: list[FieldError] = []
    if "ExternalName" not in (ours.type, theirs.type):
        if not (is_headless(ours) and is_headless(theirs)):
            broken += _released_or_kept("clusterIPs", ours.cluster_ips, theirs.cluster_ips, ours)
        if not is_headless(ours) and not is_headless(theirs):
            broken += _released_or_kept("ipFamilies", ours.ip_families, theirs.ip_families, ours)
    if ours.type == theirs.type == "LoadBalancer" and ours.load_balancer_class != theirs.load_balancer_class:
        words = "may not change once set"
        broken.append(rules.invalid("spec.loadBalancerClass", ours.load_balancer_class, words))
    both_check = all(spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local" for spec in (ours, theirs))
    if both_check and ours.health_check_node_port != theirs.health_check_node_port:
        broken.append(rules.forbidden("spec.healthCheckNodePort", rules.IMMUTABLE))
    return broken


def _released_or_kept(member: str, new: list[str], old: list[str], spec: ServiceSpec) -> list[FieldError]:
    at, words = f"spec.{member}", "may not change once set"
    if len(new) == len(old):
        return [
            rules.invalid(f"{at}[{position}]", new, words)
            for position, (now, before) in enumerate(zip(new, old, strict=True))
            if now != before
        ]
    if not new:
        one = "clusterIP" if member == "clusterIPs" else "ipFamily"
        return [rules.invalid(f"{at}[0]", new, f"primary {one} can not be unset")]
    broken = [rules.invalid(f"{at}[0]", new, words)] if old and new[0] != old[0] else []
    if len(new) < len(old) and len(new) == 1 and spec.ip_family_policy != "SingleStack":
        one = "clusterIP" if member == "clusterIPs" else "ipFamily"
        words = f"must be set to 'SingleStack' when releasing the secondary {one}"
        broken.append(rules.invalid("spec.ipFamilyPolicy", spec.ip_family_policy, words))
    return broken


def status(new: Service, _old: Service) -> list[FieldError]:
    """What a load balancer may say of itself."""
    broken: list[FieldError] = []
    given = new.status.load_balancer.ingress
    if given and new.spec.type != "LoadBalancer":
        words = "may only be used when `spec.type` is 'LoadBalancer'"
        return [rules.forbidden("status.loadBalancer.ingress", words)]
    for position, one in enumerate(given):
        at = f"status.loadBalancer.ingress[{position}]"
        if one.ip:
            broken += address_rules.ip(f"{at}.ip", one.ip)
        if one.ip_mode is None and one.ip:
            broken.append(rules.required(f"{at}.ipMode", "must be specified when `ip` is set"))
        elif one.ip_mode is not None and not one.ip:
            broken.append(rules.forbidden(f"{at}.ipMode", "may not be specified when `ip` is not set"))
        elif one.ip_mode not in (None, "Proxy", "VIP"):
            broken.append(rules.not_supported(f"{at}.ipMode", one.ip_mode, ("Proxy", "VIP")))
        if one.hostname:
            broken += rules.each(f"{at}.hostname", one.hostname, names.dns_subdomain(one.hostname))
            if address_rules.parse_ip(one.hostname) is not None:
                broken.append(rules.invalid(f"{at}.hostname", one.hostname, "must be a DNS name, not an IP address"))
    return broken


def warnings(new: Service, _old: Service | None) -> list[str]:
    """Fields that are on their way out."""
    found = []
    if new.spec.load_balancer_ip:
        found.append("spec.loadBalancerIP is deprecated and its implementation is provider-dependent")
    if new.spec.external_ips and new.spec.type == "ExternalName":
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    return found
