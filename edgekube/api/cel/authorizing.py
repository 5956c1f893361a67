"""The authorizer library: a policy asks what its user may do.

Who decides is a function given from outside; here is only how the question is put together.

Source: k8s.io/apiserver pkg/cel/library/authz.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edgekube.api import names
from edgekube.api.cel import types
from edgekube.api.cel.declarations import Line
from edgekube.api.cel.errors import CelError
from edgekube.api.cel.values import Opaque

PREFIX = "kubernetes.authorization."
AUTHORIZER = types.object_type(f"{PREFIX}Authorizer")
RESOURCE_CHECK = types.object_type(f"{PREFIX}ResourceCheck")
CHECK_COST = 350_000


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `account`: (namespace, name) of a ServiceAccount, or None for the user of the request."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    account: tuple[str, str] | None = None


# (whether it is allowed, why or why not)
Ask = Callable[[Question], tuple[bool, str]]


class _Check(Opaque):
    """`mark` is (whom to ask, what so far)."""

    __slots__ = ()


class Authorizer(_Check):
    """Nothing is asked yet."""

    NAME = f"{PREFIX}Authorizer"
    __slots__ = ()


class PathCheck(_Check):
    """About a path."""

    NAME = f"{PREFIX}PathCheck"
    __slots__ = ()


class GroupCheck(_Check):
    """About a group."""

    NAME = f"{PREFIX}GroupCheck"
    __slots__ = ()


class ResourceCheck(_Check):
    """About a resource."""

    NAME = f"{PREFIX}ResourceCheck"
    __slots__ = ()


class Decision(Opaque):
    """`mark` is (whether it is allowed, why)."""

    NAME = f"{PREFIX}Decision"
    __slots__ = ()


def authorizer(ask: Ask) -> Authorizer:
    """The value of the variable `authorizer`."""
    return Authorizer((ask, Question()))


def resource_check(ask: Ask, question: Question) -> ResourceCheck:
    """The value of the variable `authorizer.requestResource`."""
    return ResourceCheck((ask, question))


def _more(kind: type[_Check], check: Any, **parts: Any) -> Any:
    ask, question = check.mark
    return kind((ask, replace(question, **parts)))


def _given(word: str, text: str) -> str:
    if not text.strip():
        raise CelError(f"{word} must not be empty")
    return text


def _service_account(check: Authorizer, namespace: str, name: str) -> Any:
    if names.dns_subdomain(name):
        raise CelError("Invalid service account name")
    if names.dns_label(namespace):
        raise CelError("Invalid service account namespace")
    return _more(Authorizer, check, account=(namespace, name))


def _decided(check: Any, verb: str) -> Decision:
    ask, question = check.mark
    return Decision(ask(replace(question, verb=verb)))


def _costly(*_: Any) -> int:
    return CHECK_COST


_K = PREFIX
AUTHORIZING: list[Line] = [
    ("authorizer_path", f"{_K}Authorizer -> path(string): {_K}PathCheck", lambda a, t: _more(PathCheck, a, path=_given("path", t))),
    ("authorizer_group", f"{_K}Authorizer -> group(string): {_K}GroupCheck", lambda a, t: _more(GroupCheck, a, group=t)),
    ("authorizer_serviceaccount", f"{_K}Authorizer -> serviceAccount(string, string): {_K}Authorizer", _service_account),
    (
        "groupcheck_resource",
        f"{_K}GroupCheck -> resource(string): {_K}ResourceCheck",
        lambda g, t: _more(ResourceCheck, g, resource=_given("resource", t)),
    ),
    *(
        (identity, f"{_K}ResourceCheck -> {name}(string): {_K}ResourceCheck", lambda r, t, part=part: _more(ResourceCheck, r, **{part: t}))
        for identity, name, part in (
            ("resourcecheck_subresource", "subresource", "subresource"),
            ("resourcecheck_namespace", "namespace", "namespace"),
            ("resourcecheck_name", "name", "name"),
            ("authorizer_fieldselector", "fieldSelector", "field_selector"),
            ("authorizer_labelselector", "labelSelector", "label_selector"),
        )
    ),
    ("pathcheck_check", f"{_K}PathCheck -> check(string): {_K}Decision", _decided, _costly),
    ("resourcecheck_check", f"{_K}ResourceCheck -> check(string): {_K}Decision", _decided, _costly),
    ("decision_errored", f"{_K}Decision -> errored(): bool", lambda _: False),
    ("decision_error", f"{_K}Decision -> error(): string", lambda _: ""),
    ("decision_allowed", f"{_K}Decision -> allowed(): bool", lambda decision: decision.mark[0]),
    ("decision_reason", f"{_K}Decision -> reason(): string", lambda decision: decision.mark[1]),
]  # fmt: skip
