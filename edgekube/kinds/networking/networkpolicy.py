"""networking.k8s.io/v1 NetworkPolicy: its types and rules."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import chain
from typing import Annotated

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, list_atomic, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.address_rules import cidr
from edgekube.kinds.core.meta_rules import label_selector
from edgekube.kinds.core.printing import selector_text


class IPBlock(Struct):
    cidr: str = zero(str)
    except_: Annotated[list[str], list_atomic()] = []


class NetworkPolicyPeer(Struct):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class NetworkPolicyPort(Struct):
    protocol: str | None = None
    port: IntOrString | None = None
    end_port: Int32 | None = None


class NetworkPolicyEgressRule(Struct):
    ports: Annotated[list[NetworkPolicyPort], list_atomic()] = []
    to: Annotated[list[NetworkPolicyPeer], list_atomic()] = []


class NetworkPolicyIngressRule(Struct):
    ports: Annotated[list[NetworkPolicyPort], list_atomic()] = []
    from_: Annotated[list[NetworkPolicyPeer], list_atomic()] = []


class NetworkPolicySpec(Struct):
    pod_selector: LabelSelector = zero(LabelSelector)
    ingress: Annotated[list[NetworkPolicyIngressRule], list_atomic()] = []
    egress: Annotated[list[NetworkPolicyEgressRule], list_atomic()] = []
    policy_types: Annotated[list[str], list_atomic()] = []


class NetworkPolicy(Object):
    spec: NetworkPolicySpec = zero(NetworkPolicySpec)


def default(policy: NetworkPolicy) -> None:
    """Ports are TCP; a policy is about ingress, and about egress when it has egress rules."""
    ports = [rule.ports for rule in policy.spec.ingress] + [rule.ports for rule in policy.spec.egress]
    for port in chain.from_iterable(ports):
        if port.protocol is None:
            port.protocol = "TCP"
    if not policy.spec.policy_types:
        policy.spec.policy_types = ["Ingress", "Egress"] if policy.spec.egress else ["Ingress"]


PROTOCOLS = ("TCP", "UDP", "SCTP")
POLICY_TYPES = ("Ingress", "Egress")


def _port_rules(path: str, port: NetworkPolicyPort) -> list[FieldError]:
    broken: list[FieldError] = []
    if port.protocol is not None and port.protocol not in PROTOCOLS:
        broken.append(rules.not_supported(f"{path}.protocol", port.protocol, PROTOCOLS))
    end = port.end_port
    if isinstance(port.port, int):
        broken += rules.each(f"{path}.port", port.port, names.port_number(port.port))
        if end is not None:
            if end < port.port:
                broken.append(rules.invalid(f"{path}.endPort", port.port, "must be greater than or equal to `port`"))
            broken += rules.each(f"{path}.endPort", end, names.port_number(end))
    elif end is not None:
        words = "non-numeric" if port.port is not None else "not specified"
        broken.append(rules.invalid(f"{path}.endPort", end, f"may not be specified when `port` is {words}"))
    if isinstance(port.port, str):
        broken += rules.each(f"{path}.port", port.port, names.port_name(port.port))
    return broken


def _block_rules(path: str, block: IPBlock) -> list[FieldError]:
    if not block.cidr:
        return [rules.required(f"{path}.cidr")]
    if broken := cidr(f"{path}.cidr", block.cidr):
        return broken
    whole = ip_network(block.cidr, strict=False)
    for at, text in enumerate(block.except_):
        here = f"{path}.except[{at}]"
        if problems := cidr(here, text):
            broken += problems
            continue
        part = ip_network(text, strict=False)
        inside = part.version == whole.version and part.network_address in whole
        if not inside or part.prefixlen <= whole.prefixlen:
            broken.append(rules.invalid(here, text, "must be a strict subset of `cidr`"))
    return broken


def _peer_rules(path: str, peer: NetworkPolicyPeer) -> list[FieldError]:
    broken = label_selector(f"{path}.podSelector", peer.pod_selector)
    broken += label_selector(f"{path}.namespaceSelector", peer.namespace_selector)
    selects = peer.pod_selector is not None or peer.namespace_selector is not None
    if peer.ip_block is not None:
        broken += _block_rules(f"{path}.ipBlock", peer.ip_block)
        if selects:
            broken.append(rules.forbidden(path, "may not specify both ipBlock and another peer"))
    elif not selects:
        broken.append(rules.required(path, "must specify a peer"))
    return broken


def policy_rules(policy: NetworkPolicy) -> list[FieldError]:
    """Ports, peers and types."""
    spec = policy.spec
    broken = label_selector("spec.podSelector", spec.pod_selector)
    directions = [(f"spec.ingress[{at}]", one.ports, "from", one.from_) for at, one in enumerate(spec.ingress)]
    directions += [(f"spec.egress[{at}]", one.ports, "to", one.to) for at, one in enumerate(spec.egress)]
    for path, ports, member, peers in directions:
        for at, port in enumerate(ports):
            broken += _port_rules(f"{path}.ports[{at}]", port)
        for at, peer in enumerate(peers):
            broken += _peer_rules(f"{path}.{member}[{at}]", peer)
    if len(spec.policy_types) > len(POLICY_TYPES):
        words = "may not specify more than two policyTypes"
        return [*broken, rules.invalid("spec.policyTypes", spec.policy_types, words)]
    for at, one in enumerate(spec.policy_types):
        if one not in POLICY_TYPES:
            broken.append(rules.not_supported(f"spec.policyTypes[{at}]", one, POLICY_TYPES))
    return broken


KIND = Kind(
    type=NetworkPolicy,
    group="networking.k8s.io",
    version="v1",
    name="NetworkPolicy",
    plural="networkpolicies",
    singular="networkpolicy",
    short=("netpol",),
    default=default,
    columns=described(
        "networkpolicies",
        NAME,
        Column("Pod-Selector", "string", lambda item, _: selector_text(item.spec.pod_selector)),
        AGE,
    ),
    rules=policy_rules,
)
