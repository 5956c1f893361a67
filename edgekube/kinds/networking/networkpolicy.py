"""networking.k8s.io/v1 NetworkPolicy: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, list_atomic, zero


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


KIND = Kind(
    type=NetworkPolicy,
    group="networking.k8s.io",
    version="v1",
    name="NetworkPolicy",
    plural="networkpolicies",
    singular="networkpolicy",
    short=("netpol",),
)
