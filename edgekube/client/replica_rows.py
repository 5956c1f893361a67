"""The copy on disk: objects that were listed, watched or got, up to which revision, what this node said since, and its tokens.

A row is the server's object without managedFields, behind a line with the store's own revision. Only real changes are written (a
heartbeat is none), and how far a selection reaches is written along with its objects and at the end, so an idle copy does not
touch the disk. What is lost in a power cut is asked for again: a selection never claims more than its rows hold.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import msgspec

from edgekube.api.kind import ENCODER, Kind
from edgekube.api.meta import Object
from edgekube.api.selectors import parse_fields, parse_labels
from edgekube.errors import StoreError
from edgekube.store.interface import Durability, Key, Mismatch, Put, Remove, Store

T = TypeVar("T", bound=Object)

SELECTIONS, SAID, TOKENS, ABOUT = "edgekube/selections", "edgekube/said", "edgekube/tokens", "edgekube/about"
SEALED = frozenset({"/secrets", TOKENS})
FINISHED = ("Succeeded", "Failed")
LOCAL = "-local"

Operations = list[Put | Remove]

log = logging.getLogger("edgekube.replica")

_JSON = msgspec.json.Decoder()
_parse_labels = lru_cache(maxsize=64)(parse_labels)
_parse_fields = lru_cache(maxsize=256)(parse_fields)


def is_local(revision: str) -> bool:
    """Whether an object's resourceVersion says that it shows what this node said and the server has not confirmed."""
    return LOCAL in revision


def number(revision: str) -> int:
    """A revision as a number: the server's part of it."""
    digits = revision.partition(LOCAL)[0]
    return int(digits) if digits.isdigit() else 0


class Selection(NamedTuple):
    """What was asked for: a kind's resource, and which of its objects."""

    resource: str
    namespace: str = ""
    labels: str = ""
    fields: str = ""

    def holds(self, kind: Kind[Any], item: Object) -> bool:
        """Whether an object is in it."""
        metadata = item.metadata
        if self.resource != kind.resource or self.namespace not in ("", metadata.namespace):
            return False
        if self.labels and not _parse_labels(self.labels).matches(metadata.labels):
            return False
        if not self.fields:
            return True
        known = {"metadata.name": metadata.name, "metadata.namespace": metadata.namespace}
        known |= {path: get(item) for path, get in kind.selectable.items()}
        return _parse_fields(self.fields).matches(known)

    def decides(self, resource: str, namespace: str, name: str) -> bool:
        """Whether an object that is not in it does not exist."""
        if self.resource != resource or self.namespace not in ("", namespace) or self.labels:
            return False
        return self.fields in ("", f"metadata.name={name}")

    @property
    def key(self) -> Key:
        """Its row."""
        return Key(SELECTIONS, "", hashlib.sha256("\0".join(self).encode()).hexdigest()[:32])


@dataclass(frozen=True, slots=True)
class Said:
    """The status this node gave one of its objects while nobody listened."""

    uid: str
    status: dict[str, Any]


