"""Who asks, and what is asked: the two records that travel through authentication, authorisation, admission and audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgekube.net.exchange import Request


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated identity. Source: k8s.io/apiserver authentication/user."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
LOOPBACK = User("system:apiserver", ("system:masters", "system:authenticated"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What is to be authorised. For non-resource requests `path` is set and `resource` is ""."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    field_selector: str = ""
    label_selector: str = ""


@dataclass(slots=True, kw_only=True)
class Context:
    """One request on its way through the registry. `warnings` become Warning headers."""

    user: User
    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = ""  # "", "Ignore", "Warn", "Strict"
    warnings: list[str] = field(default_factory=list)
    options_kind: str = ""  # "PatchOptions" and so on, where the operation does not say it
    annotations: dict[str, str] = field(default_factory=dict)  # for the audit log


class Authenticator(Protocol):
    """Who is asking. Raises `errors.Unauthorized`; impersonation headers are handled after it, by the routes."""

    async def authenticate(self, request: Request) -> User: ...


class Authorizer(Protocol):
    """May they? `None` when allowed, else the reason to append to the 403 message (may be "")."""

    def refuse(self, attributes: Attributes) -> str | None: ...
