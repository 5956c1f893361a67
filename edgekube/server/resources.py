"""Resource requests to answers: each verb of a resource, from query and body to status, headers and bytes.

Between `routes` (who may ask at all) and `registry` (what is done): reads options and bodies, chooses the form of the answer.
Streams of a watch are written here too. Source: k8s.io/apiserver pkg/endpoints/handlers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from edgekube import errors
from edgekube.api import decoding, discovery
from edgekube.api.kind import ENCODER, Kind
from edgekube.api.meta import DeleteOptions
from edgekube.net.exchange import Exchange, Request
from edgekube.server import answers, bodies, negotiation, options, patches
from edgekube.server.admission import outsiders
from edgekube.server.bodies import JSON, PROTOBUF, YAML, Document
from edgekube.server.context import Context, User
from edgekube.server.listing import Page
from edgekube.server.negotiation import Form
from edgekube.server.paths import Asked
from edgekube.server.registry import Patch, Registry
from edgekube.server.stored import Stored
from edgekube.server.watching import WatchEvent
from edgekube.server.writing import Target, Written
from edgekube.wire.tunnel import bounded_seconds

T = TypeVar("T")

ANY_SCALE = "*/scale"  # of custom resources
ADMIT_THEMSELVES = frozenset({"eviction", "scale"})
BOOKMARKS = "edgekube-bookmark-seconds"  # a request header of our agents
BODY_MAX_BYTES = 3 * 1024 * 1024
MANAGER_FROM_AGENT_LETTERS = 128
DELETE_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `kind` is what a protobuf body is a message of."""

    status: int
    body: bytes = b""
    media: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Subresource(Protocol):
    """A subresource (or create-only resource) with its own way: scale, binding, eviction, token, reviews."""

    async def __call__(
        self, asked: Asked, target: Target, request: Request, body: bytes, context: Context
    ) -> Answer: ...


Connector = Callable[
    [Exchange, User, Asked], Awaitable[None]
]  # exec, attach, port-forward, log, proxy: answers by itself


def context_of(request: Request, user: User, chosen: options.WriteOptions) -> Context:
    """The context of a write: its options and, failing a field manager, the client's name."""
    manager = chosen.field_manager or manager_from_agent(request.header("user-agent"))
    return Context(
        user=user, dry_run=chosen.dry_run, field_manager=manager, field_validation=chosen.field_validation or "Warn"
    )


async def _telling(context: Context, work: Awaitable[T]) -> T:
    """A write's outcome; a failure carries what was said on the way to it."""
    try:
        return await work
    except errors.ApiError as problem:
        problem.warnings, problem.annotations = context.warnings, context.annotations
        raise


def manager_from_agent(agent: str) -> str:
    """The program's name at the start of a User-Agent."""
    shown = "".join(letter for letter in agent.partition("/")[0] if letter.isprintable())
    return shown[:MANAGER_FROM_AGENT_LETTERS]


