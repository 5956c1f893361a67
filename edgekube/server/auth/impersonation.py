"""Acting as somebody else: Impersonate-* headers, in the constrained modes first and the old way last.

A mode is tried when it fits the wanted user; the first that allows wins, else the first refusal is told. The mode that last
worked for an asker is tried first, so that the old way costs those who use it nothing.
Source: k8s.io/apiserver pkg/endpoints/filters/impersonation (KEP-5284).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import unquote

from edgekube.api.names import dns_subdomain
from edgekube.errors import ApiError, BadRequest
from edgekube.net.exchange import Request
from edgekube.server.auth.serviceaccounts import EXTRA, groups_of, split_username
from edgekube.server.context import ANONYMOUS, Attributes, Authorizer, User

GROUP = "authentication.k8s.io"
NODE = "system:node:"
EXTRA_HEADER = "impersonate-extra-"
REMEMBERED_ASKERS = 1024
MANY = 4  # from here on, constrained modes ask for "*" before asking for each
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"

Refusal = Callable[[Attributes, str], ApiError]


@dataclass(frozen=True, slots=True)
class Mode:
    """One way of impersonating. `name` "" is the old way."""

    name: str

    @property
    def verb(self) -> str:
        return f"impersonate:{self.name}" if self.name else "impersonate"

    def fits(self, wanted: User, asker: User) -> bool:
        """Whether this mode is for such a user at all."""
        node, account = node_name(wanted.name), split_username(wanted.name)
        bare = not (wanted.uid or wanted.groups or wanted.extra)
        if self.name == "associated-node":
            own = asker.extra.get(f"{EXTRA}node-name", ())
            return bare and node is not None and split_username(asker.name) is not None and tuple(own) == (node,)
        if self.name == "arbitrary-node":
            return bare and node is not None
        if self.name == "serviceaccount":
            return bare and account is not None
        return not self.name or (node is None and account is None)


MODES = (Mode("associated-node"), Mode("arbitrary-node"), Mode("serviceaccount"), Mode("user-info"), Mode(""))


class Impersonation:
    """Turns the asker into the user the headers name. `refusal` words a 403."""

    def __init__(self, authorizer: Authorizer, refusal: Refusal) -> None:
        self._authorizer, self._refusal = authorizer, refusal
        self._worked: OrderedDict[tuple[str, tuple[str, ...]], Mode] = OrderedDict()

    def act_as(self, request: Request, asked: Attributes) -> User:
        """The user to go on with; `asked` is what the asker wants to do. Raises BadRequest, Forbidden."""
        wanted = wanted_user(request)
        if wanted is None:
            return asked.user
        asker = (asked.user.name, asked.user.groups)
        last = self._worked.get(asker)
        modes = MODES if last is None else (last, *(mode for mode in MODES if mode != last))
        first: ApiError | None = None
        for mode in modes:
            if not mode.fits(wanted, asked.user):
                continue
            refused = self._check(mode, wanted, asked)
            if refused is None:
                self._worked[asker] = mode
                self._worked.move_to_end(asker)
                if len(self._worked) > REMEMBERED_ASKERS:
                    self._worked.popitem(last=False)
                return _with_groups(mode, wanted)
            first = first or refused
        assert first is not None, "the old way fits everybody"
        raise first

    def _check(self, mode: Mode, wanted: User, asked: Attributes) -> ApiError | None:
        if mode.name:
            refused = self._ask(replace(asked, verb=f"impersonate-on:{mode.name}:{asked.verb}"))
            if refused is not None:
                return refused
        for step in self._questions(mode, wanted, asked.user):
            if isinstance(step, ApiError):
                return step
            refused = self._ask(step)
            if refused is not None:
                return refused
        return None

    def _questions(self, mode: Mode, wanted: User, asker: User) -> list[Attributes | ApiError]:
        group = GROUP if mode.name else ""
        ask = Attributes(user=asker, verb=mode.verb, version="v1")
        about = replace(ask, group=group)
        questions: list[Attributes | ApiError] = [self._about_name(mode, wanted, about)]
        if wanted.uid:
            questions.append(replace(ask, group=GROUP, resource="uids", name=wanted.uid))
        groups = replace(about, resource="groups")
        if mode.name and "" in wanted.groups:
            questions.append(self._refusal(groups, "impersonating the empty string group is not allowed"))
        if mode.name and "system:masters" in wanted.groups:
            masters = replace(groups, name="system:masters")
            questions.append(self._refusal(masters, "impersonating the system:masters group is not allowed"))
        if not (mode.name and len(wanted.groups) >= MANY and self._ask(replace(groups, name="*")) is None):
            questions += [replace(groups, name=name) for name in wanted.groups]
        for key, values in wanted.extra.items():
            extra = replace(ask, group=GROUP, resource="userextras", subresource=key)
            questions += [replace(extra, name=value) for value in values]
        return questions

    @staticmethod
    def _about_name(mode: Mode, wanted: User, about: Attributes) -> Attributes:
        node, account = node_name(wanted.name), split_username(wanted.name)
        if mode.name and node is not None:
            return replace(about, resource="nodes", name="*" if mode.name == "associated-node" else node)
        if account is not None:
            return replace(about, resource="serviceaccounts", namespace=account[0], name=account[1])
        return replace(about, resource="users", name=wanted.name)

    def _ask(self, attributes: Attributes) -> ApiError | None:
        reason = self._authorizer.refuse(attributes)
        return None if reason is None else self._refusal(attributes, reason)


def wanted_user(request: Request) -> User | None:
    """The user exactly as the headers name them, None without such headers. Raises BadRequest."""
    name, uid = request.header("impersonate-user"), request.header("impersonate-uid")
    groups = tuple(request.all_headers("impersonate-group"))
    extra: dict[str, tuple[str, ...]] = {}
    for header, value in request.headers:
        if header.startswith(EXTRA_HEADER):
            key = unquote(header.removeprefix(EXTRA_HEADER))
            extra[key] = (*extra.get(key, ()), value)
    if not name and (uid or groups or extra):
        raise BadRequest(f"requested {_go_user(uid, groups, extra)} without impersonating a user name")
    return User(name, groups, uid, extra) if name else None


def node_name(username: str) -> str | None:
    """The node of a node's user name."""
    name = username.removeprefix(NODE)
    return name if username.startswith(NODE) and not dns_subdomain(name) else None


def _with_groups(mode: Mode, wanted: User) -> User:
    groups = wanted.groups
    account = split_username(wanted.name)
    if account is not None and not groups:
        groups = groups_of(account[0])[:-1]
    elif mode.name and node_name(wanted.name) is not None:
        groups = ("system:nodes",)
    if wanted.name == ANONYMOUS.name:
        if UNAUTHENTICATED not in groups:
            groups = (*groups, UNAUTHENTICATED)
    elif UNAUTHENTICATED not in groups and AUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return replace(wanted, groups=groups)


def _go_user(uid: str, groups: tuple[str, ...], extra: dict[str, tuple[str, ...]]) -> str:
    """As Go prints the record, which is what clients see."""
    listed = "[]string{" + ", ".join(f'"{group}"' for group in groups) + "}" if groups else "[]string(nil)"
    pairs = ", ".join(
        f'"{key}":[]string{{' + ", ".join(f'"{value}"' for value in values) + "}"
        for key, values in sorted(extra.items())
    )
    mapped = f"map[string][]string{{{pairs}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:"{uid}", Groups:{listed}, Extra:{mapped}}}'
