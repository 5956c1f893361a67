"""admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Condition, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.admissionregistration.mutatingadmissionpolicy import (
    MatchCondition,
    MatchResources,
    ParamKind,
    Variable,
    default_match,
    param_kind_text,
)
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
)
