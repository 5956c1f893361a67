"""admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding: its types and rules."""

from __future__ import annotations

from typing import Any

from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, Struct, zero
from edgekube.kinds.admissionregistration.matching import MatchResources, ParamRef, default_match
from edgekube.kinds.admissionregistration.policy_rules import binding_rules
from edgekube.kinds.columns import AGE, NAME, UNSET, described
from edgekube.kinds.core.printing import selector_text


class MutatingAdmissionPolicyBindingSpec(Struct):
    policy_name: str = ""
    param_ref: ParamRef | None = None
    match_resources: MatchResources | None = None


class MutatingAdmissionPolicyBinding(Object):
    spec: MutatingAdmissionPolicyBindingSpec = zero(MutatingAdmissionPolicyBindingSpec)


def default(binding: MutatingAdmissionPolicyBinding) -> None:
    """See `default_match`."""
    default_match(binding.spec.match_resources)


def _param(binding: Any, _now: str) -> str:
    found = binding.spec.param_ref
    if found is None:
        return UNSET
    if found.name:
        return f"{found.namespace or '*'}/{found.name}"
    return UNSET if found.selector is None else selector_text(found.selector)


BINDING_COLUMNS = (
    NAME,
    Column("PolicyName", "string", lambda item, _: item.spec.policy_name),
    Column("ParamRef", "string", _param),
    AGE,
)


def policy_binding_rules(binding: MutatingAdmissionPolicyBinding) -> list[FieldError]:
    """See `binding_rules`."""
    return binding_rules(binding.spec.policy_name, binding.spec.param_ref, binding.spec.match_resources)


KIND = Kind(
    type=MutatingAdmissionPolicyBinding,
    group="admissionregistration.k8s.io",
    version="v1",
    name="MutatingAdmissionPolicyBinding",
    plural="mutatingadmissionpolicybindings",
    singular="mutatingadmissionpolicybinding",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
    default=default,
    allow_unconditional_update=False,
    columns=described("mutatingadmissionpolicybindings", *BINDING_COLUMNS),
    rules=policy_binding_rules,
)
