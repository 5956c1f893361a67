"""matchConditions of webhooks: CEL expressions that say whether a write is to be sent at all.

Source: k8s.io/apiserver pkg/admission/plugin/webhook/matchconditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekube.server import answers
from edgekube.server.admission.interface import CONNECT, CREATE, DELETE, UPDATE, Review
from edgekube.server.admission.webhook_calls import request_of
from edgekube.server.admission.webhook_matching import Hook, Invocation
from edgekube.server.context import Attributes, Authorizer, User

VERBS = {CREATE: "create", UPDATE: "update", DELETE: "delete", CONNECT: "connect"}


def bindings(
    invoked: Invocation, review: Review, objects: tuple[Any, Any], authorizer: Authorizer
) -> Mapping[str, Any]:
    """What expressions may speak of."""
    from edgekube.api.cel import authorizing

    request = request_of(invoked, review, "", objects)
    for name in ("object", "oldObject"):
        request.pop(name, None)
    user = review.context.user

    def ask(question: Any) -> tuple[bool, str]:
        asker = user if question.account is None else _account(*question.account)
        reason = authorizer.refuse(
            Attributes(
                user=asker,
                verb=question.verb,
                path=question.path,
                group=question.group,
                version="*",
                resource=question.resource,
                subresource=question.subresource,
                namespace=question.namespace,
                name=question.name,
                field_selector=question.field_selector,
                label_selector=question.label_selector,
            )
        )
        return reason is None, reason or ""

    kind = review.kind
    about = authorizing.Question(
        group=kind.group,
        resource=kind.plural,
        subresource=review.subresource,
        namespace=review.namespace,
        name=review.name,
    )
    return {
        "object": objects[0],
        "oldObject": objects[1],
        "request": request,
        "authorizer": authorizing.authorizer(ask),
        "authorizer.requestResource": authorizing.resource_check(ask, about),
    }


def _account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


def holds(hook: Hook, review: Review, bound: Mapping[str, Any]) -> bool:
    """Whether all conditions are true. Raises Forbidden where one cannot be evaluated (a webhook that ignores failures is
    then skipped instead)."""
    from edgekube.api.cel.admission import Scope, compiled_conditions, conditions_hold

    programs = compiled_conditions((one.expression for one in hook.webhook.match_conditions), Scope())
    answer = conditions_hold(programs, bound)
    if isinstance(answer, bool):
        return answer
    if hook.ignores_failures:
        return False
    raise answers.forbidden(review.kind, review.name, answer[0] if len(answer) == 1 else f"[{', '.join(answer)}]")
