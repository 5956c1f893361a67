"""A server of nothing but names and revisions, for tests of loops: `Verbs` over a memory store.

No admission, no defaults, no validation, no authorisation, and deletion is at once unless finalizers hold the object. What is
here behaves as the real one does (optimistic concurrency, generation, watch bookmarks excepted). `fail_next` makes the next
request raise.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from edgekube.api.kind import Kind
from edgekube.api.meta import format_time
from edgekube.api.patching import json_patch, merge_patch
from edgekube.api.selectors import parse_fields, parse_labels
from edgekube.client.local import LocalClient
from edgekube.clock import Clock, SeededClock
from edgekube.errors import AlreadyExists, ApiError, Conflict, Gone, Invalid, NotFound
from edgekube.store.interface import Compacted, FutureRevision, Key, Mismatch, Put, Remove, Row
from edgekube.store.memory import MemoryStore

MARK = '"resourceVersion":"'


class FakeVerbs:
    """See the module's opening. `calls` records every (method, path, body) given to `call`."""

    def __init__(self, store: MemoryStore | None = None, clock: Clock | None = None) -> None:
        self.store = store or MemoryStore()
        self.clock = clock or SeededClock()
        self.calls: list[tuple[str, str, dict[str, Any] | None]] = []
        self._failure: ApiError | None = None

    def client(self, manager: str = "") -> LocalClient:
        """A client of this server."""
        return LocalClient(self, None, manager=manager)

    def fail_next(self, error: ApiError) -> None:
        """Answer the next request with an error."""
        self._failure = error

    async def get(self, asker: Any, kind: Kind[Any], namespace: str, name: str) -> bytes:
        self._maybe_fail()
        return self._row(kind, namespace, name).value

    async def list(
        self, asker: Any, kind: Kind[Any], namespace: str, *, labels: str, fields: str
    ) -> tuple[Sequence[bytes], str]:
        self._maybe_fail()
        listing = self.store.list(kind.resource, namespace or None)
        return [row.value for row in listing.rows if _selected(kind, row.value, labels, fields)], str(listing.revision)

    @asynccontextmanager
    async def watch(
        self, asker: Any, kind: Kind[Any], namespace: str, *, after: str, labels: str, fields: str
    ) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        self._maybe_fail()
        try:
            async with self.store.watch(kind.resource, namespace or None, after=int(after or 0)) as changes:
                yield _selected_changes(kind, changes, labels, fields)
        except (Compacted, FutureRevision) as error:
            raise Gone(f"too old resource version: {after} ({error})") from None

    async def create(
        self, asker: Any, kind: Kind[Any], namespace: str, document: dict[str, Any], *, manager: str
    ) -> bytes:
        self._maybe_fail()
        metadata = document.setdefault("metadata", {})
        if not metadata.get("name"):
            metadata["name"] = metadata.get("generateName", "") + self.clock.suffix()
        if kind.namespaced:
            metadata["namespace"] = namespace
        metadata["uid"], metadata["creationTimestamp"] = self.clock.uid(), str(format_time(self.clock.now()))
        metadata["generation"] = 1
        try:
            return await self._put(kind, document, 0)
        except Mismatch:
            name = metadata["name"]
            raise AlreadyExists(
                f'{kind.plural} "{name}" already exists', name=name, group=kind.group, kind=kind.plural
            ) from None

    async def update(
        self,
        asker: Any,
        kind: Kind[Any],
        namespace: str,
        name: str,
        document: dict[str, Any],
        *,
        subresource: str,
        manager: str,
    ) -> bytes:
        self._maybe_fail()
        return await self._replace(kind, namespace, name, document, subresource)

    async def patch(
        self,
        asker: Any,
        kind: Kind[Any],
        namespace: str,
        name: str,
        patch: dict[str, Any] | Sequence[dict[str, Any]],
        *,
        content_type: str,
        subresource: str,
        manager: str,
        force: bool,
    ) -> bytes:
        self._maybe_fail()
        live = json.loads(self._row(kind, namespace, name).value)
        patched = merge_patch(live, patch) if isinstance(patch, dict) else json_patch(live, list(patch))
        return await self._replace(kind, namespace, name, patched, subresource)

    async def delete(
        self, asker: Any, kind: Kind[Any], namespace: str, name: str, options: dict[str, Any]
    ) -> bytes | None:
        self._maybe_fail()
        row = self._row(kind, namespace, name)
        live = json.loads(row.value)
        wanted = options.get("preconditions") or {}
        if wanted.get("uid", live["metadata"]["uid"]) != live["metadata"]["uid"] or wanted.get(
            "resourceVersion", str(row.revision)
        ) != str(row.revision):
            raise Conflict(f"Precondition failed: {wanted}", name=name, group=kind.group, kind=kind.plural)
        if live["metadata"].get("finalizers"):
            live["metadata"].setdefault("deletionTimestamp", str(format_time(self.clock.now())))
            return await self._put(kind, live, row.revision)
        value, at = _encode(live)
        await self.store.write([Remove(row.key, value, at, row.revision)])
        return None

    async def call(self, asker: Any, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        self._maybe_fail()
        self.calls.append((method, path, body))
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _maybe_fail(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _row(self, kind: Kind[Any], namespace: str, name: str) -> Row:
        if (row := self.store.get(Key(kind.resource, namespace, name))) is None:
            raise NotFound(f'{kind.plural} "{name}" not found', name=name, group=kind.group, kind=kind.plural)
        return row

    async def _replace(
        self, kind: Kind[Any], namespace: str, name: str, document: dict[str, Any], subresource: str
    ) -> bytes:
        row = self._row(kind, namespace, name)
        live = json.loads(row.value)
        expected = document["metadata"].get("resourceVersion") or str(row.revision)
        if expected != str(row.revision):
            raise Conflict(
                f'Operation cannot be fulfilled on {kind.plural} "{name}": the object has been modified; '
                "please apply your changes to the latest version and try again",
                name=name,
                group=kind.group,
                kind=kind.plural,
            )
        if subresource == "status":
            document = {**live, "status": document.get("status", {})}
        elif kind.has_status:
            document = {**document, "status": live.get("status", {})}
        metadata = document["metadata"] = dict(document["metadata"])  # `live` below must stay as it is
        for kept in ("uid", "creationTimestamp", "deletionTimestamp"):
            metadata.pop(kept, None)
            if kept in live["metadata"]:
                metadata[kept] = live["metadata"][kept]
        changed = any(document.get(part) != live.get(part) for part in {*document, *live} - {"metadata", "status"})
        metadata["generation"] = live["metadata"].get("generation", 0) + changed
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            value, at = _encode(document)
            (gone,) = await self.store.write([Remove(row.key, value, at, row.revision)])
            return gone.value
        return await self._put(kind, document, row.revision)

    async def _put(self, kind: Kind[Any], document: dict[str, Any], expected: int) -> bytes:
        try:
            made = kind.from_dict(document)
        except msgspec.ValidationError as error:
            raise Invalid(str(error)) from None
        metadata = made.metadata
        value, at = _encode(kind.to_dict(made) | {"kind": kind.name, "apiVersion": kind.api_version})
        key = Key(kind.resource, metadata.namespace, metadata.name)
        (row,) = await self.store.write([Put(key, value, at, expected)])
        return row.value


def _encode(document: dict[str, Any]) -> tuple[bytes, int]:
    metadata = {"resourceVersion": ""} | {k: v for k, v in document["metadata"].items() if k != "resourceVersion"}
    text = json.dumps(
        {"metadata": metadata} | {k: v for k, v in document.items() if k != "metadata"}, separators=(",", ":")
    )
    return text.encode(), text.index(MARK) + len(MARK)


def _selected(kind: Kind[Any], value: bytes, labels: str, fields: str) -> bool:
    if not labels and not fields:
        return True
    item = kind.from_json(value)
    if not parse_labels(labels).matches(item.metadata.labels):
        return False
    known = {"metadata.name": item.metadata.name, "metadata.namespace": item.metadata.namespace}
    known |= {path: get(item) for path, get in kind.selectable.items()}
    return not fields or parse_fields(fields).matches(known)


async def _selected_changes(
    kind: Kind[Any], changes: AsyncIterator[Any], labels: str, fields: str
) -> AsyncIterator[tuple[str, bytes]]:
    async for change in changes:
        was = change.previous is not None and _selected(kind, change.previous, labels, fields)
        now = change.type.value != "DELETED" and _selected(kind, change.row.value, labels, fields)
        if was or now:
            yield ("MODIFIED" if was and now else "ADDED" if now else "DELETED"), change.row.value
