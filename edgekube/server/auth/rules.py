"""RBAC rules as data: what one matches, what covers what, and how they read in a refusal.

Pure. Source: k8s.io/kubernetes pkg/apis/rbac/v1/evaluation_helpers.go, k8s.io/component-helpers/auth/rbac/validation,
pkg/registry/rbac/validation (escalation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekube.server.context import Attributes

ANY = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One PolicyRule. `from_wire` makes it from decoded JSON."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    def allows(self, asked: Attributes) -> bool:
        """Whether this rule alone permits a request."""
        if ANY not in self.verbs and asked.verb not in self.verbs:
            return False
        if not asked.resource:
            return any(covers_url(url, asked.path) for url in self.urls)
        if ANY not in self.groups and asked.group not in self.groups:
            return False
        if not self._matches_resource(asked.resource, asked.subresource):
            return False
        return not self.names or asked.name in self.names

    def _matches_resource(self, resource: str, subresource: str) -> bool:
        if ANY in self.resources:
            return True
        if not subresource:
            return resource in self.resources
        return f"{resource}/{subresource}" in self.resources or f"*/{subresource}" in self.resources

    def covers(self, other: Rule) -> bool:
        """Whether whoever holds this rule holds all of `other`."""
        return (
            (ANY in self.verbs or set(other.verbs) <= set(self.verbs))
            and (ANY in self.groups or set(other.groups) <= set(self.groups))
            and self._covers_resources(other.resources)
            and (not self.names or (bool(other.names) and set(other.names) <= set(self.names)))
            and all(any(covers_url(mine, url) for mine in self.urls) for url in other.urls)
        )

    def _covers_resources(self, resources: Sequence[str]) -> bool:
        if ANY in self.resources:
            return True
        return all(
            resource in self.resources or ("/" in resource and f"*/{resource.partition('/')[2]}" in self.resources)
            for resource in resources
        )

    def parts(self) -> Iterable[Rule]:
        """The smallest rules that together are this one."""
        for verb in self.verbs:
            for group in self.groups:
                for resource in self.resources:
                    if self.names:
                        for name in self.names:
                            yield Rule((verb,), (group,), (resource,), (name,))
                    else:
                        yield Rule((verb,), (group,), (resource,))
            for url in self.urls:
                yield Rule((verb,), urls=(url,))

    def __str__(self) -> str:
        members = (
            ("APIGroups", self.groups),
            ("Resources", self.resources),
            ("ResourceNames", self.names),
            ("NonResourceURLs", self.urls),
            ("Verbs", self.verbs),
        )
        return "{" + ", ".join(f"{name}:{quoted(values)}" for name, values in members if values) + "}"

    def to_wire(self) -> dict[str, list[str]]:
        """The PolicyRule document."""
        members = (
            ("verbs", self.verbs),
            ("apiGroups", self.groups),
            ("resources", self.resources),
            ("resourceNames", self.names),
            ("nonResourceURLs", self.urls),
        )
        return {name: list(values) for name, values in members if values or name == "verbs"}


def from_wire(document: dict[str, list[str] | None]) -> Rule:
    """A rule from a PolicyRule document."""
    return Rule(
        tuple(document.get("verbs") or ()),
        tuple(document.get("apiGroups") or ()),
        tuple(document.get("resources") or ()),
        tuple(document.get("resourceNames") or ()),
        tuple(document.get("nonResourceURLs") or ()),
    )


def covers_url(mine: str, url: str) -> bool:
    """Whether a rule's path (a trailing * matches any rest) covers another path."""
    return mine in (ANY, url) or (mine.endswith(ANY) and url.startswith(mine.rstrip(ANY)))


def uncovered(held: Sequence[Rule], wanted: Sequence[Rule]) -> list[Rule]:
    """The parts of `wanted` that nothing held covers, put together again where only the verb differs."""
    missing = [part for rule in wanted for part in rule.parts() if not any(holding.covers(part) for holding in held)]
    merged: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    made: list[Rule] = []
    for part in missing:
        if part.urls:  # paths are never put together
            made.append(part)
            continue
        verbs = merged.setdefault((part.groups, part.resources, part.names), [])
        if part.verbs[0] not in verbs:
            verbs.append(part.verbs[0])
    made += [Rule(tuple(verbs), *where) for where, verbs in merged.items()]
    return sorted(dict.fromkeys(made), key=str)


def quoted(values: Iterable[str]) -> str:
    """Go's %q of a list of strings."""
    return "[" + " ".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values) + "]"