class Rows:
    """The rows of a store, and what of them is kept in memory: selections with their revisions, and what was said."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.revisions: dict[Selection, int] = {}
        self._written: dict[Selection, int] = {}
        self._broken: set[Selection] = set()  # a row could not be written: the revision stays where it was
        self.said: dict[Key, Said] = {}

    async def open(self, cluster: str) -> None:
        """Read what is there; what is of another cluster is thrown away."""
        about = Key(ABOUT, "", "cluster")
        row = self._store.get(about)
        if row is not None and cluster and _body(row.value).decode() != cluster:
            log.warning("the copy is of another cluster: beginning a new one")
            await self._empty()
            row = None
        if row is None and cluster:
            await self._write([_put(about, cluster.encode())])
        for found in self._store.list(SELECTIONS).rows:
            document = json.loads(_body(found.value))
            selection = Selection(*document["of"])
            self.revisions[selection] = self._written[selection] = int(document["revision"])
        for found in self._store.list(SAID).rows:
            document = json.loads(_body(found.value))
            self.said[Key(*document["of"])] = Said(document["uid"], document["status"])

    async def _empty(self) -> None:
        resources = {selection.resource for selection in self._stored_selections()} | {SELECTIONS, SAID, TOKENS, ABOUT}
        rows = [row for resource in resources for row in self._store.list(resource).rows]
        await self._write([Remove(row.key, row.value, 0, None, Durability.COALESCED) for row in rows])

    def _stored_selections(self) -> Iterable[Selection]:
        return [Selection(*json.loads(_body(row.value))["of"]) for row in self._store.list(SELECTIONS).rows]

    async def _write(self, operations: Sequence[Put | Remove]) -> bool:
        """Whether it succeeded; a failure is told, and is nobody's business but ours."""
        left = list(operations)
        while left:
            try:
                await self._store.write(left)
                break
            except Mismatch as mismatch:  # a row to remove that somebody else removed while we waited
                left = [one for one in left if one.key != mismatch.key]
            except StoreError as error:
                log.warning("the copy could not be written: %s", error)
                return False
        return True

    # ---- reading

    def get(self, kind: Kind[T], namespace: str, name: str) -> T | None:
        """An object as last seen, with what was said of it since."""
        row = self._store.get(Key(kind.resource, namespace, name))
        return None if row is None else self._decoded(kind, row.key, row.value)

    def list(self, kind: Kind[T], selection: Selection) -> list[T]:
        """The objects of a selection as last seen, with what was said of them since."""
        rows = self._store.list(kind.resource, selection.namespace or None).rows
        items = (self._decoded(kind, row.key, row.value) for row in rows)
        return [item for item in items if selection.holds(kind, item)]

    def _decoded(self, kind: Kind[T], key: Key, value: bytes) -> T:
        item = kind.from_json(_body(value))
        item.kind, item.api_version = kind.name, kind.api_version
        said = self.said.get(key)
        if said is not None and said.uid == item.metadata.uid:
            document = kind.to_dict(item) | {"status": said.status}
            item = kind.from_dict(document)
            item.metadata.resource_version += LOCAL + "0"
        return item

    def revision_of(self, key: Key) -> str:
        """The server's revision of an object as last seen, "" when it was not."""
        row = self._store.get(key)
        return "" if row is None else str(_JSON.decode(_body(row.value))["metadata"].get("resourceVersion", ""))

    def decided(self, resource: str, namespace: str, name: str) -> bool:
        """Whether it would be known if this object existed."""
        return any(selection.decides(resource, namespace, name) for selection in self.revisions)

    # ---- taking in what the server says

    async def replace(self, kind: Kind[T], selection: Selection, items: Sequence[T], revision: str) -> None:
        """A selection was listed."""
        staying = {self.key(kind, item) for item in items}
        operations: Operations = []
        for item in self.list(kind, selection):
            if (key := self.key(kind, item)) not in staying:
                operations += self._removal(key)
        for item in items:
            operations += self._change(kind, item)
        reached = number(revision)
        if operations or selection not in self._written:
            operations.append(_selection_put(selection, reached))
        if await self._write(operations):
            self._broken.discard(selection)
            self.revisions[selection] = reached
            if operations:
                self._written[selection] = reached
        else:
            self._broken.add(selection)
            self.revisions.setdefault(selection, 0)

    async def take(self, kind: Kind[T], selection: Selection, type_: str, item: T) -> None:
        """One watch event of a selection (BOOKMARK included)."""
        at = number(item.metadata.resource_version)
        operations: Operations = []
        if type_ == "DELETED":
            key = self.key(kind, item)
            if 0 < number(self.revision_of(key)) < at:  # else a wider selection has shown something newer
                operations += self._removal(key)
        elif type_ != "BOOKMARK":
            operations += self._change(kind, item)
        if selection in self._broken:
            await self._write(operations)
            return
        if operations:
            operations.append(_selection_put(selection, at))
        if not await self._write(operations):
            self._broken.add(selection)
        else:
            self.revisions[selection] = max(at, self.revisions.get(selection, 0))
            if operations:
                self._written[selection] = at

    async def learn(self, kind: Kind[T], item: T) -> None:
        """An object came as an answer: kept when it is in a selection, else as a selection of its own."""
        at = number(item.metadata.resource_version)
        operations: Operations = list(self._change(kind, item))
        own = Selection(kind.resource, item.metadata.namespace, "", f"metadata.name={item.metadata.name}")
        alone = not any(selection.holds(kind, item) for selection in self.revisions)
        if alone:
            operations.append(_selection_put(own, at))
        if await self._write(operations) and alone:
            self.revisions[own] = self._written[own] = at

    async def drop(self, key: Key) -> None:
        """The server says there is no such object."""
        await self._write(self._removal(key))

    def _change(self, kind: Kind[T], item: T) -> Sequence[Put | Remove]:
        """What to write so that the row shows an object: nothing when it does, or shows a newer one."""
        key = self.key(kind, item)
        document = kind.to_dict(item) | {"kind": kind.name, "apiVersion": kind.api_version}
        document["metadata"].pop("managedFields", None)
        operations: Operations = []
        said = self.said.get(key)
        if said is not None and (said.uid != item.metadata.uid or said.status == document.get("status")):
            operations += self._unsay(key)
        row = self._store.get(key)
        if row is not None:
            before = _JSON.decode(_body(row.value))
            shown = number(before["metadata"].get("resourceVersion", ""))
            if shown > number(item.metadata.resource_version) or _essence(before) == _essence(document):
                return operations
        return [*operations, _put(key, ENCODER.encode(document))]

    def _removal(self, key: Key) -> Operations:
        row = self._store.get(key)
        made = [] if row is None else [Remove(key, row.value, 0, None, Durability.COALESCED)]
        return [*made, *self._unsay(key)]

    @staticmethod
    def key(kind: Kind[Any], item: Object) -> Key:
        """An object's row."""
        return Key(kind.resource, item.metadata.namespace, item.metadata.name)

    # ---- what this node says

    async def say(self, kind: Kind[T], item: T) -> bool:
        """Remember a status. Whether that is news, and about the object that is known."""
        key, document = self.key(kind, item), kind.to_dict(item)
        row = self._store.get(key)
        if row is None:
            return False
        known = _JSON.decode(_body(row.value))
        uid, status = known["metadata"]["uid"], document.get("status") or {}
        said = self.said.get(key)
        shown = said.status if said is not None and said.uid == uid else known.get("status", {})
        if item.metadata.uid not in ("", uid) or shown == status:
            return False
        self.said[key] = Said(uid, status)
        durable = Durability.DURABLE if status.get("phase") in FINISHED else Durability.COALESCED
        text = json.dumps({"of": key, "uid": uid, "status": status}).encode()
        await self._write([_put(_said_key(key), text, durable)])
        return True

    async def unsay(self, key: Key) -> None:
        """The server has it now."""
        await self._write(self._unsay(key))

    def _unsay(self, key: Key) -> Operations:
        if self.said.pop(key, None) is None:
            return []
        row = self._store.get(_said_key(key))
        return [] if row is None else [Remove(row.key, row.value, 0, None, Durability.COALESCED)]

    # ---- tokens

    async def keep_token(self, name: str, namespace: str, uid: str, answer: Mapping[str, Any]) -> None:
        """Remember the last token a pod was given."""
        text = json.dumps({"uid": uid, "answer": answer}).encode()
        await self._write([_put(Key(TOKENS, namespace, name), text)])

    def token(self, name: str, namespace: str) -> dict[str, Any] | None:
        """The last token."""
        row = self._store.get(Key(TOKENS, namespace, name))
        answer: dict[str, Any] | None = None if row is None else json.loads(_body(row.value))["answer"]
        return answer

    # ---- keeping it small

    async def forget(self, unused: Iterable[Selection], kinds: Mapping[str, Kind[Any]]) -> None:
        """Give up selections, and every row that is then in none. `kinds` by resource."""
        going = [selection for selection in unused if selection in self.revisions]
        operations: Operations = []
        for selection in going:
            del self.revisions[selection]
            self._written.pop(selection, None)
            self._broken.discard(selection)
            if (row := self._store.get(selection.key)) is not None:
                operations.append(Remove(row.key, row.value, 0, None, Durability.COALESCED))
        for resource in {selection.resource for selection in going}:
            kind = kinds.get(resource)
            for row in self._store.list(resource).rows:
                item = None if kind is None else kind.from_json(_body(row.value))
                if kind is None or item is None or not any(one.holds(kind, item) for one in self.revisions):
                    operations += self._removal(row.key)
        operations += self._tokens_of_none()
        await self._write(operations)

    def _tokens_of_none(self) -> Operations:
        """Tokens of pods that are gone."""
        rows = self._store.list(TOKENS).rows
        if not rows:
            return []
        uids = {_JSON.decode(_body(row.value))["metadata"]["uid"] for row in self._store.list("/pods").rows}
        return [
            Remove(row.key, row.value, 0, None, Durability.COALESCED)
            for row in rows
            if json.loads(_body(row.value))["uid"] not in uids
        ]

    async def close(self) -> None:
        """Write how far the selections reach: the next life resumes there."""
        moved = [one for one, at in self.revisions.items() if self._written.get(one) != at and one not in self._broken]
        await self._write([_selection_put(selection, self.revisions[selection]) for selection in moved])


def _said_key(key: Key) -> Key:
    return Key(SAID, key.namespace, f"{key.resource.replace('/', '.')}.{key.name}")


def _selection_put(selection: Selection, revision: int) -> Put:
    return _put(selection.key, json.dumps({"of": selection, "revision": revision}).encode())


def _put(key: Key, text: bytes, durability: Durability = Durability.COALESCED) -> Put:
    return Put(key, b"\n" + text, 0, None, durability)


def _body(value: bytes) -> bytes:
    return value[value.index(b"\n") + 1 :]


def _essence(document: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what changes when nothing does."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "resourceVersion"}
    made = {**document, "metadata": metadata}
    status = document.get("status") or {}
    if conditions := status.get("conditions"):
        quiet = [
            {k: v for k, v in one.items() if k not in ("lastHeartbeatTime", "lastProbeTime")} for one in conditions
        ]
        made["status"] = {**status, "conditions": quiet}
    return made
