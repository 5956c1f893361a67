"""The `scale` subresource: how many replicas, in the same words for every kind that has them.

A Scale is a view of its parent: reading makes one, writing changes the parent's `spec.replicas`.
Source: kubernetes pkg/registry/apps/deployment/storage (ScaleREST) and apimachinery managedfields scalehandler.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgekube import errors
from edgekube.api import applying, decoding, jsonpath, patching, selectors
from edgekube.api.kind import ENCODER, Kind
from edgekube.api.rules import invalid, not_negative
from edgekube.kinds.autoscaling import scale as types
from edgekube.net.exchange import Request
from edgekube.server import answers, bodies, negotiation, patches
from edgekube.server.bodies import Document
from edgekube.server.context import Context
from edgekube.server.customkinds import CustomObject, document_of
from edgekube.server.paths import Asked
from edgekube.server.registry import Registry
from edgekube.server.resources import Answer
from edgekube.server.stored import Stored
from edgekube.server.writing import WRITE_ATTEMPTS, Target

API_VERSION = "autoscaling/v1"
KIND: Kind[types.Scale] = types.KIND


def view(item: Any) -> Document:
    """The Scale of a parent."""
    if isinstance(item, CustomObject):
        return _custom_view(item)
    meta, spec = item.metadata, item.spec
    selector = spec.selector
    query = selectors.from_map(selector) if isinstance(selector, dict) else selectors.from_label_selector(selector)
    metadata = {
        "name": meta.name,
        "namespace": meta.namespace,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "creationTimestamp": str(meta.creation_timestamp or ""),
    }
    made: Document = {
        "kind": "Scale",
        "apiVersion": API_VERSION,
        "metadata": metadata,
        "spec": {"replicas": spec.replicas} if spec.replicas else {},
        "status": {"replicas": item.status.replicas, "selector": str(query)},
    }
    if not made["status"]["selector"]:
        del made["status"]["selector"]
    return made


def _path(path: str) -> list[str]:
    """The members a scale's path names; upstream allows nothing else in it."""
    return path.strip(".").split(".")


def _custom_view(item: CustomObject) -> Document:
    """The Scale of a custom resource, gathered from where its definition says."""
    declared, document = item.SCALE, document_of(item)
    assert declared is not None

    def at(path: str | None) -> Any:
        return next(iter(jsonpath.find(document, path)), None) if path else None

    meta, wanted, selector = item.metadata, at(declared.spec_replicas_path), at(declared.label_selector_path)
    status: Document = {"replicas": at(declared.status_replicas_path) or 0}
    if selector:
        status["selector"] = selector
    metadata = {
        "name": meta.name,
        "namespace": meta.namespace,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "creationTimestamp": str(meta.creation_timestamp or ""),
    }
    made = {"kind": "Scale", "apiVersion": API_VERSION, "metadata": {k: v for k, v in metadata.items() if v}}
    return made | {"spec": {"replicas": wanted} if wanted else {}, "status": status}


def _replicas(item: Any) -> int:
    made: int = view(item)["spec"].get("replicas") or 0
    return made


