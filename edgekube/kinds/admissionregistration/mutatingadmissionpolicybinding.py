"""admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding: its types and rules."""

from __future__ import annotations

from typing import ClassVar

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import LabelSelector, Object, Struct, zero
from edgekube.kinds.admissionregistration.mutatingadmissionpolicy import MatchResources


class ParamRef(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str = ""
    namespace: str = ""
    selector: LabelSelector | None = None
    parameter_not_found_action: str | None = None


class MutatingAdmissionPolicyBindingSpec(Struct):
    policy_name: str = ""
    param_ref: ParamRef | None = None
    match_resources: MatchResources | None = None


class MutatingAdmissionPolicyBinding(Object):
    spec: MutatingAdmissionPolicyBindingSpec = zero(MutatingAdmissionPolicyBindingSpec)


KIND = Kind(
    type=MutatingAdmissionPolicyBinding,
    group="admissionregistration.k8s.io",
    version="v1",
    name="MutatingAdmissionPolicyBinding",
    plural="mutatingadmissionpolicybindings",
    singular="mutatingadmissionpolicybinding",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
)
