"""admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Condition, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.admissionregistration.mutatingadmissionpolicy import (
    MatchCondition,
    MatchResources,
    ParamKind,
    Variable,
)


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
)
