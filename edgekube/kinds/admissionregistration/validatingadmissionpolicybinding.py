"""admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import rules
from edgekube.api.kind import FieldError, Kind, Scope
from edgekube.api.meta import Object, Struct, list_set, zero
from edgekube.kinds.admissionregistration.matching import MatchResources, ParamRef, default_match
from edgekube.kinds.admissionregistration.mutatingadmissionpolicybinding import BINDING_COLUMNS
from edgekube.kinds.admissionregistration.policy_rules import binding_rules
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


ACTIONS = ("Audit", "Deny", "Warn")


def policy_binding_rules(binding: ValidatingAdmissionPolicyBinding) -> list[FieldError]:
    """See `binding_rules`; and what is done about a violation."""
    spec = binding.spec
    broken = binding_rules(spec.policy_name, spec.param_ref, spec.match_resources)
    if not spec.validation_actions:
        broken.append(rules.required("spec.validationActions", "at least one validation action is required"))
    for at, action in enumerate(spec.validation_actions):
        broken += rules.one_of(f"spec.validationActions[{at}]", action, ACTIONS, empty="unsupported")
        if action in spec.validation_actions[:at]:
            broken.append(rules.duplicate(f"spec.validationActions[{at}]", action))
    if {"Deny", "Warn"} <= set(spec.validation_actions):
        words = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"
        broken.append(rules.invalid("spec.validationActions", spec.validation_actions, words))
    return broken


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
    rules=policy_binding_rules,
)
