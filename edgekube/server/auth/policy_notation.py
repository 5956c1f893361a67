"""Reading the notation of `policy`: text to roles. The notation is described there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edgekube.server.auth.rules import Rule

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")
EVENTS = Rule(("create", "patch", "update"), ("", "events.k8s.io"), ("events",))


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """One role of the notation. `into` and `of` are the aggregation it joins and the one it gathers."""

    name: str
    rules: tuple[Rule, ...] = ()
    into: tuple[str, ...] = ()
    of: str = ""


@dataclass(slots=True)
class _Draft:
    name: str
    into: list[str] = field(default_factory=list)
    of: str = ""
    rules: list[Rule] = field(default_factory=list)

    def done(self) -> RoleFacts:
        return RoleFacts(self.name, tuple(self.rules), tuple(self.into), self.of)


def parse(text: str, prefix: str = "") -> Iterator[RoleFacts]:
    """The roles a text in the notation describes."""
    draft: _Draft | None = None
    for line in text.strip().splitlines():
        if line.startswith(" "):
            assert draft is not None, line
            draft.rules.append(_rule(line))
            continue
        if draft is not None:
            yield draft.done()
        name, *marks = line.split()
        draft = _Draft(prefix + name)
        for mark in marks:
            if mark.startswith("+"):
                draft.into.append(mark[1:])
            else:
                draft.of = mark[1:]
    if draft is not None:
        yield draft.done()


def _rule(line: str) -> Rule:
    parts = [part.split() for part in line.split(" : ")]
    if parts == [["events"]]:
        return EVENTS
    verbs = _verbs(parts[0])
    if len(parts) == 2:
        return Rule(verbs, urls=tuple(parts[1]))
    groups = tuple("" if group == "core" else group for group in parts[1])
    return Rule(verbs, groups, tuple(parts[2]), tuple(parts[3]) if len(parts) > 3 else ())


def _verbs(words: list[str]) -> tuple[str, ...]:
    if words == ["read"]:
        return READ
    if words == ["write"]:
        return WRITE
    if words == ["readwrite"]:
        return tuple(sorted((*READ, *WRITE)))
    return tuple(words)
