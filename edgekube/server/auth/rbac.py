"""The RBAC authoriser: who is bound to which role, kept in memory and exact to the last committed write.

Four watches on the store are drained, without waiting, before every decision: a binding that was acknowledged counts for the
very next request, and nothing is read from disk to decide. Source: k8s.io/kubernetes plugin/pkg/auth/authorizer/rbac.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from edgekube.server.auth.rules import Rule, from_wire
from edgekube.server.auth.serviceaccounts import PREFIX
from edgekube.server.context import Attributes, User
from edgekube.store.interface import ChangeType, Compacted, Key, Row, Store, Watch

GROUP = "rbac.authorization.k8s.io"
ROLES, CLUSTER_ROLES = f"{GROUP}/roles", f"{GROUP}/clusterroles"
BINDINGS, CLUSTER_BINDINGS = f"{GROUP}/rolebindings", f"{GROUP}/clusterrolebindings"
RESOURCES = (ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS)
MASTERS = "system:masters"


class Grant(NamedTuple):
    """A binding, seen from one of its subjects. `namespace` "" is a cluster binding; `subject` reads `User "jane"`."""

    namespace: str
    name: str
    role: Key
    subject: str


@dataclass(slots=True)
class _Index:
    """Everything RBAC is decided from."""

    rules: dict[Key, tuple[Rule, ...]] = field(default_factory=dict)
    # (namespace of the binding, "User" or "Group", name) -> binding -> what it grants
    grants: dict[tuple[str, str, str], dict[Key, Grant]] = field(default_factory=dict)
    subjects: dict[Key, list[tuple[str, str, str]]] = field(default_factory=dict)

    def put(self, row: Row) -> None:
        self.drop(row.key)
        document = msgspec.json.decode(row.value)
        if row.key.resource in (ROLES, CLUSTER_ROLES):
            self.rules[row.key] = tuple(from_wire(rule) for rule in document.get("rules") or ())
            return
        namespace = row.key.namespace
        reference = document["roleRef"]
        if reference["kind"] == "Role":
            role = Key(ROLES, namespace, reference["name"])
        else:
            role = Key(CLUSTER_ROLES, "", reference["name"])
        for subject in document.get("subjects") or ():
            place, text = _subject(namespace, subject)
            if place is not None:
                self.grants.setdefault(place, {}).setdefault(row.key, Grant(namespace, row.key.name, role, text))
                self.subjects.setdefault(row.key, []).append(place)

    def drop(self, key: Key) -> None:
        self.rules.pop(key, None)
        for place in self.subjects.pop(key, ()):
            found = self.grants.get(place, {})
            found.pop(key, None)
            if not found:
                self.grants.pop(place, None)


class Rbac:
    """`server.context.Authorizer`, and what reviews and escalation checks need to know. Made by `open_rbac`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = _Index()
        self._watches: list[Watch] = []
        self._stack = AsyncExitStack()

    async def load(self) -> None:
        """Read everything and watch it from there."""
        for resource in RESOURCES:
            watching = self._store.watch(resource, after=self._read(resource))
            self._watches.append(await self._stack.enter_async_context(watching))

    async def close(self) -> None:
        """Stop watching."""
        await self._stack.aclose()

    def refuse(self, attributes: Attributes) -> str | None:
        """None when allowed, else the reason."""
        allowed, reason = self.decide(attributes)
        return None if allowed else reason

    def decide(self, attributes: Attributes) -> tuple[bool, str]:
        """Whether a request is allowed, and by what (or what went wrong while looking)."""
        if MASTERS in attributes.user.groups:
            return True, ""
        self._catch_up()
        errors: list[str] = []
        for grant in self._grants(attributes.user, attributes.namespace):
            rules = self._index.rules.get(grant.role)
            if rules is None:
                errors.append(f'{grant.role.resource.partition("/")[2][:-1]}.{GROUP} "{grant.role.name}" not found')
            elif any(rule.allows(attributes) for rule in rules):
                return True, _because(grant)
        if not errors:
            return False, ""
        return False, "RBAC: " + (errors[0] if len(errors) == 1 else "[" + ", ".join(dict.fromkeys(errors)) + "]")

    def rules_of(self, user: User, namespace: str) -> list[Rule]:
        """Everything a user may do in a namespace ("" for the cluster alone)."""
        self._catch_up()
        found: list[Rule] = []
        for grant in self._grants(user, namespace):
            found += self._index.rules.get(grant.role, ())
        return found

    def rules_of_role(self, kind: str, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a Role or ClusterRole, None when there is none."""
        self._catch_up()
        return self._index.rules.get(Key(ROLES, namespace, name) if kind == "Role" else Key(CLUSTER_ROLES, "", name))

    def _grants(self, user: User, namespace: str) -> Iterator[Grant]:
        places = [("User", user.name), *(("Group", group) for group in user.groups)]
        for space in ("", namespace) if namespace else ("",):
            found: dict[Key, Grant] = {}
            for kind, name in places:
                for key, grant in self._index.grants.get((space, kind, name), {}).items():
                    found.setdefault(key, grant)
            for key in sorted(found):
                yield found[key]

    def _read(self, resource: str) -> int:
        listing = self._store.list(resource)
        for row in listing.rows:
            self._index.put(row)
        return listing.revision

    def _catch_up(self) -> None:
        try:
            for watch in self._watches:
                for change in watch.take_nowait():
                    if change.type is ChangeType.DELETED:
                        self._index.drop(change.row.key)
                    else:
                        self._index.put(change.row)
        except Compacted:  # nobody asked for so long that the window went on without us
            self._start_over()

    def _start_over(self) -> None:
        self._index = _Index()
        for resource, watch in zip(RESOURCES, self._watches, strict=True):
            watch.restart(self._read(resource))


@asynccontextmanager
async def open_rbac(store: Store) -> AsyncIterator[Rbac]:
    """The authoriser over a store."""
    rbac = Rbac(store)
    await rbac.load()
    try:
        yield rbac
    finally:
        await rbac.close()


def _subject(namespace: str, subject: dict[str, str]) -> tuple[tuple[str, str, str] | None, str]:
    kind, name = subject.get("kind"), subject.get("name", "")
    if kind == "ServiceAccount":
        space = subject.get("namespace") or namespace
        return (namespace, "User", f"{PREFIX}{space}:{name}"), f'ServiceAccount "{name}/{space}"'
    if kind in ("User", "Group"):
        return (namespace, kind, name), f'{kind} "{name}"'
    return None, ""


def _because(grant: Grant) -> str:
    kind = "Role" if grant.role.resource == ROLES else "ClusterRole"
    if grant.namespace:
        binding = f'RoleBinding "{grant.name}/{grant.namespace}"'
    else:
        binding = f'ClusterRoleBinding "{grant.name}"'
    return f'RBAC: allowed by {binding} of {kind} "{grant.role.name}" to {grant.subject}'
