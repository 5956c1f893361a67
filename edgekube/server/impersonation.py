"""Impersonate-* headers: acting as somebody else, where one may. Source: k8s.io/apiserver pkg/endpoints/filters/impersonation.go."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

from edgekube import errors
from edgekube.net.exchange import Request
from edgekube.server.context import Attributes, Authorizer, User

EXTRA = "impersonate-extra-"
SERVICE_ACCOUNT = "system:serviceaccount:"
ALL_AUTHENTICATED, ALL_UNAUTHENTICATED, ANONYMOUS = "system:authenticated", "system:unauthenticated", "system:anonymous"
AUTHENTICATION_GROUP = "authentication.k8s.io"


def impersonate(request: Request, user: User, authorizer: Authorizer) -> User:
    """The user that the headers name, or `user` without such headers. Raises Forbidden and InternalError as upstream."""
    name, groups = request.header("impersonate-user"), request.all_headers("impersonate-group")
    uid = request.header("impersonate-uid")
    extra: dict[str, list[str]] = {}
    for header, value in request.headers:
        if header.startswith(EXTRA):
            extra.setdefault(unquote(header.removeprefix(EXTRA)), []).append(value)
    if not name:
        if groups or uid or extra:
            asked = "groups" if groups else "extra" if extra else "uid"
            raise errors.InternalError(
                f"Internal error occurred: requested {_shown(groups, extra, uid)} without impersonating a user"
                if asked
                else "",
                details=False,
            )
        return user
    _check(authorizer, _asks(user, name, groups, uid, extra))
    if not groups and name.startswith(SERVICE_ACCOUNT) and name.count(":") == 3:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}"]
    if name == ANONYMOUS:
        if ALL_UNAUTHENTICATED not in groups:
            groups = [*groups, ALL_UNAUTHENTICATED]
    elif ALL_AUTHENTICATED not in groups and ALL_UNAUTHENTICATED not in groups:
        groups = [*groups, ALL_AUTHENTICATED]
    return User(name, tuple(groups), uid, {key: tuple(values) for key, values in extra.items()})


def _shown(groups: list[str], extra: dict[str, list[str]], uid: str) -> str:
    """What was asked for, as upstream's message lists object references."""
    asked = [f"{{Group  {name}  }}" for name in groups]
    asked += [
        f"{{UserExtra  {value} {AUTHENTICATION_GROUP}/v1  {key}}}" for key, values in extra.items() for value in values
    ]
    asked += [f"{{UID  {uid} {AUTHENTICATION_GROUP}/v1  }}"] if uid else []
    return f"[{' '.join(asked)}]"


def _asks(user: User, name: str, groups: list[str], uid: str, extra: dict[str, list[str]]) -> list[Attributes]:
    ask = Attributes(user=user, verb="impersonate", version="v1")
    parts = name.split(":")
    asks = []
    if name.startswith(SERVICE_ACCOUNT) and len(parts) == 4:
        asks.append(replace(ask, resource="serviceaccounts", namespace=parts[2], name=parts[3]))
    else:
        asks.append(replace(ask, resource="users", name=name))
    asks += [replace(ask, resource="groups", name=group) for group in groups]
    for key, values in extra.items():
        asks += [
            replace(ask, group=AUTHENTICATION_GROUP, resource="userextras", subresource=key, name=value)
            for value in values
        ]
    if uid:
        asks.append(replace(ask, group=AUTHENTICATION_GROUP, resource="uids", name=uid))
    return asks


def _check(authorizer: Authorizer, asks: list[Attributes]) -> None:
    from edgekube.server.routes import forbidden

    for ask in asks:
        reason = authorizer.refuse(ask)
        if reason is not None:
            raise forbidden(ask, reason)
