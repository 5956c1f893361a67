"""Rows laid over other rows: what is only in memory over what is on disk, what was over what is.

`merge` is the one place where a listing is put together from several sources. Pure; an overlay row of None hides the row below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from edgekube.store.interface import Key, Listing, Row, path_of

SHORT_ROWS = 4
SHORT_LISTS = 64  # per resource
_NOTHING: Mapping[str | None, Sequence[Row]] = {}

Below = Callable[[int | None], Sequence[Row]]  # rows in order, at most so many (None: all)


def place_of(row: Row) -> str:
    """A row's place in the order of lists."""
    return path_of(row.key)


class Overlay:
    """Rows by resource, then key."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[Key, Row | None]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._rows.get(key.resource, ())

    def of(self, resource: str) -> Mapping[Key, Row | None]:
        """Everything laid over one resource."""
        return self._rows.get(resource, {})

    def get(self, key: Key) -> Row | None:
        """The row laid over `key` (None also for a hidden row: ask `in` first)."""
        return self._rows[key.resource][key]

    def lay(self, key: Key, row: Row | None) -> None:
        """Lay a row, or hide the one below."""
        self._rows.setdefault(key.resource, {})[key] = row

    def lift(self, key: Key) -> None:
        """Let the row below show again."""
        rows = self._rows.get(key.resource)
        if rows is not None and key in rows:
            del rows[key]
            if not rows:
                del self._rows[key.resource]


class ShortLists:
    """Lists that are short and asked for all the time (the quotas of a namespace, for every write in it), until they change."""

    def __init__(self) -> None:
        self._lists: dict[str, dict[str | None, Sequence[Row]]] = {}

    def get(self, resource: str, namespace: str | None) -> Sequence[Row] | None:
        """A kept list."""
        return self._lists.get(resource, _NOTHING).get(namespace)

    def keep(self, resource: str, namespace: str | None, rows: Sequence[Row]) -> None:
        """Keep a list if it is short, in place of the others of its resource when they are many."""
        if len(rows) <= SHORT_ROWS:
            kept = self._lists.setdefault(resource, {})
            if len(kept) >= SHORT_LISTS:
                kept.clear()
            kept[namespace] = tuple(rows)

    def forget(self, resources: Iterable[str]) -> None:
        """These resources changed."""
        for resource in resources:
            self._lists.pop(resource, None)


def within(
    over: Mapping[Key, Row | None], namespace: str | None, after: tuple[str, str] | None
) -> dict[Key, Row | None]:
    """The part of an overlay that a listing's range covers."""
    beyond = None if after is None else "/".join(after)
    return {
        key: row
        for key, row in over.items()
        if (namespace is None or key.namespace == namespace) and (beyond is None or path_of(key) > beyond)
    }


def merge(
    below: Below,
    over: Mapping[Key, Row | None],
    revision: int,
    limit: int | None,
    total: Callable[[], int],
) -> Listing:
    """A listing of the rows below with `over` (already `within` its range) laid on top.

    `total` counts all rows of the merged range and is only called when `limit` cuts the listing.
    """
    rows: Sequence[Row]
    if over:
        # At most len(over) of the rows fetched can be hidden, so this many are enough to fill a page and know of one more.
        fetched = below(None if limit is None else limit + len(over) + 1)
        kept = [row for row in fetched if row.key not in over]
        kept += [row for row in over.values() if row is not None]
        kept.sort(key=place_of)
        rows = kept
    else:
        rows = below(None if limit is None else limit + 1)
    if limit is None or len(rows) <= limit:
        return Listing(rows, revision, None, 0)
    rows = rows[:limit]
    return Listing(rows, revision, (rows[-1].key.namespace, rows[-1].key.name), total() - limit)
