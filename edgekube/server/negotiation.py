"""Which form an answer takes: the Accept header against what can be produced, and the forms themselves.

Pure: bytes and decoded objects in, bytes out. Source: k8s.io/apiserver pkg/endpoints/handlers/negotiation and response.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from edgekube import errors
from edgekube.api import table
from edgekube.api.kind import ENCODER, Kind
from edgekube.server.bodies import JSON, PROTOBUF, YAML, is_custom
from edgekube.server.listing import Page
from edgekube.server.stored import raw_metadata

MEDIA = {JSON: "json", YAML: "yaml", PROTOBUF: "protobuf"}
TABLE, PARTIAL, PARTIAL_LIST = "Table", "PartialObjectMetadata", "PartialObjectMetadataList"
CONVERTED = frozenset({"daemonsets", "horizontalpodautoscalers"})
CONVERSIONS = ("deprecated.daemonset.template.generation", "autoscaling.alpha.kubernetes.io/")
META_VERSIONS = ("v1", "v1beta1")
ONLY = "only the following media types are accepted: "


@dataclass(frozen=True, slots=True)
class Range:
    """One entry of an Accept header."""

    media: str
    params: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """How to write an answer: the media type, and what to turn objects into ("" for nothing)."""

    media: str = JSON
    shape: str = ""
    version: str = "v1"


PLAIN = Form()


def ranges(accept: str) -> list[Range]:
    """An Accept header's entries, best first."""
    found: list[tuple[float, int, Range]] = []
    for position, entry in enumerate(accept.split(",")):
        media, *rest = (part.strip() for part in entry.split(";"))
        if not media:
            continue
        params = {part.partition("=")[0]: part.partition("=")[2] for part in rest if part}
        try:
            quality = float(params.pop("q", 1))
        except ValueError:
            quality = 1.0
        found.append((-quality, position, Range(media.lower(), params)))
    return [entry for _, _, entry in sorted(found, key=lambda one: one[:2])]


def _covers(media: str, offer: str) -> bool:
    return media in ("*/*", offer) or (media.endswith("/*") and offer.startswith(media[:-1]))


def not_producible(offers: Sequence[str]) -> errors.NotAcceptable:
    """No offered type is among those accepted at all."""
    return errors.NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(offers)}")


def negotiate(accept: str, kind: Kind[Any] | None, *, shapes: bool, watching: bool = False) -> Form:
    """The form of an answer: the first shape that is asked for, as JSON where the client takes that too. Raises NotAcceptable."""
    offers = [JSON, YAML, PROTOBUF] if kind is None or not is_custom(kind) else [JSON, YAML]
    wanted = ranges(accept) or [Range("*/*")]
    if not any(_covers(entry.media, offer) for entry in wanted for offer in offers):
        streamed = [f"{offer};stream=watch" for offer in offers if offer != YAML] if watching else []
        raise not_producible([*offers, *streamed])
    fallback: Form | None = None
    for entry in wanted:
        media = next((offer for offer in offers if _covers(entry.media, offer)), None)
        form = _form(media, entry.params, shapes=shapes) if media else None
        if form is None:
            continue
        fallback = fallback or form
        if form.media == JSON and form.shape == fallback.shape:
            return form
    if fallback is None:
        raise errors.NotAcceptable(ONLY + ", ".join(offers), details=False)
    return fallback


def _form(media: str, params: dict[str, str], *, shapes: bool) -> Form | None:
    shape = params.get("as", "")
    if not shape:
        return Form(media)
    version = params.get("v", "")
    if not shapes or shape not in (TABLE, PARTIAL, PARTIAL_LIST):
        return None
    if params.get("g") != "meta.k8s.io" or version not in META_VERSIONS or (shape, media) == (TABLE, PROTOBUF):
        return None
    return Form(media, shape, version)


def error_form(accept: str) -> str:
    """The media type of a failure Status: YAML or protobuf where nothing else is accepted, else JSON."""
    for entry in ranges(accept):
        if _covers(entry.media, JSON):
            return JSON
        if entry.media in (YAML, PROTOBUF) and "as" not in entry.params:
            return entry.media
    return JSON


def shaped(kind: Kind[Any], form: Form, value: bytes, include: str, now_text: str, *, heads: bool = True) -> bytes:
    """One object's JSON in the asked-for shape. Raises NotAcceptable for a list shape."""
    if not form.shape:
        return value
    if form.shape == TABLE:
        items = [_without_conversions(kind, kind.from_json(value))]
        made = table.render(kind, items, now_text, include, version=form.version, heads=heads)
        return ENCODER.encode(made)
    if form.shape == PARTIAL_LIST:
        package = kind.group.partition(".")[0] or "core"
        raise errors.NotAcceptable(
            f"you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{kind.name})",
            details=False,
        )
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b","metadata":%b}' % (
        form.version.encode(),
        raw_metadata(value),
    )


def _without_conversions(kind: Kind[Any], item: Any) -> Any:
    """An object without the annotations that hold what its version has no fields for: upstream's rows are made before those."""
    if kind.plural not in CONVERTED or not item.metadata.annotations:
        return item
    kept = {key: text for key, text in item.metadata.annotations.items() if not key.startswith(CONVERSIONS)}
    return replace(item, metadata=replace(item.metadata, annotations=kept))


def shaped_list(kind: Kind[Any], form: Form, page: Page, include: str, now_text: str) -> bytes:
    """A list's JSON in the asked-for shape; plain lists are joined from the objects' own bytes."""
    metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.continue_:
        metadata["continue"] = page.continue_
    if page.remaining:
        metadata["remainingItemCount"] = page.remaining
    if form.shape == TABLE:
        items = (_without_conversions(kind, kind.from_json(value)) for value in page.values)  # one decoded at a time
        made = table.render(kind, items, now_text, include, metadata=metadata, version=form.version)
        return ENCODER.encode(made)
    if kind.custom and not form.shape:
        metadata.setdefault("continue", "")  # written even when empty, as upstream's untyped lists do
    head = ENCODER.encode(metadata)
    if form.shape == PARTIAL:
        raise errors.NotAcceptable(
            "you requested PartialObjectMetadata, but the requested object is a list", details=False
        )
    if form.shape == PARTIAL_LIST:
        one = Form(JSON, PARTIAL, form.version)
        items_json = b",".join(shaped(kind, one, value, include, now_text) for value in page.values)
        return b'{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/%b","metadata":%b,"items":[%b]}' % (
            form.version.encode(),
            head,
            items_json,
        )
    start = b'{"kind":"%bList","apiVersion":"%b","metadata":%b,"items":[' % (
        kind.name.encode(),
        kind.api_version.encode(),
        head,
    )
    return _joined(start, kind, page.values)


def _joined(start: bytes, kind: Kind[Any], values: Sequence[bytes]) -> bytes:
    """A whole list in one copy of its objects' bytes, which may be many megabytes.

    Items of a built-in kind's list carry neither kind nor version; custom resources keep theirs.
    """
    prefix = b'{"kind":"%b","apiVersion":"%b",' % (kind.name.encode(), kind.api_version.encode())
    skip = len(prefix)
    custom = is_custom(kind)
    pieces: list[bytes | memoryview] = [start]
    for position, value in enumerate(values):
        if custom or not value.startswith(prefix):
            pieces += (b"," if position else b"", value)
        else:
            pieces += (b",{" if position else b"{", memoryview(value)[skip:])
    pieces.append(b"]}\n")
    return b"".join(pieces)


def encode(form_media: str, kind: Kind[Any] | None, body: bytes) -> bytes:
    """JSON bytes in the answer's media type. JSON ends with a line's end, as Go's encoder writes it."""
    if form_media == JSON:
        return body if body.endswith(b"\n") else body + b"\n"
    document = msgspec.json.decode(body)
    if form_media == YAML:
        from edgekube.api import yamldoc

        return yamldoc.write_yaml(document).encode()
    from edgekube.wire import k8s_protobuf

    return k8s_protobuf.encode(document, kind)
