"""Which flow a request belongs to: FlowSchemas by precedence, the first that matches counts. Pure.

Source: k8s.io/apiserver pkg/util/flowcontrol (rule.go) and flowcontrol/v1 types.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekube.server.auth.serviceaccounts import PREFIX
from edgekube.server.context import Attributes


def in_order(schemas: Sequence[Any]) -> list[Any]:
    """By precedence, then by name."""
    return sorted(schemas, key=lambda one: (one.spec.matching_precedence, one.metadata.name))


def matches(schema: Any, asked: Attributes) -> bool:
    """Whether a schema means this request."""
    return any(_subject(rule, asked) and _about(rule, asked) for rule in schema.spec.rules)


def _subject(rule: Any, asked: Attributes) -> bool:
    return any(_is(one, asked) for one in rule.subjects or ())


def _is(subject: Any, asked: Attributes) -> bool:
    user = asked.user
    if subject.kind == "User" and subject.user is not None:
        return subject.user.name in ("*", user.name)
    if subject.kind == "Group" and subject.group is not None:
        return subject.group.name == "*" or subject.group.name in user.groups
    if subject.kind == "ServiceAccount" and (account := subject.service_account) is not None:
        if account.name == "*":
            return user.name.startswith(f"{PREFIX}{account.namespace}:")
        return bool(user.name == f"{PREFIX}{account.namespace}:{account.name}")
    return False


def _has(allowed: Sequence[str] | None, value: str) -> bool:
    return allowed is not None and ("*" in allowed or value in allowed)


def _about(rule: Any, asked: Attributes) -> bool:
    if not asked.resource:
        return any(
            _has(one.verbs, asked.verb) and any(_path(url, asked.path) for url in one.non_resource_urls or ())
            for one in rule.non_resource_rules
        )
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    return any(
        _has(one.verbs, asked.verb)
        and _has(one.api_groups, asked.group)
        and _has(one.resources, resource)
        and (_has(one.namespaces, asked.namespace) if asked.namespace else one.cluster_scope)
        for one in rule.resource_rules
    )


def _path(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern[:-1]))


def distinguisher(schema: Any, asked: Attributes) -> str:
    """What tells flows of a schema apart."""
    method = schema.spec.distinguisher_method
    if method is None:
        return ""
    return asked.user.name if method.type == "ByUser" else asked.namespace
