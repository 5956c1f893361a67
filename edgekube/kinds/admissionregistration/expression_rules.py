"""Rules about the expressions of policies and webhooks: that they can be compiled and come to what is asked of them.

CEL is loaded when the first object with an expression is written. Source: pkg/apis/admissionregistration/validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.admissionregistration.matching import MatchCondition, Variable

if TYPE_CHECKING:
    from edgekube.api.cel.admission import Scope
    from edgekube.api.cel.types import Type

CONDITIONS_MOST = 64


def expression_rules(path: str, text: str, *wanted: Type, scope: Scope, authorizer: bool = True) -> list[FieldError]:
    """One expression."""
    from edgekube.api.cel.admission import checked

    wrong = checked(text, *wanted, scope=scope, authorizer=authorizer)
    return [rules.invalid(path, text, wrong)] if wrong else []


def condition_rules(path: str, conditions: Sequence[MatchCondition], *, params: bool = False) -> list[FieldError]:
    """Names of their own, and expressions that come to true or false."""
    if not conditions:
        return []
    from edgekube.api.cel.admission import Scope
    from edgekube.api.cel.types import BOOL

    scope = Scope(params=params)
    broken: list[FieldError] = []
    if len(conditions) > CONDITIONS_MOST:
        broken.append(rules.too_many(path, len(conditions), CONDITIONS_MOST))
    seen: set[str] = set()
    for at, condition in enumerate(conditions):
        here, text = f"{path}[{at}]", condition.expression.strip()
        if not text:
            broken.append(rules.required(f"{here}.expression"))
        else:
            broken += expression_rules(f"{here}.expression", text, BOOL, scope=scope)
        if not condition.name:
            broken.append(rules.required(f"{here}.name"))
        else:
            broken += rules.each(f"{here}.name", condition.name, names.qualified_name(condition.name))
            if condition.name in seen:
                broken.append(rules.duplicate(f"{here}.name", condition.name))
            seen.add(condition.name)
    return broken


def policy_scope(
    variables: Sequence[Variable], *, params: bool, patching: bool = False
) -> tuple[Scope, list[FieldError]]:
    """What a policy's expressions may speak of, and what is wrong with the expressions of its variables."""
    from edgekube.api.cel.admission import Scope
    from edgekube.api.cel.errors import CompileError

    scope = Scope(params=params, patching=patching, composed=bool(variables))
    broken: list[FieldError] = []
    for at, variable in enumerate(variables):
        if not variable.expression.strip():
            continue
        try:
            scope.add(variable.name, variable.expression)
        except CompileError as problem:
            broken.append(rules.invalid(f"spec.variables[{at}].expression", variable.expression, str(problem)))
    return scope, broken
