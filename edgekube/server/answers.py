"""The sentences an API server says when it refuses: one function per situation, each making the ApiError with upstream's words.

Only wording lives here. Who decides that something is refused is elsewhere. Source: k8s.io/apimachinery pkg/api/errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekube import errors
from edgekube.api import rules
from edgekube.api.kind import FieldError, Kind
from edgekube.errors import Cause

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
WRONG_NAMESPACE = "the namespace of the provided object does not match the namespace sent on the request"


def resource_name(kind: Kind[Any]) -> str:
    """ "pods", "deployments.apps"."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def kind_name(kind: Kind[Any]) -> str:
    """ "Pod", "Deployment.apps"."""
    return f"{kind.name}.{kind.group}" if kind.group else kind.name


def not_found(kind: Kind[Any], name: str) -> errors.NotFound:
    """No object of this name."""
    return errors.NotFound(f'{resource_name(kind)} "{name}" not found', name=name, group=kind.group, kind=kind.plural)


def already_exists(kind: Kind[Any], name: str) -> errors.AlreadyExists:
    """The name is taken."""
    return errors.AlreadyExists(
        f'{resource_name(kind)} "{name}" already exists', name=name, group=kind.group, kind=kind.plural
    )


def conflict(kind: Kind[Any], name: str, why: str = MODIFIED) -> errors.Conflict:
    """Somebody wrote first."""
    return errors.Conflict(
        f'Operation cannot be fulfilled on {resource_name(kind)} "{name}": {why}',
        name=name,
        group=kind.group,
        kind=kind.plural,
    )


def forbidden(kind: Kind[Any], name: str, why: str, causes: Sequence[Cause] = ()) -> errors.Forbidden:
    """An admission step refuses."""
    of = f' "{name}"' if name else ""
    return errors.Forbidden(
        f"{resource_name(kind)}{of} is forbidden: {why}", name=name, group=kind.group, kind=kind.plural, causes=causes
    )


def invalid(kind: Kind[Any], name: str, broken: Sequence[FieldError]) -> errors.Invalid:
    """The object breaks rules of its kind."""
    return rules.invalid_object(kind.name, kind.group, name, broken)


def invalid_named(shown: str, kind: str, group: str, name: str, broken: Sequence[FieldError]) -> errors.Invalid:
    """As `invalid`, for things that are no stored kind (options, subresource bodies)."""
    told = list(dict.fromkeys(str(one) for one in broken))
    text = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    return errors.Invalid(
        f'{shown} "{name}" is invalid: {text}',
        name=name,
        group=group,
        kind=kind,
        causes=[one.to_cause() for one in broken],
    )


def must_have_revision(kind: Kind[Any], name: str) -> errors.Invalid:
    """An update of a kind that may not be updated unconditionally came without a resourceVersion."""
    broken = FieldError(
        "FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"
    )
    return invalid_named(resource_name(kind), kind.plural, kind.group, name, [broken])


def no_such_resource() -> errors.NotFound:
    """The path names nothing this server has."""
    return errors.NotFound("the server could not find the requested resource")


def no_such_method() -> errors.MethodNotAllowed:
    """The path is known, the verb is not one of its."""
    return errors.MethodNotAllowed("the server does not allow this method on the requested resource")


def bad_number(text: str, function: str = "ParseInt") -> str:
    """Go's words for text that is no number."""
    return f'strconv.{function}: parsing "{text}": invalid syntax'


def revision_too_large(asked: int, current: int) -> errors.Timeout:
    """The asked-for revision has not happened yet."""
    return errors.Timeout(
        f"Timeout: Too large resource version: {asked}, current: {current}",
        causes=[Cause("ResourceVersionTooLarge", "Too large resource version")],
        retry_after_s=1,
    )


def precondition_failed(kind: Kind[Any], name: str, why: str) -> errors.Conflict:
    """A deletion's precondition does not hold; upstream names the kind here, not the resource."""
    return errors.Conflict(
        f'Operation cannot be fulfilled on {kind_name(kind)} "{name}": {why}',
        name=name,
        group=kind.group,
        kind=kind.name,
    )


def success(kind: Kind[Any], name: str, uid: str) -> dict[str, Any]:
    """The Status a deletion answers with when the kind does not answer the object."""
    details = {"name": name, "group": kind.group, "kind": kind.plural, "uid": uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }
