"""apps/v1 ControllerRevision: one past state of a StatefulSet or DaemonSet template, never changed.

Its data is kept as the text it was sent as, as upstream does, and two texts are the same data only if they are equal letter by
letter: who patches a revision whose data was not written compactly and in order has changed the data.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Object, zero
from edgekube.kinds.apps import workload_rules
from edgekube.kinds.core.printing import AGE, NAME, NONE, described


class ControllerRevision(Object):
    """A numbered snapshot of a template, in a form only its controller reads."""

    data: dict[str, Any] | None = None
    revision: int = zero(int)


class Text(dict[str, Any]):
    """Data, and the JSON text it was read from."""

    __slots__ = ("text",)

    def __init__(self, content: dict[str, Any], text: bytes) -> None:
        super().__init__(content)
        self.text = text


class _Bare(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()


_bare = msgspec.json.Decoder(_Bare).decode
_compact = msgspec.json.Encoder(order="deterministic").encode


def with_text(data: dict[str, Any] | None, text: bytes | None = None) -> Text | None:
    """Data with its text: the one given, its own, or the one that encoding it anew makes."""
    if data is None or (text is None and isinstance(data, Text)):
        return data
    return Text(data, _compact(data) if text is None else text)


def read_text(document: dict[str, Any], body: bytes) -> None:
    """Remember in a request's document how its data was written. Does nothing where there is none to remember."""
    if isinstance(document.get("data"), dict) and (found := bytes(_bare(body).data)):
        document["data"] = Text(document["data"], found)


class _TextKind(Kind[ControllerRevision]):
    """Carries the text of `data` through every form of the object but plain documents, which write it anew."""

    def from_json(self, data: bytes) -> ControllerRevision:
        item = super().from_json(data)
        item.data = with_text(item.data, bytes(_bare(data).data))
        return item

    def from_dict(self, document: dict[str, Any]) -> ControllerRevision:
        item = super().from_dict(document)
        given = document.get("data")
        item.data = given if isinstance(given, Text) else with_text(item.data)
        return item

    def to_json(self, item: ControllerRevision) -> bytes:
        known = with_text(item.data)
        if known is None:
            return super().to_json(item)
        raw: Any = msgspec.Raw(known.text)
        return super().to_json(msgspec.structs.replace(item, data=raw))


def _same_text(new: ControllerRevision, old: ControllerRevision) -> list[FieldError]:
    now, was = with_text(new.data), with_text(old.data)
    same = now.text == was.text if now is not None and was is not None else now is was
    return [] if same else [rules.immutable("data", new.data)]


def _controller(revision: ControllerRevision, _now: str) -> str:
    owner = next((one for one in revision.metadata.owner_references if one.controller), None)
    if owner is None:
        return NONE
    group = owner.api_version.rpartition("/")[0]
    return f"{owner.kind.lower()}.{group}/{owner.name}" if group else f"{owner.kind.lower()}/{owner.name}"


KIND = _TextKind(
    type=ControllerRevision,
    group="apps",
    version="v1",
    name="ControllerRevision",
    plural="controllerrevisions",
    singular="controllerrevision",
    generation=False,
    columns=described(
        "controllerrevisions",
        NAME,
        Column("Controller", "string", _controller),
        Column("Revision", "string", lambda item, _: item.revision),
        AGE,
    ),
    rules=workload_rules.revision,
    update_rules=_same_text,
    read_text=read_text,
)
