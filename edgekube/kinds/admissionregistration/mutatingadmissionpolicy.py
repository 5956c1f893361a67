"""admissionregistration.k8s.io/v1 MutatingAdmissionPolicy: its types and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, list_map, zero
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
from edgekube.kinds.admissionregistration.webhook_rules import FAILURE_POLICIES, REINVOCATION_POLICIES
from edgekube.kinds.columns import AGE, NAME, described

if TYPE_CHECKING:
    from edgekube.api.cel.admission import Scope as ExpressionScope


class ApplyConfiguration(Struct):
    expression: str = ""


class JSONPatch(Struct):
    expression: str = ""


class Mutation(Struct):
    patch_type: str = zero(str)
    apply_configuration: ApplyConfiguration | None = None
    json_patch: JSONPatch | None = None


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


def default(policy: MutatingAdmissionPolicy) -> None:
    """Fail closed."""
    if policy.spec.failure_policy is None:
        policy.spec.failure_policy = "Fail"
    default_match(policy.spec.match_constraints)


PATCH_TYPES = ("ApplyConfiguration", "JSONPatch")


def _mutation_rules(path: str, mutation: Mutation, scope: ExpressionScope) -> list[FieldError]:
    """The patch of the type it says, and no other."""
    from edgekube.api.cel.admission import APPLIED, PATCHES

    broken = rules.one_of(f"{path}.patchType", mutation.patch_type, PATCH_TYPES)
    if broken:
        return broken
    for member, kind, given, wanted in (
        ("applyConfiguration", "ApplyConfiguration", mutation.apply_configuration, APPLIED),
        ("jsonPatch", "JSONPatch", mutation.json_patch, PATCHES),
    ):
        if mutation.patch_type != kind:
            if given is not None:
                words = f"must not be specified when patchType is {mutation.patch_type}"
                broken.append(rules.invalid(f"{path}.{member}", f"{{{member}}}", words))
        elif given is None:
            broken.append(rules.required(f"{path}.{member}", f"must be specified when patchType is {kind}"))
        elif not given.expression.strip():
            broken.append(rules.required(f"{path}.{member}.expression", "expression is not specified"))
        else:
            broken += expression_rules(f"{path}.{member}.expression", given.expression, wanted, scope=scope)
    return broken


def policy_rules(policy: MutatingAdmissionPolicy) -> list[FieldError]:
    """What it is about and what it changes."""
    spec, params = policy.spec, policy.spec.param_kind is not None
    broken: list[FieldError] = []
    if spec.failure_policy is not None:
        broken += rules.one_of("spec.failurePolicy", spec.failure_policy, FAILURE_POLICIES, empty="unsupported")
    broken += param_kind_rules(spec.param_kind) + constraint_rules(spec.match_constraints)
    if spec.match_constraints is not None:
        asked = {one for rule in spec.match_constraints.resource_rules for one in rule.operations}
        if "DELETE" in asked:
            path = "spec.matchConstraints.resourceRules.operations"
            broken.append(rules.not_supported(path, "DELETE", ("*", "CONNECT", "CREATE", "UPDATE")))
    broken += condition_rules("spec.matchConditions", spec.match_conditions, params=params)
    scope, of_variables = policy_scope(spec.variables, params=params, patching=True)
    broken += variable_rules(spec.variables) + of_variables
    if not spec.mutations:
        broken.append(rules.required("spec.mutations", "mutations must contain at least one item"))
    for at, mutation in enumerate(spec.mutations):
        broken += _mutation_rules(f"spec.mutations[{at}]", mutation, scope)
    return broken + rules.one_of("spec.reinvocationPolicy", spec.reinvocation_policy, REINVOCATION_POLICIES)


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
    rules=policy_rules,
)
