"""Asking one webhook: the AdmissionReview that is sent, the answer that is believed, and the words when there is none.

No choice is made here of whom to ask (`webhook_matching`) nor what follows from the answer (the two steps).
Source: k8s.io/apiserver pkg/admission/plugin/webhook/{request,errors,mutating,validating} and client-go rest/request.go.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio

from edgekube import errors
from edgekube.api.kind import ENCODER, Kind
from edgekube.clock import Clock
from edgekube.server.admission.interface import CONNECT, DELETE, Cluster, Review
from edgekube.server.admission.webhook_matching import Hook, Invocation, Names, kind_of, resource_of
from edgekube.server.context import User
from edgekube.server.reach import Destination, Reach

Document = dict[str, Any]
GROUP = "admission.k8s.io"
KNOWN_VERSIONS = ("v1", "v1beta1")
JSON = "application/json"
WARNING_LETTERS_MOST = 256

log = logging.getLogger(__name__)


class CallFailed(Exception):
    """A webhook could not be asked, or its answer could not be understood. What follows is up to its failurePolicy."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f'failed calling webhook "{name}": {why}')


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook said. `status` is its Status where it refused."""

    allowed: bool
    status: Document | None = None
    patch: Sequence[Document] = ()
    annotations: Document = field(default_factory=dict)
    warnings: Sequence[str] = ()


def internal_error(problem: Exception) -> errors.InternalError:
    """Upstream's NewInternalError: the message twice, once as a cause."""
    return errors.InternalError(f"Internal error occurred: {problem}", causes=[errors.Cause("", str(problem))])


def user_info(user: User) -> Document:
    """As authentication.k8s.io/v1 UserInfo."""
    made: Document = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    if user.extra:
        made["extra"] = {key: list(values) for key, values in user.extra.items()}
    return {name: value for name, value in made.items() if value}


def document_of(kind: Kind[Any], item: Any) -> Document | None:
    """An object as webhooks see it."""
    if item is None or isinstance(item, dict):
        return item
    return {**kind.to_dict(item), "kind": kind.name, "apiVersion": kind.api_version}


