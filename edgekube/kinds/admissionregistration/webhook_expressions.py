"""What matchConditions of webhooks may speak of, and whether one can be compiled.

Source: k8s.io/apiserver pkg/admission/plugin/cel/compile.go (BuildRequestType) and webhook/matchconditions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

PACKAGE = "kubernetes"


@lru_cache(maxsize=1)
def variables() -> tuple[tuple[str, Any], ...]:
    """The declared variables by name. Made when the first condition is read, for the language is large."""
    from edgekube.api.cel import authorizing, types

    def named(name: str, **fields: Any) -> Any:
        return types.object_of(f"{PACKAGE}.{name}", {field: (type_, field) for field, type_ in fields.items()})

    text = types.STRING
    kind = named("GroupVersionKind", group=text, version=text, kind=text)
    resource = named("GroupVersionResource", group=text, version=text, resource=text)
    texts = types.list_of(text)
    user = named("UserInfo", username=text, uid=text, groups=texts, extra=types.map_of(text, texts))
    request = named(
        "AdmissionRequest",
        kind=kind,
        resource=resource,
        subResource=text,
        requestKind=kind,
        requestResource=resource,
        requestSubResource=text,
        name=text,
        namespace=text,
        operation=text,
        userInfo=user,
        dryRun=types.BOOL,
        options=types.DYN,
    )
    return (
        ("object", types.DYN),
        ("oldObject", types.DYN),
        ("request", request),
        ("authorizer", authorizing.AUTHORIZER),
        ("authorizer.requestResource", authorizing.RESOURCE_CHECK),
    )


def compiled(expression: str) -> Any:
    """The program of a condition (kept by its text). Raises CelError."""
    from edgekube.api.cel.program import condition

    return condition(expression, variables())


def broken(expression: str) -> str:
    """Why a condition cannot be used, "" when it can."""
    from edgekube.api.cel.errors import CelError

    try:
        compiled(expression)
    except CelError as problem:
        return str(problem)
    return ""
