"""admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy: its types and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Condition, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.admissionregistration.expression_rules import condition_rules, expression_rules, policy_scope
from edgekube.kinds.admissionregistration.matching import (
    MatchCondition,
    MatchResources,
    ParamKind,
    Variable,
    default_match,
    param_kind_text,
)
from edgekube.kinds.admissionregistration.policy_rules import constraint_rules, param_kind_rules, variable_rules
from edgekube.kinds.admissionregistration.webhook_rules import FAILURE_POLICIES
from edgekube.kinds.columns import AGE, NAME, described

if TYPE_CHECKING:
    from edgekube.api.cel.admission import Scope as ExpressionScope


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


REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
NOTHING_TO_DO = "validations or auditAnnotations must contain at least one item"
ANNOTATIONS_MOST, ANNOTATION_BYTES = 20, 5 * 1024


def _validation_rules(path: str, validation: Validation, scope: ExpressionScope) -> list[FieldError]:
    from edgekube.api.cel.types import BOOL, STRING

    broken: list[FieldError] = []
    message, told = validation.message, validation.message_expression
    if not validation.expression.strip():
        broken.append(rules.required(f"{path}.expression", "expression is not specified"))
    else:
        broken += expression_rules(f"{path}.expression", validation.expression, BOOL, scope=scope)
    if told and not told.strip():
        broken.append(rules.invalid(f"{path}.messageExpression", told, "must be non-empty if specified"))
    elif told:
        broken += expression_rules(f"{path}.messageExpression", told, STRING, scope=scope, authorizer=False)
    if message and not message.strip():
        broken.append(rules.invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        broken.append(rules.invalid(f"{path}.message", message, "must not contain line breaks"))
    if validation.reason is not None:
        broken += rules.one_of(f"{path}.reason", validation.reason, REASONS, empty="unsupported")
    return broken


def _annotation_rules(name: str, annotations: list[AuditAnnotation], scope: ExpressionScope) -> list[FieldError]:
    from edgekube.api.cel.types import NULL, STRING

    broken: list[FieldError] = []
    if len(annotations) > ANNOTATIONS_MOST:
        words = f"must not have more than {ANNOTATIONS_MOST} auditAnnotations"
        broken.append(rules.invalid("spec.auditAnnotations", annotations, words))
    seen: set[str] = set()
    for at, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{at}]", annotation.key
        if name:
            whole = f"{name}/{key}"
            broken += rules.each(f"{path}.key", whole, names.qualified_name(whole))
        else:
            broken.append(rules.invalid(f"{path}.key", key, "requires metadata.name be non-empty"))
        text = annotation.value_expression.strip()
        if not text:
            broken.append(rules.required(f"{path}.valueExpression", "valueExpression is not specified"))
        elif len(text.encode()) > ANNOTATION_BYTES:
            words = f"must not exceed {ANNOTATION_BYTES} bytes in length"
            broken.append(rules.required(f"{path}.valueExpression", words))
        else:
            broken += expression_rules(f"{path}.valueExpression", text, STRING, NULL, scope=scope)
        if key in seen:
            broken.append(rules.duplicate(f"{path}.key", key))
        seen.add(key)
    return broken


def policy_rules(policy: ValidatingAdmissionPolicy) -> list[FieldError]:
    """What it is about and what it checks."""
    spec, params = policy.spec, policy.spec.param_kind is not None
    broken: list[FieldError] = []
    if spec.failure_policy is not None:
        broken += rules.one_of("spec.failurePolicy", spec.failure_policy, FAILURE_POLICIES, empty="unsupported")
    broken += param_kind_rules(spec.param_kind) + constraint_rules(spec.match_constraints)
    broken += condition_rules("spec.matchConditions", spec.match_conditions, params=params)
    scope, of_variables = policy_scope(spec.variables, params=params)
    broken += variable_rules(spec.variables) + of_variables
    if not spec.validations and not spec.audit_annotations:
        broken.append(rules.required("spec.validations", NOTHING_TO_DO))
        broken.append(rules.required("spec.auditAnnotations", NOTHING_TO_DO))
    for at, validation in enumerate(spec.validations):
        broken += _validation_rules(f"spec.validations[{at}]", validation, scope)
    return broken + _annotation_rules(policy.metadata.name, spec.audit_annotations, scope)


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