def options_of(review: Review) -> Document | None:
    """The options the request came with."""
    if review.operation == CONNECT:
        return None
    if review.operation == DELETE:
        sent = msgspec.to_builtins(review.options) if review.options is not None else {}
        made = {key: value for key, value in sent.items() if value not in (None, [], "")}
        return {**made, "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    context = review.context
    name = context.options_kind or ("CreateOptions" if review.operation == "CREATE" else "UpdateOptions")
    made = {"kind": name, "apiVersion": "meta.k8s.io/v1"}
    if context.dry_run:
        made["dryRun"] = ["All"]
    if context.field_manager:
        made["fieldManager"] = context.field_manager
    if context.field_validation:
        made["fieldValidation"] = context.field_validation
    return made


def request_of(invoked: Invocation, review: Review, uid: str, objects: tuple[Any, Any]) -> Document:
    """The `request` of a review. `objects`: new and old, in the version the webhook asked for."""
    asked_kind, asked_resource = kind_of(review.kind, review), resource_of(review.kind)
    kind = asked_kind if invoked.kind is review.kind else kind_of(invoked.kind, review)
    namespace = review.namespace
    if review.resource == "/namespaces":
        namespace = review.name
    made: Document = {
        "uid": uid,
        "kind": kind.to_kind(),
        "resource": resource_of(invoked.kind).to_resource(),
        "requestKind": asked_kind.to_kind(),
        "requestResource": asked_resource.to_resource(),
        "name": review.name,
        "namespace": namespace,
        "operation": review.operation,
        "userInfo": user_info(review.context.user),
        "object": objects[0],
        "oldObject": objects[1],
        "dryRun": review.context.dry_run,
        "options": options_of(review),
    }
    if review.asked_subresource:
        made["subResource"] = made["requestSubResource"] = review.asked_subresource
    return {name: value for name, value in made.items() if value != ""}


async def ask(
    reach: Reach, cluster: Cluster, clock: Clock, invoked: Invocation, review: Review, objects: tuple[Any, Any]
) -> Verdict:
    """Send the review and read the answer; `objects` as in `request_of`. Raises CallFailed, BadRequest."""
    hook, webhook = invoked.hook, invoked.hook.webhook
    mutating = hasattr(webhook, "reinvocation_policy")
    if review.context.dry_run and webhook.side_effects not in ("None", "NoneOnDryRun"):
        raise errors.BadRequest(f'admission webhook "{hook.name}" does not support dry run')
    version = next((one for one in webhook.admission_review_versions or () if one in KNOWN_VERSIONS), None)
    if version is None:
        why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
        raise CallFailed(hook.name, f"could not create admission objects: {why}")
    uid = clock.uid()
    sent = {
        "kind": "AdmissionReview",
        "apiVersion": f"{GROUP}/{version}",
        "request": request_of(invoked, review, uid, objects),
    }
    answer = await post(reach, cluster, hook, webhook.timeout_seconds or 10, sent)
    verdict = read_answer(hook.name, answer, version, uid, mutating=mutating)
    for key, value in verdict.annotations.items():
        review.context.annotations[f"{hook.name}/{key}"] = str(value)
    review.context.warnings += [text[:WARNING_LETTERS_MOST] for text in verdict.warnings]
    return verdict


async def post(reach: Reach, cluster: Cluster, hook: Hook, timeout_s: int, document: Document) -> Any:
    """The decoded answer. Raises CallFailed."""
    try:
        return await post_json(reach, cluster, hook.to, timeout_s, document)
    except errors.ApiError as problem:
        raise CallFailed(hook.name, f"failed to call webhook: {problem.message}") from problem
    except errors.ConnectionFailed as problem:
        raise CallFailed(hook.name, f"failed to call webhook: {problem}") from problem


async def post_json(reach: Reach, cluster: Cluster, to: Destination, timeout_s: int, document: Document) -> Any:
    """POST a document, the way client-go does. Raises ConnectionFailed for no answer, ApiError for a refusal."""
    query = f"timeout={timeout_s}s"
    shown = f'Post "{to.url}{"" if _has_path(to.url) else "/"}?{query}"'
    headers = [("content-type", JSON), ("accept", "application/json, */*")]
    try:
        with trio.fail_after(timeout_s):
            reply = await reach.call(cluster, to, "POST", query, headers=headers, body=ENCODER.encode(document))
    except errors.ConnectionFailed as problem:
        raise errors.ConnectionFailed(f"{shown}: {problem}") from problem
    except trio.TooSlowError:
        raise errors.ConnectionFailed(f"{shown}: context deadline exceeded") from None
    if not 200 <= reply.status <= 206:
        raise refusal(reply.status, reply.body)
    try:
        return msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise errors.ConnectionFailed(f"couldn't get version/kind; json parse error: {problem}") from problem


def _has_path(url: str) -> bool:
    return "/" in url.partition("://")[2]


PLAIN_REFUSALS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def refusal(status: int, body: bytes) -> errors.ApiError:
    """What client-go makes of an answer that is no success."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    if isinstance(document, dict) and document.get("kind") == "Status" and document.get("status") != "Success":
        return errors.ApiError.from_status(document)
    text = body.decode("utf-8", "replace").strip() or "unknown"
    if status in PLAIN_REFUSALS:
        message = PLAIN_REFUSALS[status]
    elif status == 403:
        message = text if body else "the server does not allow access to the requested resource"
    elif status >= 500:
        message = f"an error on the server ({ENCODER.encode(text).decode()}) has prevented the request from succeeding"
    else:
        message = f"the server responded with the status code {status} but did not return more information"
    return errors.ApiError(message, code=status)


# ------------------------------------------------------------------------------------------------- answers


def read_answer(name: str, answer: Any, version: str, uid: str, *, mutating: bool) -> Verdict:
    """The verdict in an AdmissionReview. Raises CallFailed in upstream's words."""

    def bad(why: str) -> CallFailed:
        return CallFailed(name, f"received invalid webhook response: {why}")

    response = answer.get("response") if isinstance(answer, dict) else None
    if not isinstance(response, dict):
        raise bad("webhook response was absent")
    patch, patch_type = response.get("patch"), response.get("patchType")
    if version == "v1":
        if response.get("uid", "") != uid:
            raise bad(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        got = Names(*_group_version(answer.get("apiVersion") or ""), answer.get("kind") or "")
        if got != Names(GROUP, "v1", "AdmissionReview"):
            raise bad(f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {_shown(got)}")
        _check_patch(bad, patch, patch_type, mutating=mutating)
    status = response.get("status")
    return Verdict(
        allowed=response.get("allowed") is True,
        status=status if isinstance(status, dict) else None,
        patch=_operations(patch) if mutating and patch else (),
        annotations=response.get("auditAnnotations") or {},
        warnings=[str(text) for text in response.get("warnings") or ()],
    )


def _check_patch(bad: Any, patch: Any, patch_type: Any, *, mutating: bool) -> None:
    if not mutating:
        if patch:
            raise bad("validating webhook may not return response.patch")
        if patch_type is not None:
            raise bad("validating webhook may not return response.patchType")
        return
    if patch and patch_type is None:
        raise bad("webhook returned response.patch but not response.patchType")
    if not patch and patch_type is not None:
        raise bad("webhook returned response.patchType but not response.patch")
    if patch and patch_type != "JSONPatch":
        raise bad(f"webhook returned invalid response.patchType of {ENCODER.encode(patch_type).decode()}")


def _group_version(text: str) -> tuple[str, str]:
    group, slash, version = text.rpartition("/")
    return (group, version) if slash else ("", text)


def _shown(names: Names) -> str:
    return f"{names.group}/{names.version}, Kind={names.name}"


def _operations(patch: Any) -> Sequence[Document]:
    """The JSON Patch in an answer (base64). Raises InternalError."""
    from edgekube.api.patching import read_json_patch

    try:
        return read_json_patch(base64.b64decode(patch, validate=True))
    except (binascii.Error, ValueError, TypeError, errors.ApiError) as problem:
        raise internal_error(problem) from problem


def denied(name: str, status: Document | None) -> errors.ApiError:
    """A webhook's refusal as its Status, with who refused in front."""
    told = dict(status or {})
    code = told.get("code") or 0
    by = f'admission webhook "{name}" denied the request'
    why = told.get("message") or told.get("reason")
    told["message"] = f"{by}: {why}" if why else f"{by} without explanation"
    told["code"] = code if isinstance(code, int) and code >= 400 else 400
    return Refused(told)


class Refused(errors.ApiError):
    """A refusal in the webhook's own Status."""

    def __init__(self, status: Document) -> None:
        super().__init__(status["message"], code=status["code"], reason=status.get("reason") or "", details=False)
        self._status = status

    def to_status(self) -> Document:
        """With everything the webhook said."""
        kept = {name: value for name, value in self._status.items() if name in ("reason", "details", "metadata")}
        return (
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
            | kept
            | {
                "message": self.message,
                "code": self.code,
            }
        )
