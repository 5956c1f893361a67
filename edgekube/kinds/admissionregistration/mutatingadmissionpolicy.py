"""admissionregistration.k8s.io/v1 MutatingAdmissionPolicy: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import LabelSelector, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.columns import AGE, NAME, UNSET, described


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


def default_match(match: MatchResources | None) -> None:
    """Match every equivalent version of everything, in every scope."""
    if match is None:
        return
    if match.match_policy is None:
        match.match_policy = "Equivalent"
    if match.namespace_selector is None:
        match.namespace_selector = LabelSelector()
    if match.object_selector is None:
        match.object_selector = LabelSelector()
    for rule in (*match.resource_rules, *match.exclude_resource_rules):
        if rule.scope is None:
            rule.scope = "*"


def default(policy: MutatingAdmissionPolicy) -> None:
    """Fail closed."""
    if policy.spec.failure_policy is None:
        policy.spec.failure_policy = "Fail"
    default_match(policy.spec.match_constraints)


def param_kind_text(kind: ParamKind | None) -> str:
    """ "v1/ConfigMap"."""
    return UNSET if kind is None else f"{kind.api_version}/{kind.kind}"


KIND = Kind(
    type=MutatingAdmissionPolicy,
    group="admissionregistration.k8s.io",
    version="v1",
    name="MutatingAdmissionPolicy",
    plural="mutatingadmissionpolicies",
    singular="mutatingadmissionpolicy",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
    default=default,
    allow_unconditional_update=False,
    columns=described(
        "mutatingadmissionpolicies",
        NAME,
        Column("Mutations", "integer", lambda item, _: len(item.spec.mutations)),
        Column("ParamKind", "string", lambda item, _: param_kind_text(item.spec.param_kind)),
        AGE,
    ),
)
