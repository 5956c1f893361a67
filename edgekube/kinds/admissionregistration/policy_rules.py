"""Rules that admission policies and their bindings of both kinds share. Expressions are compiled elsewhere; here only their frame
is checked.

Source: pkg/apis/admissionregistration/validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.admissionregistration.matching import MatchResources, ParamKind, ParamRef, Variable
from edgekube.kinds.admissionregistration.webhook_rules import MATCH_POLICIES, operation_rules
from edgekube.kinds.core.meta_rules import label_selector

PARAMETER_ACTIONS = ("Allow", "Deny")
CEL_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
CEL_WORDS = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
     "loop", "package", "namespace", "return", "var", "void", "while"}
)  # fmt: skip


def match_rules(path: str, match: MatchResources) -> list[FieldError]:
    """Selectors, and rules to include and exclude."""
    broken: list[FieldError] = []
    if match.match_policy is not None:
        broken += rules.one_of(f"{path}.matchPolicy", match.match_policy, MATCH_POLICIES, empty="unsupported")
    broken += label_selector(f"{path}.namespaceSelector", match.namespace_selector)
    broken += label_selector(f"{path}.objectSelector", match.object_selector)
    for member, given in (
        ("resourceRules", match.resource_rules),
        ("excludeResourceRules", match.exclude_resource_rules),
    ):
        for at, rule in enumerate(given):
            broken += operation_rules(f"{path}.{member}[{at}]", rule)
    return broken


def constraint_rules(match: MatchResources | None) -> list[FieldError]:
    """A policy says what it is about."""
    if match is None:
        return [rules.required("spec.matchConstraints")]
    broken = match_rules("spec.matchConstraints", match)
    if not match.resource_rules:
        broken.append(rules.required("spec.matchConstraints.resourceRules"))
    return broken


def param_kind_rules(kind: ParamKind | None) -> list[FieldError]:
    """Version and kind of the parameters, if there are any."""
    if kind is None:
        return []
    broken: list[FieldError] = []
    if not kind.api_version:
        broken.append(rules.required("spec.paramKind.apiVersion"))
    if not kind.kind:
        broken.append(rules.required("spec.paramKind.kind"))
    else:
        broken += rules.each("spec.paramKind.kind", kind.kind, names.dns_1035_label(kind.kind.lower()))
    return broken


def variable_rules(variables: Sequence[Variable]) -> list[FieldError]:
    """Names a program can use, each with an expression."""
    broken: list[FieldError] = []
    for at, variable in enumerate(variables):
        path = f"spec.variables[{at}]"
        if not variable.name:
            broken.append(rules.required(f"{path}.name", "name is not specified"))
        elif not CEL_IDENTIFIER.fullmatch(variable.name) or variable.name in CEL_WORDS:
            broken.append(rules.invalid(f"{path}.name", variable.name, "must be a valid CEL identifier"))
        if not variable.expression.strip():
            broken.append(rules.required(f"{path}.expression", "expression is not specified"))
    return broken


def param_ref_rules(reference: ParamRef | None) -> list[FieldError]:
    """By name or by selector."""
    if reference is None:
        return []
    path = "spec.paramRef"
    broken: list[FieldError] = []
    if reference.name and reference.selector is not None:
        words = "name and selector are mutually exclusive"
        broken.append(rules.forbidden(f"{path}.name", words))
    if not reference.name and reference.selector is None:
        broken.append(rules.required(path, "one of name or selector must be specified"))
    if reference.name:
        broken += rules.each(f"{path}.name", reference.name, names.dns_subdomain(reference.name))
    broken += label_selector(f"{path}.selector", reference.selector)
    action = reference.parameter_not_found_action
    if action is None:
        broken.append(rules.required(f"{path}.parameterNotFoundAction"))
    else:
        broken += rules.one_of(f"{path}.parameterNotFoundAction", action, PARAMETER_ACTIONS, empty="unsupported")
    return broken


def binding_rules(policy_name: str, reference: ParamRef | None, match: MatchResources | None) -> list[FieldError]:
    """What bindings of both kinds have."""
    broken: list[FieldError] = []
    if not policy_name:
        broken.append(rules.required("spec.policyName"))
    else:
        broken += rules.each("spec.policyName", policy_name, names.dns_subdomain(policy_name))
    broken += param_ref_rules(reference)
    return broken if match is None else broken + match_rules("spec.matchResources", match)
