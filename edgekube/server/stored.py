"""Objects as the store keeps them and as clients see them: bytes first, decoded only when somebody looks inside.

Here lives everything about the bytes of one object: leaving a gap for the revision, putting a revision in, converting between
a version that is served and the version that is stored, and the heads of objects for label selection. No verb lives here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.kinds.catalog import built_in

T = TypeVar("T", bound=Object)

_MARK = b'"resourceVersion":"'
DECODED_OBJECTS = 256  # decoded views shared by readers in this process; a pod is some 25 KB


class _HeadMetadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class _Head(msgspec.Struct):
    metadata: _HeadMetadata


class _RawHead(msgspec.Struct):
    metadata: msgspec.Raw


_head = msgspec.json.Decoder(_Head).decode
_raw_head = msgspec.json.Decoder(_RawHead).decode
_document = msgspec.json.Decoder(dict[str, Any]).decode


def labels_of(value: bytes) -> dict[str, str]:
    """An object's labels without decoding the rest."""
    return _head(value).metadata.labels or {}


def raw_metadata(value: bytes) -> bytes:
    """The bytes of an object's metadata."""
    return bytes(_raw_head(value).metadata)


def document_of(value: bytes) -> dict[str, Any]:
    """An object as plain members."""
    return _document(value)


def with_gap(kind: Kind[T], item: T) -> tuple[bytes, int]:
    """Wire bytes of `item` without the digits of its revision, and where they belong.

    The first member called resourceVersion is the object's own: only names and the uid come before it, and a quote inside
    those would be escaped.
    """
    marked = msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, resource_version="0"))
    data = kind.to_json(marked)
    at = data.index(_MARK) + len(_MARK)
    return data[:at] + data[at + 1 :], at


def with_revision(value: bytes, revision: int) -> bytes:
    """The same object at another revision."""
    start = value.index(_MARK) + len(_MARK)
    return b"%b%d%b" % (value[:start], revision, value[value.index(b'"', start) :])


def revision_of(value: bytes) -> int:
    """The revision in an object's bytes."""
    start = value.index(_MARK) + len(_MARK)
    return int(value[start : value.index(b'"', start)])


def stored_sibling(kind: Kind[Any]) -> Kind[Any]:
    """The version of the same resource that is stored; the kind itself for almost all."""
    if kind.stored_as is None:
        return kind
    if kind.stored_kind is not None:
        return kind.stored_kind
    group, version = kind.stored_as
    return next(one for one in built_in() if (one.group, one.version, one.plural) == (group, version, kind.plural))


def to_wire(kind: Kind[Any], value: bytes) -> bytes:
    """Stored bytes as this version shows them."""
    if kind.from_stored is None:
        return value
    return kind.to_json(
        kind.from_dict(kind.from_stored(_document(value)) | {"kind": kind.name, "apiVersion": kind.api_version})
    )


def to_store(kind: Kind[T], item: T) -> tuple[bytes, int]:
    """What to store for an object of this version, with the gap for the revision."""
    if kind.to_stored is None:
        return with_gap(kind, item)
    sibling = stored_sibling(kind)
    document = kind.to_stored(kind.to_dict(item)) | {"kind": sibling.name, "apiVersion": sibling.api_version}
    return with_gap(sibling, sibling.from_dict(document))


async def ready(kind: Kind[Any], values: Iterable[bytes]) -> None:
    """Before stored bytes are turned into this version: have converted what only somebody outside can. Raises ApiError."""
    if kind.ahead is not None:
        await kind.ahead([_document(value) for value in values], kind.api_version)


async def ready_to_store(kind: Kind[T], item: T) -> None:
    """The same before an object of this version is turned into what is stored."""
    if kind.ahead is not None and kind.to_stored is not None:
        await kind.ahead([kind.to_dict(item)], stored_sibling(kind).api_version)


async def in_version(kind: Kind[Any], wanted: Kind[Any], document: dict[str, Any]) -> dict[str, Any]:
    """An object of one version as another version of the same resource shows it."""
    if kind.ahead is not None:
        stored = stored_sibling(kind).api_version
        await kind.ahead([document], stored)
        if wanted.ahead is not None and kind.to_stored is not None:
            await wanted.ahead([kind.to_stored(document)], wanted.api_version)
    neutral = document if kind.to_stored is None else kind.to_stored(document)
    made = neutral if wanted.from_stored is None else wanted.from_stored(neutral)
    return {**made, "kind": wanted.name, "apiVersion": wanted.api_version}


class Stored(Generic[T]):
    """One state of one object: its wire bytes in one version, decoded on demand. Never changed."""

    __slots__ = ("_item", "kind", "value")

    def __init__(self, kind: Kind[T], value: bytes, item: T | None = None) -> None:
        self.kind, self.value, self._item = kind, value, item

    @property
    def item(self) -> T:
        """The decoded view; shared, so never to be mutated."""
        if self._item is None:
            self._item = self.kind.from_json(self.value)
        return self._item

    def fresh(self) -> T:
        """A decoded copy of one's own, which may be changed."""
        return self.kind.from_json(self.value)

    @property
    def revision(self) -> int:
        """Its resourceVersion as a number; 0 for what was never stored."""
        return int(self.item.metadata.resource_version or 0)


class DecodedCache:
    """The most recently decoded states, shared by everybody in this process who reads or watches objects."""

    def __init__(self, limit: int = DECODED_OBJECTS) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, int], tuple[bytes, Any]] = OrderedDict()

    def decode(self, kind: Kind[T], revision: int, value: bytes) -> T:
        """The object in `value`. The same revision of the same version is decoded once."""
        key = (kind.api_version + kind.name, revision)
        found = self._kept.get(key)
        if found is not None and found[0] == value:
            self._kept.move_to_end(key)
            item: T = found[1]
            return item
        item = kind.from_json(value)
        self._kept[key] = (value, item)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return item
