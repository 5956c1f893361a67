"""What a write would do, decided without doing it: expected revisions checked, revisions given out, changes described.

Pure. `Stage` gathers several writers' operations into one batch; an operation sees the ones staged before it, so two writers
who both expect revision 7 cannot both win. Nothing here touches the disk or the window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgekube.store.interface import Change, ChangeType, Durability, Key, Mismatch, Put, Remove, Row


class Step(NamedTuple):
    """One change to publish, with the row before it and how durable it asked to be."""

    change: Change
    before: Row | None
    durability: Durability


class Stage:
    """A batch being put together over the published state that `look` shows."""

    def __init__(self, look: Callable[[Key], Row | None], revision: int) -> None:
        self._look = look
        self.revision = revision  # the last one given out
        self.steps: list[Step] = []
        self.rows: dict[Key, Row | None] = {}  # the state after the batch
        self.published: dict[Key, Row | None] = {}  # the state before it

    def add(self, operations: Sequence[Put | Remove]) -> list[Row]:
        """Stage one writer's operations, all or none. Raises `Mismatch` and leaves the batch as it was."""
        revision = self.revision
        steps: list[Step] = []
        rows: dict[Key, Row | None] = {}
        written: list[Row] = []
        for operation in operations:
            key = operation.key
            before = rows[key] if key in rows else self._current(key)
            found = before.revision if before is not None else 0
            removing = type(operation) is Remove
            if (operation.expected is not None and operation.expected != found) or (removing and before is None):
                raise Mismatch(key, before)
            revision += 1
            at = operation.revision_at
            row = Row(key, revision, b"%b%d%b" % (operation.value[:at], revision, operation.value[at:]))
            kind = ChangeType.DELETED if removing else ChangeType.MODIFIED if before else ChangeType.ADDED
            change = Change(kind, row, before.value if before is not None else None)
            steps.append(Step(change, before, operation.durability))
            rows[key] = None if removing else row
            written.append(row)
        self.revision = revision
        self.steps += steps
        self.rows.update(rows)
        return written

    def _current(self, key: Key) -> Row | None:
        if key in self.rows:
            return self.rows[key]
        if key not in self.published:
            self.published[key] = self._look(key)
        return self.published[key]
