"""admissionregistration.k8s.io/v1 MutatingAdmissionPolicy: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import LabelSelector, Object, Struct, list_atomic, list_map, zero


class MatchCondition(Struct):
    name: str = zero(str)
    expression: str = zero(str)


class NamedRuleWithOperations(Struct):
    ATOMIC: ClassVar[bool] = True
    resource_names: Annotated[list[str], list_atomic()] = []
    operations: Annotated[list[str], list_atomic()] = []
    api_groups: Annotated[list[str], list_atomic()] = []
    api_versions: Annotated[list[str], list_atomic()] = []
    resources: Annotated[list[str], list_atomic()] = []
    scope: str | None = None


class MatchResources(Struct):
    ATOMIC: ClassVar[bool] = True
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    resource_rules: Annotated[list[NamedRuleWithOperations], list_atomic()] = []
    exclude_resource_rules: Annotated[list[NamedRuleWithOperations], list_atomic()] = []
    match_policy: str | None = None


class ApplyConfiguration(Struct):
    expression: str = ""


class JSONPatch(Struct):
    expression: str = ""


class Mutation(Struct):
    patch_type: str = zero(str)
    apply_configuration: ApplyConfiguration | None = None
    json_patch: JSONPatch | None = None


class ParamKind(Struct):
    ATOMIC: ClassVar[bool] = True
    api_version: str = ""
    kind: str = ""


class Variable(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str = zero(str)
    expression: str = zero(str)


class MutatingAdmissionPolicySpec(Struct):
    param_kind: ParamKind | None = None
    match_constraints: MatchResources | None = None
    variables: Annotated[list[Variable], list_atomic()] = []
    mutations: Annotated[list[Mutation], list_atomic()] = []
    failure_policy: str | None = None
    match_conditions: Annotated[list[MatchCondition], list_map("name")] = []
    reinvocation_policy: str = ""


class MutatingAdmissionPolicy(Object):
    spec: MutatingAdmissionPolicySpec = zero(MutatingAdmissionPolicySpec)


KIND = Kind(
    type=MutatingAdmissionPolicy,
    group="admissionregistration.k8s.io",
    version="v1",
    name="MutatingAdmissionPolicy",
    plural="mutatingadmissionpolicies",
    singular="mutatingadmissionpolicy",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
)
