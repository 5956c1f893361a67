"""Objects that are created but never stored (bindings, token requests, reviews) before webhooks and policies.

Everything else about them is their handlers' business; here a body becomes a document, is shown, and becomes a body again where
somebody changed it. Source: k8s.io/apiserver pkg/endpoints/handlers/create.go, which admits all of them alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from edgekube.api.kind import ENCODER, Kind
from edgekube.errors import EdgekubeError
from edgekube.net.exchange import Request
from edgekube.server.admission.interface import CREATE, Chain, Review
from edgekube.server.context import Context

JSON = "application/json"
PROTOBUF_START = b"k8s\0"


async def admit(
    chain: Chain, kind: Kind[Any], place: tuple[str, str, str], request: Request, body: bytes, context: Context
) -> tuple[Request, bytes]:
    """The request to go on with. `place`: namespace, name, subresource. Raises ApiError."""
    document = _document(body) if await chain.listens() else None
    if document is None:  # nobody to show it to, or nothing to show, which its handler will say
        return request, body
    namespace, name, subresource = place
    metadata = document.get("metadata")
    named = metadata.get("name") if isinstance(metadata, dict) else ""
    review = Review(
        kind=kind,
        operation=CREATE,
        namespace=namespace,
        name=name or str(named or ""),
        context=context,
        item=document,
        subresource=subresource,
        subresource_object=True,
    )
    await chain.connect(review)
    if not review.changed:
        return request, body
    headers = tuple(pair for pair in request.headers if pair[0] not in ("content-type", "content-length"))
    return replace(request, headers=(*headers, ("content-type", JSON))), ENCODER.encode(review.item)


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        if body.startswith(PROTOBUF_START):
            from edgekube.wire import k8s_protobuf

            return k8s_protobuf.decode(body)
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, EdgekubeError):
        return None
    return document if isinstance(document, dict) else None
