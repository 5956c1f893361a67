"""Every error edgekube raises, as one tree, split by whose fault it is.

    EdgekubeError
    ├── UsageError                 the person at the keyboard: one line, exit 2
    ├── EnvironmentError_          the machine: port in use, no containerd, disk full: one line, exit 1
    ├── StoreError                 the disk below us
    │   ├── StoreLocked            another server holds this data directory
    │   └── StoreCorrupt           the database does not pass its check and no snapshot helped
    ├── ConnectionFailed           a peer could not be reached (API server, containerd, node)
    │   └── Offline                known before asking: the line is down, nothing was sent
    ├── ProtocolError              a peer does not speak its protocol properly
    └── ApiError                   what an API server says to a client: carries the whole Status
        ├── BadRequest 400   ├── Unauthorized 401       ├── Forbidden 403        ├── NotFound 404
        ├── MethodNotAllowed 405  ├── NotAcceptable 406 ├── Conflict 409         ├── AlreadyExists 409
        ├── Gone 410 (Expired)    ├── TooLarge 413      ├── UnsupportedMediaType 415
        ├── Invalid 422      ├── TooManyRequests 429    ├── InternalError 500    ├── ServiceUnavailable 503
        └── Timeout 504

Only data here: no logging, no HTTP. `server` turns an ApiError into a response, `client` turns a response into
the same ApiError, so a caller cannot tell a local client from a remote one.
Source of codes and reasons: Kubernetes meta/v1 StatusReason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar


class EdgekubeError(Exception):
    """Base of everything raised on purpose."""


class UsageError(EdgekubeError):
    """The command or configuration cannot be understood; shown as one line, exit status 2."""


class EnvironmentError_(EdgekubeError):
    """The machine cannot do what was asked (port in use, missing program); one line, exit status 1."""


class StoreError(EdgekubeError):
    """The store could not read or write."""


class StoreLocked(StoreError):
    """Another process has this data directory open."""


class StoreCorrupt(StoreError):
    """The database is damaged beyond what snapshots could mend."""


class ConnectionFailed(EdgekubeError):
    """A peer could not be reached or went away in the middle."""


class Offline(ConnectionFailed):
    """The line is known to be down: nothing was sent, and asking again soon costs nothing."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of Status.details.causes: what is wrong with which field."""

    reason: str
    message: str
    field: str = ""

    def to_dict(self) -> dict[str, str]:
        """The wire form, empty members left out."""
        return {k: v for k, v in (("reason", self.reason), ("message", self.message), ("field", self.field)) if v}


class ProtocolError(EdgekubeError):
    """A peer breaks the rules of the protocol it speaks. `status` is what HTTP would answer."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ApiError(EdgekubeError):
    """A failure Status, raised. Subclasses fix `code` and `reason`; `ApiError` itself carries any other pair."""

    code: int = 500
    reason: str = ""
    BY_REASON: ClassVar[dict[str, type[ApiError]]] = {}
    # what was said on the way to the failure: texts of Warning headers, notes for the audit log
    warnings: Sequence[str] = ()
    annotations: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after_s: int = 0,
        code: int | None = None,
        reason: str | None = None,
        details: bool = True,
    ) -> None:
        """`kind` is the plural resource name in most answers, as upstream; `details=False` leaves the member out."""
        super().__init__(message)
        self.message = message
        self.name, self.group, self.kind, self.uid = name, group, kind, uid
        self.causes = tuple(causes)
        self.retry_after_s = retry_after_s
        self.has_details = details
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.reason:  # a special case of an error does not take its place
            ApiError.BY_REASON.setdefault(cls.reason, cls)

    def to_status(self) -> dict[str, Any]:
        """The `Status` object a client receives."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.has_details:
            details: dict[str, Any] = {
                key: value
                for key, value in (
                    ("name", self.name),
                    ("group", self.group),
                    ("kind", self.kind),
                    ("uid", self.uid),
                    ("causes", [cause.to_dict() for cause in self.causes]),
                    ("retryAfterSeconds", self.retry_after_s),
                )
                if value
            }
            status["details"] = details
        status["code"] = self.code
        return status

    @classmethod
    def from_status(cls, status: dict[str, Any]) -> ApiError:
        """The error a failure `Status` stands for."""
        reason = status.get("reason") or ""
        details = status.get("details") or {}
        made = ApiError.BY_REASON.get(reason, ApiError)
        return made(
            status.get("message") or reason or "unknown error",
            name=details.get("name") or "",
            group=details.get("group") or "",
            kind=details.get("kind") or "",
            uid=details.get("uid") or "",
            causes=[
                Cause(c.get("reason") or "", c.get("message") or "", c.get("field") or "")
                for c in details.get("causes") or ()
            ],
            retry_after_s=details.get("retryAfterSeconds") or 0,
            code=status.get("code") or made.code,
            reason=reason,
            details="details" in status,
        )


class BadRequest(ApiError):
    """The request cannot be understood."""

    code, reason = 400, "BadRequest"

    def __init__(self, message: str, **details: Any) -> None:
        details.setdefault("details", bool(details))
        super().__init__(message, **details)


class Unauthorized(ApiError):
    """Who is asking could not be established."""

    code, reason = 401, "Unauthorized"

    def __init__(self, message: str = "Unauthorized", **details: Any) -> None:
        details.setdefault("details", bool(details))
        super().__init__(message, **details)


class Forbidden(ApiError):
    """The asker may not do this."""

    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    """No such object, or no such resource."""

    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    """The resource does not have this verb."""

    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    """None of the asked-for media types can be produced."""

    code, reason = 406, "NotAcceptable"


class Conflict(ApiError):
    """Somebody wrote first, or a precondition or a field owner disagrees."""

    code, reason = 409, "Conflict"


class AlreadyExists(ApiError):
    """An object of this name is there already."""

    code, reason = 409, "AlreadyExists"


class Gone(ApiError):
    """The asked-for revision is no longer kept: list again."""

    code, reason = 410, "Expired"


class TooLarge(ApiError):
    """The request body is over its bound."""

    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    """The body's media type is not one this resource reads."""

    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """The object was understood but breaks its kind's rules; causes say where."""

    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    """Come back after `retry_after_s` seconds."""

    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    """Our mistake."""

    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    """A part the answer needs is not up."""

    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    """The answer did not come in time."""

    code, reason = 504, "Timeout"
