"""The four kinds of patch, each as the transform that `Writer.update` asks for.

Reading and applying patches is `api.patching`'s and `api.applying`'s; here they meet fieldValidation, defaults of the present
object and the checks that come before. Source: k8s.io/apiserver pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from typing import Any

from edgekube import errors
from edgekube.api import applying, decoding, patching, rules
from edgekube.api.kind import FieldError, Kind
from edgekube.server import answers, bodies
from edgekube.server.bodies import Document
from edgekube.server.context import Context
from edgekube.server.schemas import schema_for
from edgekube.server.stored import Stored
from edgekube.server.writing import Transform

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
PATCH_ATTEMPTS = 6  # once and five times again, as upstream


def check_media_type(kind: Kind[Any], content_type: str) -> str:
    """The patch type. Raises UnsupportedMediaType."""
    media = content_type.partition(";")[0].strip().lower()
    if not media or media == "application/octet-stream" or media not in PATCH_TYPES:
        raise errors.UnsupportedMediaType("415: Unsupported Media Type")
    if media == STRATEGIC_PATCH and bodies.is_custom(kind):
        raise bodies.unknown_format((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
    return media


def read_patch(media: str, data: bytes, context: Context) -> Any:
    """A patch body as operations (JSON Patch) or a document (all others). Adds warnings. Raises BadRequest."""
    if media == JSON_PATCH:
        return patching.read_json_patch(data)
    if media == MERGE_PATCH:
        return patching.read_merge_patch(data)
    if media == STRATEGIC_PATCH:
        return patching.read_strategic_patch(data)
    return read_apply(data, context)


def read_apply(data: bytes, context: Context) -> Document:
    """The document of an apply patch, which is YAML or its subset JSON."""
    try:
        document = decoding.parse_json(data)
    except ValueError:
        document = _read_yaml(data, context)
    if document is None:
        return {}
    if not isinstance(document, dict):
        found = decoding.json_type(document)
        raise errors.BadRequest(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal"
            f" {found} into Go value of type map[string]interface {{}}"
        )
    return document


def _read_yaml(data: bytes, context: Context) -> Any:
    from edgekube.api import yamldoc

    try:
        document, repeated = yamldoc.parse_yaml(data)
    except ValueError as problem:
        raise errors.BadRequest(f"error decoding YAML: error converting YAML to JSON: {problem}") from None
    if repeated and context.field_validation == "Strict":
        raise errors.BadRequest(f"error decoding YAML: {yamldoc.strict_words(repeated)}")
    if context.field_validation != "Ignore":
        context.warnings += repeated
    return document


class _Strict:
    """fieldValidation of a patch: what it adds that the kind does not have."""

    def __init__(self, kind: Kind[Any], context: Context, shown: Any, data: bytes) -> None:
        self._kind, self._context, self._shown, self._data = kind, context, shown, data
        self._told = False

    def _refuse(self, problems: list[str]) -> errors.Invalid:
        words = f"strict decoding error: {', '.join(problems)}"
        broken = FieldError("FieldValueInvalid", "patch", f"Invalid value: {rules.quoted(self._shown)}: {words}")
        return answers.invalid_named("", "", "", "", [broken])

    def check(self, operations: Any, result: Document) -> None:
        """Raises Invalid when Strict, adds warnings when Warn, once."""
        if self._context.field_validation == "Ignore" or self._told:
            return
        self._told = True
        problems: list[str] = []
        if isinstance(operations, list):
            problems += patching.unknown_operation_members(operations)
        elif self._data:
            problems += [
                one
                for one in decoding.unknown_and_duplicate_fields(operations, None, self._data)
                if one.startswith("duplicate")
            ]
        problems += decoding.unknown_and_duplicate_fields(result, self._kind.type)
        if problems and self._context.field_validation == "Strict":
            raise self._refuse(problems)
        self._context.warnings += problems


def patch_transform(kind: Kind[Any], media: str, patch: Any, context: Context, data: bytes = b"") -> Transform:
    """The present object, patched. Raises BadRequest, Invalid and NotFound as upstream does."""
    shown = bodies.go_map(patch) if media == STRATEGIC_PATCH else data.decode(errors="replace")
    strict = _Strict(kind, context, shown, data)

    async def transform(live: Stored[Any] | None) -> Document:
        assert live is not None
        before = kind.to_dict(live.item)
        if media == JSON_PATCH:
            made = patching.json_patch(before, patch)
        elif media == MERGE_PATCH:
            made = patching.merge_patch(before, patch)
        else:
            made = patching.strategic_merge(before, patch, kind.type)
        strict.check(patch, made)
        bodies.check_kind(kind, made)
        return made

    return transform


def check_applied(kind: Kind[Any], document: Document, namespace: str, name: str) -> None:
    """An applied document must say what it is and fit the URL."""
    if document.get("apiVersion") != kind.api_version or document.get("kind") != kind.name:
        group, _, version = str(document.get("apiVersion") or "").rpartition("/")
        told = document.get("kind") or ""
        raise errors.BadRequest(f"invalid object type: {group}/{version}, Kind={told}")
    meta = document.get("metadata") or {}
    if not isinstance(meta, dict):
        raise errors.BadRequest(f"{kind.name} in version {kind.version!r} cannot be handled: metadata is not an object")
    if not meta.get("name"):
        raise errors.BadRequest(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if meta["name"] != name:
        raise errors.BadRequest(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    if kind.namespaced and meta.get("namespace") and meta["namespace"] != namespace:
        raise errors.BadRequest(answers.WRONG_NAMESPACE)


def apply_transform(
    kind: Kind[Any], document: Document, context: Context, *, force: bool, subresource: str, now_text: str
) -> Transform:
    """The present object (or nothing) with what is applied. Raises Conflict naming the other owners."""

    async def transform(live: Stored[Any] | None) -> Document:
        meta = document.get("metadata")
        uid = (meta.get("uid") or "") if isinstance(meta, dict) else ""
        if live is None and uid:
            name = meta.get("name", "") if isinstance(meta, dict) else ""
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise answers.conflict(kind, name, why)
        return applying.apply(
            kind.to_dict(live.item) if live is not None else None,
            document,
            manager=context.field_manager,
            force=force,
            api_version=kind.api_version,
            subresource=subresource,
            now_text=now_text,
            schema=schema_for(kind),
        )

    return transform
