"""matchConditions of webhooks: CEL expressions that say whether a write is to be sent at all.

Compiled when first asked and kept with the hook. Source: k8s.io/apiserver pkg/admission/plugin/webhook/matchconditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekube.server import answers
from edgekube.server.admission.interface import Review
from edgekube.server.admission.webhook_calls import request_of
from edgekube.server.admission.webhook_matching import Hook, Invocation
from edgekube.server.context import Authorizer

VARIABLES: dict[str, Any] = dict.fromkeys(("object", "oldObject", "request", "authorizer"))


def bindings(
    invoked: Invocation, review: Review, objects: tuple[Any, Any], authorizer: Authorizer
) -> Mapping[str, Any]:
    """What expressions may speak of."""
    request = request_of(invoked, review, "", objects)
    for name in ("object", "oldObject"):
        request.pop(name, None)
    return {"object": objects[0], "oldObject": objects[1], "request": request, "authorizer": authorizer}


def holds(hook: Hook, review: Review, bound: Mapping[str, Any]) -> bool:
    """Whether all conditions are true. Raises Forbidden where one cannot be evaluated (a webhook that ignores failures is
    then skipped instead)."""
    from edgekube.api.cel import CelError

    failures: list[str] = []
    for program in _compiled(hook):
        try:
            if isinstance(program, CelError):
                raise program
            if program.evaluate(bound) is not True:
                return False
        except CelError as problem:
            failures.append(str(problem))
    if not failures:
        return True
    if hook.ignores_failures:
        return False
    text = failures[0] if len(failures) == 1 else f"[{', '.join(dict.fromkeys(failures))}]"
    raise answers.forbidden(review.kind, review.name, text)


def _compiled(hook: Hook) -> list[Any]:
    from edgekube.api.cel import CelError, compile_expression

    if hook.conditions is None:
        made: list[Any] = []
        for condition in hook.webhook.match_conditions:
            try:
                made.append(compile_expression(condition.expression, VARIABLES, result=bool))
            except CelError as problem:
                made.append(problem)
        hook.conditions = made
    return list(hook.conditions)
