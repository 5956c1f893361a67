"""Reading many objects: get, and lists with selectors, pages and revisions.

Works on rows of bytes; an object is decoded only when a field selector asks for its inside, and only its head when a label
selector does. Continue tokens live here. No HTTP, no output forms. Source: k8s.io/apiserver pkg/storage (continue.go,
etcd3/store.go) and the API concepts page on resource versions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import trio

from edgekube import errors
from edgekube.api.kind import Kind
from edgekube.server import answers
from edgekube.server.options import EXACT, ListOptions, revision
from edgekube.server.stored import DecodedCache, labels_of, ready, to_wire
from edgekube.store.interface import Compacted, FutureRevision, Key, Listing, Row, Store

WAIT_FOR_REVISION_S = 3.0  # upstream's wait for a watch cache to catch up
PAGE_ROWS = 500  # rows read at once when a selector thins out a limited list
TOKEN_VERSION = "meta.k8s.io/v1"
TOO_OLD_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the"
    " continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing"
    " with the provided token results in an inconsistent list - objects that were created, modified, or deleted between"
    " the time the first chunk was returned and now may show up in the list."
)


class ExpiredToken(errors.Gone):
    """A continue token outlived the window; its Status carries a token that goes on from the present."""

    def __init__(self, continue_: str) -> None:
        super().__init__(TOO_OLD_TOKEN, details=False)
        self.continue_ = continue_

    def to_status(self) -> dict[str, Any]:
        """The Status, with the way out in its metadata."""
        return super().to_status() | {"metadata": {"continue": self.continue_}}


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a list in wire bytes, the revision they are from, and how to go on."""

    values: Sequence[bytes]
    revision: int
    continue_: str = ""
    remaining: int | None = None


class Selector:
    """Whether a row is meant by a ListOptions. Answers from the key and the head where that suffices."""

    def __init__(self, kind: Kind[Any], options: ListOptions, decoded: DecodedCache) -> None:
        self._kind, self._labels, self._fields, self._decoded = kind, options.labels, options.fields, decoded
        self._by_key = [r for r in options.fields.requirements if r[0].startswith("metadata.")]
        self._inside = [r for r in options.fields.requirements if not r[0].startswith("metadata.")]

    def matches(self, key: Key, revision: int, value: bytes) -> bool:
        """`value` is in wire bytes; `revision` is its own."""
        for path, operator, wanted in self._by_key:
            actual = key.name if path == "metadata.name" else key.namespace
            if (actual == wanted) != (operator == "="):
                return False
        if not self._labels.everything and not self._labels.matches(labels_of(value)):
            return False
        if not self._inside:
            return True
        item = self._decoded.decode(self._kind, revision, value)
        for path, operator, wanted in self._inside:
            if (self._kind.selectable[path](item) == wanted) != (operator == "="):
                return False
        return True


def encode_token(at: int, after: tuple[str, str]) -> str:
    """A continue token: go on behind `after`, as things were at revision `at` (-1: as they are now)."""
    start = f"{after[0]}/{after[1]}\0" if after[0] else f"{after[1]}\0"
    return (
        base64.urlsafe_b64encode(msgspec.json.encode({"v": TOKEN_VERSION, "rv": at, "start": start}))
        .decode()
        .rstrip("=")
    )


def decode_token(text: str) -> tuple[int, tuple[str, str]]:
    """Raises BadRequest with upstream's words."""

    def bad(why: str) -> errors.BadRequest:
        return errors.BadRequest(f"invalid continue token: continue key is not valid: {why}")

    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise bad("illegal base64 data at input byte 0") from None
    try:
        token = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        first = data[:1].decode("latin-1")
        shown = first if first.isascii() and first.isprintable() else f"\\u{ord(first):04x}" if first else ""
        raise bad(f"invalid character '{shown}' looking for beginning of value") from None
    if not isinstance(token, dict) or token.get("v") != TOKEN_VERSION:
        version = token.get("v", "") if isinstance(token, dict) else ""
        raise bad(f'server does not recognize this encoded version "{version}"')
    at, start = token.get("rv", 0), token.get("start", "")
    if not start or not isinstance(start, str) or not isinstance(at, int):
        raise bad("encoded start key empty (version meta.k8s.io/v1)")
    namespace, _, name = start.rstrip("\0").rpartition("/")
    return at, (namespace, name)


