"""The life of a pod on this node: SYNC, then TERMINATING, then TERMINATED, never back.

A table, nothing else. SYNC: containers are kept as wanted. TERMINATING: whatever runs is stopped; why is decided once.
TERMINATED: nothing runs and nothing will; what is left on disk is taken away and, when asked for, the API object deleted.
"""

from __future__ import annotations

from enum import Enum


class Stage(Enum):
    """Where in its life a pod is."""

    SYNC = "sync"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class Happening(Enum):
    """What moves a pod on."""

    DELETED = "deleted"  # deletionTimestamp set, or the object is gone
    FINISHED = "finished"  # the phase became Succeeded or Failed
    EVICTED = "evicted"  # the node or a deadline says so
    STOPPED = "stopped"  # nothing runs any more


TABLE: dict[tuple[Stage, Happening], Stage] = {
    (Stage.SYNC, Happening.DELETED): Stage.TERMINATING,
    (Stage.SYNC, Happening.FINISHED): Stage.TERMINATING,
    (Stage.SYNC, Happening.EVICTED): Stage.TERMINATING,
    (Stage.TERMINATING, Happening.DELETED): Stage.TERMINATING,
    (Stage.TERMINATING, Happening.FINISHED): Stage.TERMINATING,
    (Stage.TERMINATING, Happening.EVICTED): Stage.TERMINATING,
    (Stage.TERMINATING, Happening.STOPPED): Stage.TERMINATED,
    (Stage.TERMINATED, Happening.DELETED): Stage.TERMINATED,
    (Stage.TERMINATED, Happening.FINISHED): Stage.TERMINATED,
    (Stage.TERMINATED, Happening.EVICTED): Stage.TERMINATED,
    (Stage.TERMINATED, Happening.STOPPED): Stage.TERMINATED,
}


class IllegalTransition(Exception):
    """Our mistake: something happened that cannot happen in this stage. Nothing was changed."""


def move(stage: Stage, happening: Happening) -> Stage:
    """The next stage. Raises IllegalTransition."""
    try:
        return TABLE[stage, happening]
    except KeyError:
        raise IllegalTransition(f"{happening.value} while {stage.value}") from None
