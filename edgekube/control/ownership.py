"""What should become of an object, given its owners and dependents: the garbage collector's decision, without its graph.

Pure. Source: k8s.io/kubernetes pkg/controller/garbagecollector/garbagecollector.go (attemptToDeleteItem and friends).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class OwnerState(enum.Enum):
    """What is known of one owner."""

    SOLID = "solid"  # it is there
    ABSENT = "absent"  # it is surely not there (asked the server), or its name belongs to another object now
    WAITING = "waiting"  # it is being deleted in the foreground and waits for this dependent
    UNKNOWN = "unknown"  # its kind is not served: nothing is concluded from that


@dataclass(frozen=True, slots=True)
class Owner:
    """One owner reference with its state."""

    uid: str
    state: OwnerState


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as the collector sees it."""

    deleting: bool
    finalizers: Sequence[str]
    owners: Sequence[Owner]
    blocking_dependents: int  # dependents whose reference blocks this object's deletion
    dependents: int


class Verdict(enum.Enum):
    """What to do."""

    KEEP = "keep"
    DELETE_BACKGROUND = "Background"
    DELETE_FOREGROUND = "Foreground"
    DELETE_ORPHAN = "Orphan"
    DROP_OWNERS = "drop the references to absent and waiting owners"
    DELETE_DEPENDENTS = "look at the dependents, which are to be deleted first"
    FINISH_FOREGROUND = "remove the foreground finalizer"
    ORPHAN_DEPENDENTS = "remove the reference from all dependents, then the orphan finalizer"


def judge(seen: Seen) -> Verdict:
    """The one thing to do with an object now."""
    if seen.deleting:
        if ORPHAN in seen.finalizers:
            return Verdict.ORPHAN_DEPENDENTS
        if FOREGROUND in seen.finalizers:
            return Verdict.DELETE_DEPENDENTS if seen.blocking_dependents else Verdict.FINISH_FOREGROUND
        return Verdict.KEEP
    states = {owner.state for owner in seen.owners}
    if not states or OwnerState.UNKNOWN in states:
        return Verdict.KEEP
    if OwnerState.SOLID in states:
        return Verdict.DROP_OWNERS if len(states) > 1 else Verdict.KEEP
    if OwnerState.WAITING in states and seen.dependents:
        return Verdict.DELETE_FOREGROUND
    if ORPHAN in seen.finalizers:
        return Verdict.DELETE_ORPHAN
    return Verdict.DELETE_FOREGROUND if FOREGROUND in seen.finalizers else Verdict.DELETE_BACKGROUND