class Resources:
    """Answers requests for resources. `special` are keyed "group/plural" or "group/plural/subresource"."""

    def __init__(
        self, registry: Registry, special: Mapping[str, Subresource], connectors: Mapping[str, Connector]
    ) -> None:
        self.registry = registry
        self.special = dict(special)
        self.connectors = dict(connectors)

    def is_nowhere(self, asked: Asked) -> bool:
        """Whether a path leads nowhere in a group of custom resources, which has no answer of its own for that."""
        kinds = self.registry.kinds
        kind = kinds.find(asked.group, asked.version, asked.plural)
        if kind is None:
            return kinds.is_custom(asked.group)
        return kind.custom and bool(asked.namespace) and not kind.namespaced

    def kind_of(self, asked: Asked) -> Kind[Any]:
        """The kind that is asked for. Raises NotFound."""
        kind = self.registry.kinds.find(asked.group, asked.version, asked.plural)
        if kind is None or "/" in asked.name or "" in (asked.plural,):
            raise answers.no_such_resource()
        if not kind.namespaced and asked.namespace and asked.plural != "namespaces":
            raise answers.no_such_resource()
        return kind

    def check_method(self, kind: Kind[Any], asked: Asked, method: str) -> None:
        """Whether this path has this method. Raises NotFound for the path, MethodNotAllowed for the method."""
        if asked.subresource and kind.custom:
            self._check_custom(kind, asked)
        if asked.subresource:
            subresource = next((one for one in discovery.subresources(kind) if one.name == asked.subresource), None)
            if subresource is None or (asked.tail and asked.subresource != "proxy"):
                raise answers.no_such_resource()
            if asked.verb not in subresource.verbs or method == "HEAD":
                raise answers.no_such_method()
            return
        if kind.namespaced and asked.name and not asked.namespace:
            raise answers.no_such_resource()
        of_one = asked.verb in ("get", "update", "patch", "delete")
        if method == "HEAD" or asked.verb not in kind.verbs or of_one != bool(asked.name):
            raise answers.no_such_method()
        if kind.namespaced and not asked.namespace and asked.verb not in ("list", "watch"):
            raise answers.no_such_method()

    @staticmethod
    def _check_custom(kind: Kind[Any], asked: Asked) -> None:
        subresource = next((one for one in discovery.subresources(kind) if one.name == asked.subresource), None)
        if subresource is None:
            raise answers.not_found(kind, asked.name)
        if asked.verb not in subresource.verbs:
            words = f'{asked.verb} is not supported on resources of kind "{kind.plural}.{kind.group}"'
            raise errors.MethodNotAllowed(words, group=kind.group, kind=kind.plural)

    async def answer(
        self, asked: Asked, kind: Kind[Any], request: Request, body: bytes, user: User
    ) -> tuple[Answer, Context]:
        """Everything but watches and connections."""
        target = Target(
            kind=kind, namespace=self._namespace(kind, asked), name=asked.name, subresource=asked.subresource
        )
        key = f"{kind.group}/{kind.plural}" + (f"/{asked.subresource}" if asked.subresource else "")
        if kind.custom and asked.subresource == "scale":
            key = ANY_SCALE
        if (special := self.special.get(key)) and (asked.subresource or asked.verb == "create"):
            name = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}.get(asked.verb)
            applies = request.header("content-type").startswith(patches.APPLY_PATCH)
            chosen = options.write_options(name, request.query, apply=applies) if name else options.WriteOptions()
            context = context_of(request, user, chosen)
            if asked.verb == "create" and asked.subresource not in ADMIT_THEMSELVES:
                place = (target.namespace, target.name, target.subresource)
                chain = self.registry.admission
                request, body = await outsiders.admit(chain, kind, place, request, body, context)
            return await _telling(context, special(asked, target, request, body, context)), context
        if asked.subresource and asked.subresource not in (
            "status",
            "ephemeralcontainers",
            "resize",
            "finalize",
            "approval",
        ):
            raise answers.no_such_resource()
        return await getattr(self, f"_{asked.verb}")(target, request, body, user)  # type: ignore[no-any-return]

    @staticmethod
    def _namespace(kind: Kind[Any], asked: Asked) -> str:
        return asked.namespace if kind.namespaced else ""

    def form(self, kind: Kind[Any], request: Request, *, watching: bool = False) -> Form:
        """The form that the client accepts. Raises NotAcceptable."""
        return negotiation.negotiate(request.header("accept"), kind, shapes=True, watching=watching)

    def _now(self) -> str:
        return self.registry.writer.now()

    @staticmethod
    def include(request: Request) -> str:
        """What rows of a table carry. Raises BadRequest."""
        wanted = request.param("includeObject") or "Metadata"
        if wanted not in ("Metadata", "Object", "None"):
            raise errors.BadRequest(f'unrecognized includeObject value: "{wanted}"')
        return wanted

    def one(self, kind: Kind[Any], form: Form, request: Request, value: bytes, status: int = 200) -> Answer:
        """An answer with one object."""
        shaped = negotiation.shaped(kind, form, value, self.include(request), self._now())
        return Answer(status, negotiation.encode(form.media, kind, shaped), form.media)

    def plain(self, kind: Kind[Any] | None, form: Form, document: Document, status: int = 200) -> Answer:
        """An answer with a document that is no stored object (a Status, a Scale, a review)."""
        return Answer(status, negotiation.encode(form.media, kind, ENCODER.encode(document)), form.media)

    async def _get(self, target: Target, request: Request, body: bytes, user: User) -> tuple[Answer, Context]:
        form = self.form(target.kind, request)
        value = await self.registry.get(target.kind, target.namespace, target.name, request.param("resourceVersion"))
        return self.one(target.kind, form, request, value), Context(user=user)

    async def _list(self, target: Target, request: Request, body: bytes, user: User) -> tuple[Answer, Context]:
        kind = target.kind
        form = self.form(kind, request, watching=True)
        page = await self.registry.list(kind, target.namespace, options.list_options(kind, request.query))
        shaped = negotiation.shaped_list(kind, form, page, self.include(request), self._now())
        return Answer(200, negotiation.encode(form.media, kind, shaped), form.media), Context(user=user)

    async def _create(self, target: Target, request: Request, body: bytes, user: User) -> tuple[Answer, Context]:
        kind, form = target.kind, self.form(target.kind, request)
        context = context_of(request, user, options.write_options("CreateOptions", request.query))
        document = bodies.read_object(kind, body, request.header("content-type"), context)
        made = await _telling(context, self.registry.create(kind, target.namespace, document, context))
        return self.one(kind, form, request, made.value, 201), context

    async def _update(self, target: Target, request: Request, body: bytes, user: User) -> tuple[Answer, Context]:
        kind, form = target.kind, self.form(target.kind, request)
        context = context_of(request, user, options.write_options("UpdateOptions", request.query))
        document = bodies.read_object(kind, body, request.header("content-type"), context)
        written = await _telling(context, self.registry.update(target, document, context))
        return self._written(kind, form, request, written), context

    async def _patch(self, target: Target, request: Request, body: bytes, user: User) -> tuple[Answer, Context]:
        kind = target.kind
        media = patches.check_media_type(kind, request.header("content-type"))
        form = self.form(kind, request)
        chosen = options.write_options("PatchOptions", request.query, apply=media == patches.APPLY_PATCH)
        context = context_of(request, user, chosen)
        context.options_kind = "PatchOptions"
        patch = Patch(
            media=media, content=patches.read_patch(media, body, context), data=body, force=bool(chosen.force)
        )
        written = await _telling(context, self.registry.patch(target, patch, context))
        return self._written(kind, form, request, written), context

    def _written(self, kind: Kind[Any], form: Form, request: Request, written: Written) -> Answer:
        return self.one(kind, form, request, written.stored.value, 201 if written.created else 200)

    async def _delete(self, target: Target, request: Request, body: bytes, user: User) -> tuple[Answer, Context]:
        kind, form = target.kind, self.form(target.kind, request)
        wanted = read_delete_options(request, body)
        context = Context(user=user)
        deleting = self.registry.delete(kind, target.namespace, target.name, wanted, context)
        result, _ = await _telling(context, deleting)
        if isinstance(result, Stored):
            return self.one(kind, form, request, result.value), context
        return self.plain(None, Form(form.media), result), context

    async def _deletecollection(
        self, target: Target, request: Request, body: bytes, user: User
    ) -> tuple[Answer, Context]:
        kind, form = target.kind, self.form(target.kind, request)
        selected = options.list_options(kind, request.query)
        wanted, context = read_delete_options(request, body), Context(user=user)
        deleting = self.registry.delete_collection(kind, target.namespace, selected, wanted, context)
        values, revision = await _telling(context, deleting)
        page = Page(values, revision)
        shaped = negotiation.shaped_list(kind, form, page, self.include(request), self._now())
        return Answer(200, negotiation.encode(form.media, kind, shaped), form.media), context

    async def watch(self, asked: Asked, kind: Kind[Any], exchange: Exchange, headers: list[tuple[str, str]]) -> None:
        """Stream events until the deadline, the client's leaving or an ERROR event."""
        request = exchange.request
        form = self.form(kind, request, watching=True)
        chosen = options.list_options(kind, request.query, watch=True)
        if rarely := request.header(BOOKMARKS):
            chosen = dataclasses.replace(
                chosen, bookmark_every_s=bounded_seconds(rarely, default=60, least=10, most=3600)
            )
        if asked.name:
            fields = options.fields(kind, f"metadata.name={asked.name}")
            chosen = dataclasses.replace(chosen, fields=fields)
        writer = _EventWriter(self, kind, form, self.include(request) if form.shape else "Metadata")
        async with AsyncExitStack() as stack:
            failure: errors.ApiError | None = None
            try:
                watching = self.registry.watch(kind, self._namespace(kind, asked), chosen)
                events = await stack.enter_async_context(watching)
            except (errors.Gone, errors.Timeout) as problem:
                failure = problem
            answer = exchange.stream(200, [*headers, ("Content-Type", writer.content_type)])
            send = await stack.enter_async_context(answer)
            try:
                if failure is not None:
                    raise failure
                async for event in events:
                    await send(writer.frame(event))
            except (errors.Gone, errors.Timeout) as problem:
                await send(writer.error(problem))


