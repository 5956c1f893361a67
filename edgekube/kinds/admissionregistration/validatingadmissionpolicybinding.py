"""admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_set, zero
from edgekube.kinds.admissionregistration.mutatingadmissionpolicy import MatchResources, default_match
from edgekube.kinds.admissionregistration.mutatingadmissionpolicybinding import BINDING_COLUMNS, ParamRef
from edgekube.kinds.columns import described


class ValidatingAdmissionPolicyBindingSpec(Struct):
    policy_name: str = ""
    param_ref: ParamRef | None = None
    match_resources: MatchResources | None = None
    validation_actions: Annotated[list[str], list_set(strategy="")] = []


class ValidatingAdmissionPolicyBinding(Object):
    spec: ValidatingAdmissionPolicyBindingSpec = zero(ValidatingAdmissionPolicyBindingSpec)


def default(binding: ValidatingAdmissionPolicyBinding) -> None:
    """See `default_match`."""
    default_match(binding.spec.match_resources)


KIND = Kind(
    type=ValidatingAdmissionPolicyBinding,
    group="admissionregistration.k8s.io",
    version="v1",
    name="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    singular="validatingadmissionpolicybinding",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
    default=default,
    allow_unconditional_update=False,
    columns=described("validatingadmissionpolicybindings", *BINDING_COLUMNS),
)