class Lister:
    """Gets and lists over one store."""

    def __init__(self, store: Store, decoded: DecodedCache) -> None:
        self._store, self._decoded = store, decoded

    def selector(self, kind: Kind[Any], options: ListOptions) -> Selector:
        """The row filter of these options."""
        return Selector(kind, options, self._decoded)

    def row(self, kind: Kind[Any], namespace: str, name: str) -> Row | None:
        """The stored row now."""
        return self._store.get(Key(kind.resource, namespace, name))

    async def get(self, kind: Kind[Any], namespace: str, name: str, not_older_than: str = "") -> bytes:
        """Wire bytes of one object. Raises NotFound; ApiError 500 for a malformed revision, as upstream."""
        if not_older_than:
            try:
                wanted = revision(not_older_than)
            except ValueError as problem:
                raise errors.ApiError(str(problem), details=False) from None
            await self.wait(wanted)
        found = self.row(kind, namespace, name)
        if found is None:
            raise answers.not_found(kind, name)
        await ready(kind, (found.value,))
        return to_wire(kind, found.value)

    async def wait(self, wanted: int) -> None:
        """Until `wanted` is committed. Raises Timeout when that does not come within a few seconds."""
        if wanted > self._store.revision:
            with trio.move_on_after(WAIT_FOR_REVISION_S):
                await self._store.wait_revision(wanted)
            if wanted > self._store.revision:
                raise answers.revision_too_large(wanted, self._store.revision)

    async def list(self, kind: Kind[Any], namespace: str, options: ListOptions) -> Page:
        """One page; `namespace` "" means all. Raises BadRequest, Gone, Timeout."""
        at, after = await self._where(options)
        single = options.fields.exact("metadata.name")
        if single is not None and (namespace or not kind.namespaced) and at is None:
            if kind.ahead is not None and (found := self.row(kind, namespace, single)) is not None:
                await ready(kind, (found.value,))
            return self._only(kind, namespace, single, options)
        within = namespace or None
        try:
            if kind.ahead is not None:
                limit = options.limit if options.everything else 0
                listing = self._store.list(kind.resource, within, limit=limit or None, after=after, at=at)
                await ready(kind, [row.value for row in listing.rows])
                at = listing.revision  # a row that came meanwhile is not ready
            if options.everything:
                listing = self._store.list(kind.resource, within, limit=options.limit or None, after=after, at=at)
                return self._page(
                    kind, listing, [to_wire(kind, row.value) for row in listing.rows], options, listing.after
                )
            return self._selected(kind, within, options, at, after)
        except Compacted:
            raise self._expired(options, after) from None
        except FutureRevision as future:
            raise answers.revision_too_large(at or 0, future.current) from None

    async def _where(self, options: ListOptions) -> tuple[int | None, tuple[str, str] | None]:
        if options.continue_:
            at, after = decode_token(options.continue_)
            if options.revision and options.revision != "0":
                raise errors.BadRequest("specifying resource version is not allowed when using continue")
            return (None if at < 0 else at), after
        if not options.revision:
            return None, None
        try:
            wanted = revision(options.revision)
        except ValueError as problem:
            raise errors.BadRequest(f"invalid resource version: {problem}") from None
        if not wanted:
            return None, None
        if options.match == EXACT or (not options.match and options.limit):
            return wanted, None
        await self.wait(wanted)
        return None, None

    @staticmethod
    def _expired(options: ListOptions, after: tuple[str, str] | None) -> errors.Gone:
        if after is not None:
            return ExpiredToken(encode_token(-1, after))
        return errors.Gone("The resourceVersion for the provided list is too old.", details=False)

    def _only(self, kind: Kind[Any], namespace: str, name: str, options: ListOptions) -> Page:
        """A list that can hold one object at most needs no scan: `kubectl wait` and node agents ask like this."""
        now, found = self._store.revision, self.row(kind, namespace, name)
        if found is None:
            return Page((), now)
        value = to_wire(kind, found.value)
        meant = self.selector(kind, options).matches(found.key, found.revision, value)
        return Page((value,) if meant else (), now)

    @staticmethod
    def _page(
        kind: Kind[Any], listing: Listing, values: Sequence[bytes], options: ListOptions, after: tuple[str, str] | None
    ) -> Page:
        if after is None:
            return Page(values, listing.revision)
        remaining = listing.remaining if options.everything else None
        return Page(values, listing.revision, encode_token(listing.revision, after), remaining)

    def _selected(
        self, kind: Kind[Any], within: str | None, options: ListOptions, at: int | None, after: tuple[str, str] | None
    ) -> Page:
        selector, values = self.selector(kind, options), list[bytes]()
        rows_at_once = None if not options.limit else max(PAGE_ROWS, options.limit)
        while True:
            listing = self._store.list(kind.resource, within, limit=rows_at_once, after=after, at=at)
            at = listing.revision if rows_at_once else at
            for position, row in enumerate(listing.rows):
                value = to_wire(kind, row.value)
                if not selector.matches(row.key, row.revision, value):
                    continue
                values.append(value)
                if len(values) == options.limit:
                    more = position + 1 < len(listing.rows) or listing.after is not None
                    last = (row.key.namespace, row.key.name) if more else None
                    return self._page(kind, listing, values, options, last)
            if listing.after is None:
                return Page(values, listing.revision)
            after = listing.after
