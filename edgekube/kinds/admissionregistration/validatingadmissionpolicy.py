"""admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Condition, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.admissionregistration.matching import (
    MatchCondition,
    MatchResources,
    ParamKind,
    Variable,
    default_match,
    param_kind_text,
)
from edgekube.kinds.admissionregistration.policy_rules import constraint_rules, param_kind_rules, variable_rules
from edgekube.kinds.admissionregistration.webhook_rules import FAILURE_POLICIES, condition_rules
from edgekube.kinds.columns import AGE, NAME, described


class AuditAnnotation(Struct):
    key: str = zero(str)
    value_expression: str = zero(str)


class Validation(Struct):
    expression: str = zero(str)
    message: str = ""
    reason: str | None = None
    message_expression: str = ""


class ValidatingAdmissionPolicySpec(Struct):
    param_kind: ParamKind | None = None
    match_constraints: MatchResources | None = None
    validations: Annotated[list[Validation], list_atomic()] = []
    failure_policy: str | None = None
    audit_annotations: Annotated[list[AuditAnnotation], list_atomic()] = []
    match_conditions: Annotated[list[MatchCondition], list_map("name")] = []
    variables: Annotated[list[Variable], list_map("name")] = []


class ExpressionWarning(Struct):
    field_ref: str = zero(str)
    warning: str = zero(str)


class TypeChecking(Struct):
    expression_warnings: Annotated[list[ExpressionWarning], list_atomic()] = []


class ValidatingAdmissionPolicyStatus(Struct):
    observed_generation: int = 0
    type_checking: TypeChecking | None = None
    conditions: Annotated[list[Condition], list_map("type", strategy="")] = []


class ValidatingAdmissionPolicy(Object):
    spec: ValidatingAdmissionPolicySpec = zero(ValidatingAdmissionPolicySpec)
    status: ValidatingAdmissionPolicyStatus = zero(ValidatingAdmissionPolicyStatus)


def default(policy: ValidatingAdmissionPolicy) -> None:
    """Fail closed."""
    if policy.spec.failure_policy is None:
        policy.spec.failure_policy = "Fail"
    default_match(policy.spec.match_constraints)


REASONS = ("Unauthorized", "Forbidden", "Invalid", "RequestEntityTooLarge")
NOTHING_TO_DO = "validations or auditAnnotations must contain at least one item"


def _validation_rules(path: str, validation: Validation) -> list[FieldError]:
    broken: list[FieldError] = []
    if not validation.expression.strip():
        broken.append(rules.required(f"{path}.expression", "expression is not specified"))
    if "\n" in validation.expression and not (validation.message or validation.message_expression):
        words = "message must be specified if expression contains line breaks"
        broken.append(rules.required(f"{path}.message", words))
    if "\n" in validation.message:
        broken.append(rules.invalid(f"{path}.message", validation.message, "message must not contain line breaks"))
    if validation.reason is not None:
        broken += rules.one_of(f"{path}.reason", validation.reason, REASONS, empty="unsupported")
    return broken


def policy_rules(policy: ValidatingAdmissionPolicy) -> list[FieldError]:
    """What it is about and what it checks."""
    spec = policy.spec
    broken: list[FieldError] = []
    if spec.failure_policy is not None:
        broken += rules.one_of("spec.failurePolicy", spec.failure_policy, FAILURE_POLICIES, empty="unsupported")
    broken += param_kind_rules(spec.param_kind) + constraint_rules(spec.match_constraints)
    broken += condition_rules("spec.matchConditions", spec.match_conditions) + variable_rules(spec.variables)
    if not spec.validations and not spec.audit_annotations:
        broken.append(rules.required("spec.validations", NOTHING_TO_DO))
        broken.append(rules.required("spec.auditAnnotations", NOTHING_TO_DO))
    for at, validation in enumerate(spec.validations):
        broken += _validation_rules(f"spec.validations[{at}]", validation)
    for at, annotation in enumerate(spec.audit_annotations):
        if not annotation.key:
            broken.append(rules.required(f"spec.auditAnnotations[{at}].key"))
        if not annotation.value_expression.strip():
            words = "valueExpression is not specified"
            broken.append(rules.required(f"spec.auditAnnotations[{at}].valueExpression", words))
    return broken


KIND = Kind(
    type=ValidatingAdmissionPolicy,
    group="admissionregistration.k8s.io",
    version="v1",
    name="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    singular="validatingadmissionpolicy",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
    has_status=True,
    default=default,
    allow_unconditional_update=False,
    columns=described(
        "validatingadmissionpolicies",
        NAME,
        Column("Validations", "integer", lambda item, _: len(item.spec.validations)),
        Column("ParamKind", "string", lambda item, _: param_kind_text(item.spec.param_kind)),
        AGE,
    ),
    rules=policy_rules,
)