class Scale:
    """Handles get, update and patch of every scale."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, asked: Asked, target: Target, request: Request, body: bytes, context: Context) -> Answer:
        form = negotiation.negotiate(request.header("accept"), None, shapes=False)
        if asked.verb == "get":
            value = await self._registry.get(target.kind, target.namespace, target.name)
            made = view(target.kind.from_json(value))
        elif asked.verb == "update":
            document = bodies.read_object(KIND, body, request.header("content-type"), context)
            made = await self._write(target, document, context)
        else:
            made = await self._patch(target, request, body, context)
        return Answer(200, negotiation.encode(form.media, KIND, ENCODER.encode(made)), form.media)

    async def _write(self, target: Target, document: Document, context: Context) -> Document:
        return await self._changed(target, lambda _: document, context)

    async def _patch(self, target: Target, request: Request, body: bytes, context: Context) -> Document:
        media = patches.check_media_type(KIND, request.header("content-type"))
        patch = patches.read_patch(media, body, context)
        if media == patches.APPLY_PATCH:
            patches.check_applied(KIND, patch, target.namespace, target.name)
            return await self._apply(target, patch, context, force=request.param("force") in ("true", "1"))

        def changed(live: Stored[Any]) -> Document:
            now = view(live.item)
            now["spec"] = {"replicas": _replicas(live.item)}  # upstream's patches see a zero, its readers do not
            if media == patches.JSON_PATCH:
                return patching.json_patch(now, patch)
            if media == patches.MERGE_PATCH:
                return patching.merge_patch(now, patch)
            return patching.strategic_merge(now, patch, types.Scale)

        return await self._changed(target, changed, context, attempts=patches.PATCH_ATTEMPTS)

    async def _changed(
        self,
        target: Target,
        make: Callable[[Stored[Any]], Document],
        context: Context,
        *,
        attempts: int = WRITE_ATTEMPTS,
    ) -> Document:
        """Put the Scale that `make` makes in place of the present one; who owns the replicas is settled within the Scale."""
        now = self._registry.writer.now()

        async def transform(live: Stored[Any] | None) -> Document:
            assert live is not None
            scale = make(live)
            made = _with_replicas(target, live, scale)
            before = _owned_view(live)
            owners = applying.track_update(
                before,
                KIND.to_dict(decoding.decode(KIND, scale)) | {"metadata": before["metadata"]},
                manager=context.field_manager,
                api_version=API_VERSION,
                subresource="scale",
                now_text=now,
                schema=applying.schema_of(types.Scale),
            )
            return _owned(target, live, made, owners)

        main = replace(target, subresource="", through="scale", view=view)
        written = await self._registry.writer.update(
            main, transform, context, may_create=False, tracked=True, attempts=attempts
        )
        return view(written.stored.item)

    async def _apply(self, target: Target, patch: Document, context: Context, *, force: bool) -> Document:
        now = self._registry.writer.now()

        async def transform(live: Stored[Any] | None) -> Document:
            assert live is not None
            result = applying.apply(
                _owned_view(live),
                patch,
                manager=context.field_manager,
                force=force,
                api_version=API_VERSION,
                subresource="scale",
                now_text=now,
                schema=applying.schema_of(types.Scale),
            )
            owners = result["metadata"].get("managedFields") or []
            return _owned(target, live, _with_replicas(target, live, result), owners)

        main = replace(target, subresource="", through="scale", view=view)
        written = await self._registry.writer.update(main, transform, context, may_create=False, tracked=True)
        return view(written.stored.item)


def _replicas_path(item: Any) -> tuple[str, ...]:
    if not isinstance(item, CustomObject):
        return ("spec", "replicas")
    assert item.SCALE is not None
    return tuple(_path(item.SCALE.spec_replicas_path))


def _owners(live: Stored[Any]) -> list[Document]:
    found: list[Document] = live.kind.to_dict(live.item)["metadata"].get("managedFields") or []
    return found


def _owned_view(live: Stored[Any]) -> Document:
    """The Scale of a parent, with those who own its replicas."""
    shown = view(live.item)
    shown["metadata"]["managedFields"] = applying.to_scale(_owners(live), _replicas_path(live.item))
    return shown


def _owned(target: Target, live: Stored[Any], parent: Document, owners: list[Document]) -> Document:
    """The changed parent with the ownership record that the Scale's (`owners`) leads to."""
    path = _replicas_path(live.item)
    record = applying.from_scale(_owners(live), owners, target.kind.api_version, path)
    return {**parent, "metadata": {**parent["metadata"], "managedFields": record}}


def _with_replicas(target: Target, live: Stored[Any], scale: Document) -> Document:
    """The parent with what a Scale asks for. Raises BadRequest, Conflict, Invalid."""
    wanted = decoding.decode(KIND, scale)
    name = wanted.metadata.name
    if name and name != target.name:
        raise errors.BadRequest(f"the name of the object ({name}) does not match the name on the URL ({target.name})")
    if wanted.metadata.namespace and wanted.metadata.namespace != target.namespace:
        raise errors.BadRequest(answers.WRONG_NAMESPACE)
    meta = wanted.metadata
    broken = not_negative("spec.replicas", wanted.spec.replicas)
    if meta.uid and meta.uid != live.item.metadata.uid:
        broken.append(invalid("metadata.uid", meta.uid, "field is immutable"))
    if broken:
        raise answers.invalid(KIND, target.name, broken)
    revision = meta.resource_version
    if revision and revision not in ("0", live.item.metadata.resource_version):
        raise answers.conflict(target.kind, target.name)
    document = target.kind.to_dict(live.item)
    *above, last = _replicas_path(live.item)
    place = document
    for name in above:
        place[name] = dict(place.get(name) or {})
        place = place[name]
    place[last] = wanted.spec.replicas
    return document
