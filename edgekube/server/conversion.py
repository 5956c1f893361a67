"""Conversion webhooks of custom resources: objects of one version into another, asked once for each state of an object.

Reading and writing want conversions at once, in the middle of work that cannot wait; so whoever is about to look at objects asks
for them `ahead` (one call for as many as there are), and `convert` then finds them. What was converted is kept as bytes, bounded:
the many watchers of a change cost one call. Source: k8s.io/apiextensions-apiserver pkg/apiserver/conversion/webhook_converter.go.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from edgekube import errors
from edgekube.api.kind import ENCODER
from edgekube.clock import Clock
from edgekube.server.admission.interface import Cluster
from edgekube.server.admission.webhook_calls import post_json
from edgekube.server.reach import Destination, Reach, destination

Document = dict[str, Any]
GROUP = "apiextensions.k8s.io"
KNOWN_VERSIONS = ("v1", "v1beta1")
KEPT_BYTES_MOST = 8 * 1024 * 1024
TIMEOUT_S = 30
RETURNED = ("labels", "annotations")  # all of the metadata that a webhook may change

_document = msgspec.json.Decoder(Document).decode


class Conversion:
    """How objects of one definition are converted."""

    def __init__(self, definition: Any, reach: Reach, cluster: Cluster, clock: Clock) -> None:
        webhook = definition.spec.conversion.webhook
        self._to: Destination = destination(webhook.client_config)
        self._versions: Sequence[str] = webhook.conversion_review_versions or ()
        self._reach, self._cluster, self._clock = reach, cluster, clock
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0

    def convert(self, document: Document, api_version: str) -> Document:
        """An object that was asked for ahead. Raises ApiError for one that was not."""
        if document.get("apiVersion") == api_version:
            return document
        found = self._kept.get(_key(document, api_version))
        if found is None:
            raise _failed(document, "the conversion did not come before it was needed")
        return _document(found)

    async def ahead(self, documents: Sequence[Document], api_version: str) -> None:
        """Convert what is not known yet. Raises ApiError in upstream's words."""
        missing: dict[bytes, Document] = {}
        for document in documents:
            if document.get("apiVersion") == api_version:
                continue
            key = _key(document, api_version)
            if key in self._kept:
                self._kept.move_to_end(key)
            else:
                missing[key] = document
        if not missing:
            return
        before = list(missing.values())
        after = await self._ask(before, api_version)
        made = {
            key: ENCODER.encode(_checked(document, converted, api_version))
            for (key, document), converted in zip(missing.items(), after, strict=True)
        }
        self._keep(made)

    def _keep(self, made: dict[bytes, bytes]) -> None:
        """Room is made among older ones only: what was just asked for is about to be used."""
        self._kept.update(made)
        self._size += sum(map(len, made.values()))
        while self._size > KEPT_BYTES_MOST and len(self._kept) > len(made):
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped)

    async def _ask(self, documents: list[Document], api_version: str) -> list[Any]:
        version = next((one for one in self._versions if one in KNOWN_VERSIONS), None)
        if version is None:
            raise errors.ApiError("no supported conversion review versions", details=False)
        uid = self._clock.uid()
        sent = {
            "kind": "ConversionReview",
            "apiVersion": f"{GROUP}/{version}",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": documents},
        }
        try:
            answer = await post_json(self._reach, self._cluster, self._to, TIMEOUT_S, sent)
        except (errors.ApiError, errors.ConnectionFailed) as problem:
            raise _failed(documents[0], str(problem)) from problem
        converted = _converted(documents[0], answer, version, uid)
        if len(converted) != len(documents):
            of, expected = _shown(documents[0]), len(documents)
            words = f"conversion webhook for {of} returned {len(converted)} objects, expected {expected}"
            raise errors.ApiError(words, details=False)
        return converted


def _key(document: Document, api_version: str) -> bytes:
    return hashlib.blake2b(ENCODER.encode(document) + api_version.encode(), digest_size=16).digest()


def _shown(document: Document) -> str:
    """ "example.com/v1, Kind=CronTab"."""
    return f"{document.get('apiVersion')}, Kind={document.get('kind')}"


def _failed(document: Document, why: str) -> errors.ApiError:
    return errors.ApiError(f"conversion webhook for {_shown(document)} failed: {why}", details=False)


def _converted(first: Document, answer: Any, version: str, uid: str) -> list[Any]:
    """The objects in an answer. Raises ApiError."""
    answer = answer if isinstance(answer, dict) else {}
    response = answer.get("response")
    if version == "v1" and (answer.get("apiVersion"), answer.get("kind")) != (f"{GROUP}/v1", "ConversionReview"):
        words = f"expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {_shown(answer)}"
        raise _failed(first, words)
    if not isinstance(response, dict):
        raise _failed(first, "no response provided")
    if version == "v1" and response.get("uid", "") != uid:
        raise _failed(first, f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    result = response.get("result") or {}
    status = result.get("status", "") if isinstance(result, dict) else ""
    if status != "Success":
        told = result.get("message") if isinstance(result, dict) else ""
        raise _failed(first, told or f"response.result.status was '{status}', not 'Success'")
    objects = response.get("convertedObjects") or []
    return list(objects) if isinstance(objects, list) else []


def _checked(before: Document, after: Any, api_version: str) -> Document:
    """The converted object, with all metadata but labels and annotations as it was. Raises ApiError."""
    start = f"conversion webhook for {_shown(before)} returned invalid"

    def bad(what: str, why: str) -> errors.ApiError:
        return errors.ApiError(f"{start} {what}: {why}", details=False)

    if not isinstance(after, dict):
        raise bad("object at index 0", "not an object")
    if after.get("apiVersion") != api_version:
        why = f"invalid groupVersion (expected {api_version}, received {after.get('apiVersion', '')})"
        raise bad("object at index 0", why)
    if after.get("kind") != before.get("kind"):
        why = f"invalid kind (expected {before.get('kind')}, received {after.get('kind', '')})"
        raise bad("object at index 0", why)
    metadata = after.get("metadata")
    if not isinstance(metadata, dict):
        raise bad("metadata", "missing metadata in converted object")
    was = before.get("metadata") or {}
    for member, shown in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if was.get(member, "") != metadata.get(member, ""):
            why = f"must have the same {shown}: {was.get(member, '')} != {metadata.get(member, '')}"
            raise bad("object", why)
    kept = {name: value for name, value in was.items() if name not in RETURNED}
    for member in RETURNED:
        given = metadata.get(member)
        if given is None:
            continue
        if not isinstance(given, dict) or any(not isinstance(value, str) for value in given.values()):
            raise bad("metadata", f"invalid metadata.{member} in converted object")
        kept[member] = given
    return {**after, "metadata": kept}
