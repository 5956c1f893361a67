"""networking.k8s.io/v1 NetworkPolicy: its types and rules."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, list_atomic, zero
from edgekube.kinds.columns import AGE, NAME, described
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
)