class _EventWriter:
    """Frames of one watch in the form its client accepts."""

    def __init__(self, resources: Resources, kind: Kind[Any], form: Form, include: str) -> None:
        self._resources, self._kind, self._form, self._include = resources, kind, form, include
        self._heads = True
        if form.media == YAML:
            raise errors.NotAcceptable(negotiation.ONLY + f"{JSON}, {PROTOBUF}", details=False)
        self.content_type = JSON if form.media == JSON else f"{PROTOBUF};stream=watch"

    def frame(self, event: WatchEvent) -> bytes:
        """One event as the client reads it."""
        if not self._form.shape:
            if self._form.media == JSON:
                return self._resources.registry.frames.frame(self._kind, event)
            value = event.value
        else:
            now = self._resources.registry.writer.now()
            value = negotiation.shaped(self._kind, self._form, event.value, self._include, now, heads=self._heads)
            self._heads = False
        return self._framed(event.type, value)

    def _framed(self, type_: str, value: bytes) -> bytes:
        if self._form.media == JSON:
            return b'{"type":"%b","object":%b}\n' % (type_.encode(), value)
        from edgekube.wire import k8s_protobuf

        return k8s_protobuf.frame_event(type_, k8s_protobuf.encode(msgspec.json.decode(value)))

    def error(self, problem: errors.ApiError) -> bytes:
        """The event that ends a watch."""
        return self._framed("ERROR", ENCODER.encode(problem.to_status()))


def read_delete_options(request: Request, body: bytes) -> DeleteOptions:
    """DeleteOptions from the body, or from the query where there is none. Raises BadRequest, UnsupportedMediaType."""
    if not body:
        return options.delete_options(request.query)
    media = bodies.media_type(request.header("content-type"))
    if media == JSON:
        try:
            document = decoding.parse_json(body)
        except ValueError as problem:
            raise errors.BadRequest(f"couldn't get version/kind; json parse error: {problem}") from None
    elif media == YAML:
        from edgekube.api import yamldoc

        document, _ = yamldoc.parse_yaml(body)
    elif media == PROTOBUF:
        from edgekube.wire import k8s_protobuf

        try:
            document = k8s_protobuf.decode(body)
        except errors.EdgekubeError as problem:
            raise errors.BadRequest(str(problem)) from None
    else:
        raise bodies.unknown_format(bodies.READ)
    if not isinstance(document, dict):
        document = {}
    kind, version = document.get("kind") or "DeleteOptions", document.get("apiVersion") or "v1"
    if kind != "DeleteOptions":
        raise errors.BadRequest(f'no kind "{kind}" is registered for version "{version}" in scheme "{DELETE_SCHEME}"')
    try:
        return msgspec.convert({key: value for key, value in document.items() if value is not None}, DeleteOptions)
    except msgspec.ValidationError as problem:
        raise errors.BadRequest(f"{problem}") from None
