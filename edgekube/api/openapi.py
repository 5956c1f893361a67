"""OpenAPI documents: v3, one per group version behind an index, and v2, one for everything.

Pure: kinds in, documents out. They are large (megabytes) and wanted rarely, so the caller builds each once (`pack` gives the
gzipped bytes and the hash that names them), keeps it on disk, and never holds one parsed. Paths follow from verbs, scope and
subresources; schemas come from `api.openapi_schemas`. A custom kind takes part when `custom` has its schema, under
"group/version/Kind". Documents carry structure only, no descriptions of fields.

Source: k8s.io/kube-openapi pkg/builder and builder3, k8s.io/apiserver pkg/endpoints/installer.go; `shared/spec/openapi-paths.json`.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from edgekube.api import openapi_types as shown
from edgekube.api.discovery import grouped, subresources
from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import DeleteOptions
from edgekube.api.openapi_schemas import META, V2_PREFIX, V3_PREFIX, Schemas, is_custom

Document = dict[str, Any]

V2_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"  # with the "@" of Accept, Go rejects it
V3_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"

PRODUCES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
STREAMS = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
STRATEGIC = "application/strategic-merge-patch+json"

METHODS = {"create": "post", "update": "put", "get": "get", "patch": "patch", "delete": "delete"}
CODES = {
    "post": ("200", "201", "202"),
    "put": ("200", "201"),
    "patch": ("200", "201"),
    "delete": ("200", "202"),
}  # besides 401; every other action answers 200 alone

_BOOLEANS = frozenset({
    "allowWatchBookmarks", "follow", "force", "ignoreStoreReadErrorWithClusterBreakingPotential",
    "insecureSkipTLSVerifyBackend", "orphanDependents", "previous", "sendInitialEvents", "stderr", "stdin", "stdout",
    "timestamps", "tty", "watch",
})  # fmt: skip
_INTEGERS = frozenset(
    {"gracePeriodSeconds", "limit", "limitBytes", "ports", "sinceSeconds", "tailLines", "timeoutSeconds"}
)
_SELECTING = (
    "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch", "sendInitialEvents",
    "shardSelector", "timeoutSeconds",
)  # fmt: skip
_LISTING = ("allowWatchBookmarks", *_SELECTING, "watch")
_WRITING = ("dryRun", "fieldManager", "fieldValidation")
_DELETING = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents",
    "propagationPolicy",
)  # fmt: skip
QUERY = {
    "list": _LISTING,
    "watch": _LISTING,
    "watchlist": _LISTING,
    "post": _WRITING,
    "put": _WRITING,
    "patch": (*_WRITING, "force"),
    "delete": _DELETING,
    "deletecollection": (*_DELETING, *_SELECTING),
}
CONNECT_QUERY = {
    "attach": ("container", "stderr", "stdin", "stdout", "tty"),
    "exec": ("command", "container", "stderr", "stdin", "stdout", "tty"),
    "portforward": ("ports",),
    "proxy": ("path",),
}
LOG_QUERY = (
    "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream", "tailLines",
    "timestamps",
)  # fmt: skip
PROXY_METHODS = ("delete", "get", "head", "options", "patch", "post", "put")


class _Writer:
    """Path items of one document, in the words of either version."""

    def __init__(
        self, kinds: Iterable[Kind[Any]], others: Iterable[Kind[Any]], custom: Mapping[str, Document], v2: bool
    ):
        self.paths: Document = {}
        self._v2 = v2
        self._others = {(kind.group, kind.version, kind.name): kind for kind in (*others, *kinds)}
        self.schemas = Schemas(V2_PREFIX if v2 else V3_PREFIX, tuple(self._others.values()), custom)

    # -- the parts of an operation

    def _parameter(self, name: str, place: str = "query") -> Document:
        type_ = "boolean" if name in _BOOLEANS else "integer" if name in _INTEGERS else "string"
        made: Document = {"name": name, "in": place}
        if place == "path":
            made["required"] = True
        schema = {"type": type_, "uniqueItems": True}
        return {**made, **schema} if self._v2 else {**made, "schema": schema}

    def _common(self, path: str, *, pretty: bool = True) -> list[Document]:
        """The parameters all operations of a path share."""
        named = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        return [self._parameter(name, "path") for name in named] + ([self._parameter("pretty")] if pretty else [])

    def _operation(
        self,
        *,
        answer: Document | None,
        query: Iterable[str] = (),
        body: Document | None = None,
        body_required: bool = True,
        consumes: tuple[str, ...] = ("*/*",),
        produces: tuple[str, ...] = PRODUCES,
        codes: tuple[str, ...] = ("200",),
        action: str = "",
        kind: tuple[str, str, str] | None = None,
    ) -> Document:
        parameters = [self._parameter(name) for name in query]
        made: Document = {}
        if self._v2:
            made |= {"consumes": list(consumes), "produces": list(produces)}
            if body is not None:
                said = {"required": True} if body_required else {}
                parameters.append({"name": "body", "in": "body", **said, "schema": body})
        elif body is not None:
            said = {"required": True} if body_required else {}
            made["requestBody"] = {**said, "content": {type_: {"schema": body} for type_ in consumes}}
        if parameters:
            made["parameters"] = sorted(parameters, key=lambda parameter: str(parameter["name"]))
        made["responses"] = {code: self._response(answer, produces) for code in codes} | {
            "401": {"description": "Unauthorized"}
        }
        if action:
            made["x-kubernetes-action"] = action
        if kind is not None:
            made["x-kubernetes-group-version-kind"] = dict(zip(("group", "version", "kind"), kind, strict=True))
        return made

    def _response(self, answer: Document | None, produces: tuple[str, ...]) -> Document:
        made: Document = {"description": "OK"}
        if answer is None:
            return made
        if self._v2:
            return {**made, "schema": answer}
        return {**made, "content": {type_: {"schema": answer} for type_ in produces}}

    # -- discovery and other plain paths

    def plain(self, path: str, answer: type | None, produces: tuple[str, ...] = PRODUCES) -> None:
        """A path that answers GET with one type, or with text."""
        if answer is None:
            shape: Document = {"type": "string"}
        elif answer is shown.Info:
            shape = self.schemas.of(answer)
        else:
            shape = self.schemas.shared(answer, "", "v1")
        self.paths[path] = {"get": self._operation(answer=shape, produces=produces, consumes=produces)}

    # -- resources

    def _verb(self, kind: Kind[Any], action: str, said: tuple[str, str, str], body: Kind[Any]) -> Document:
        """One operation on an object or a collection of `kind`; `body` is the kind that travels."""
        status = self.schemas.shared(shown.Status, "", "v1")
        query = QUERY.get(action, ())
        if action in ("delete", "deletecollection"):
            options = self.schemas.shared(DeleteOptions, kind.group, kind.version)
            codes = CODES.get(action, ("200",))
            return self._operation(
                answer=status, query=query, body=options, body_required=False, codes=codes, action=action, kind=said
            )
        if action in ("watch", "watchlist"):
            event = self.schemas.shared(shown.WatchEvent, kind.group, kind.version)
            return self._operation(answer=event, query=query, produces=(*PRODUCES, *STREAMS), action=action, kind=said)
        if action == "list":
            return self._operation(
                answer=self.schemas.list_of(kind), query=query, produces=(*PRODUCES, *STREAMS), action=action, kind=said
            )
        shape = self.schemas.of_kind(body)
        if action == "get":
            return self._operation(answer=shape, action=action, kind=said)
        if action == "patch":
            consumes = PATCHES if is_custom(kind) else (*PATCHES, STRATEGIC)
            patch = self.schemas.scalar(f"{META}.Patch")
            return self._operation(
                answer=shape, query=query, body=patch, consumes=consumes, codes=CODES[action], action=action, kind=said
            )
        return self._operation(answer=shape, query=query, body=shape, codes=CODES[action], action=action, kind=said)

    def resource(self, kind: Kind[Any]) -> None:
        """All paths of one kind and its subresources."""
        base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        inner = f"/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"/{kind.plural}"
        said = (kind.group, kind.version, kind.name)
        on_all = {"list": "get", "create": "post", "deletecollection": "delete"}
        of_all = {"list": "list", "create": "post", "deletecollection": "deletecollection"}
        on_one = {"get": "get", "update": "put", "patch": "patch", "delete": "delete"}
        self._item(
            base + inner,
            {on_all[verb]: self._verb(kind, of_all[verb], said, kind) for verb in kind.verbs if verb in on_all},
        )
        self._item(
            f"{base}{inner}/{{name}}",
            {on_one[verb]: self._verb(kind, on_one[verb], said, kind) for verb in kind.verbs if verb in on_one},
        )
        watched = "watch" in kind.verbs
        if kind.namespaced and "list" in kind.verbs:
            self._item(f"{base}/{kind.plural}", {"get": self._verb(kind, "list", said, kind)})
        if watched:
            if kind.namespaced:
                self._item(f"{base}/watch/{kind.plural}", {"get": self._verb(kind, "watchlist", said, kind)})
            self._item(f"{base}/watch{inner}", {"get": self._verb(kind, "watchlist", said, kind)})
            self._item(f"{base}/watch{inner}/{{name}}", {"get": self._verb(kind, "watch", said, kind)})
        for sub in subresources(kind):
            self._subresource(kind, sub, f"{base}{inner}/{{name}}/{sub.name}")

    def _item(self, path: str, operations: Document, *, pretty: bool = True) -> None:
        if not operations:
            return
        common = self._common(path, pretty=pretty)
        self.paths[path] = {**operations, **({"parameters": common} if common else {})}

    def _subresource(self, kind: Kind[Any], sub: Subresource, path: str) -> None:
        said = (sub.group, sub.version, sub.kind) if sub.version else (kind.group, kind.version, sub.kind)
        text: Document = {"type": "string"}
        if sub.name in CONNECT_QUERY:
            methods: Iterable[str] = PROXY_METHODS if sub.name == "proxy" else [METHODS[verb] for verb in sub.verbs]
            connect: Callable[[], Document] = lambda: self._operation(  # noqa: E731 (one operation per method)
                answer=text, query=CONNECT_QUERY[sub.name], produces=("*/*",), action="connect", kind=said
            )
            self._item(path, {method: connect() for method in methods}, pretty=False)
            if sub.name == "proxy":
                self._item(f"{path}/{{path}}", {method: connect() for method in methods}, pretty=False)
            return
        if sub.name == "log":
            read = self._operation(
                answer=text, query=LOG_QUERY, produces=("text/plain", *PRODUCES), action="get", kind=said
            )
            self._item(path, {"get": read})
            return
        body = self._others[said]
        self._item(path, {METHODS[verb]: self._verb(kind, METHODS[verb], said, body) for verb in sub.verbs})


def _v3(writer: _Writer, version: str) -> Document:
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": dict(sorted(writer.paths.items())),
        "components": {"schemas": dict(sorted(writer.schemas.made.items()))},
    }


_PLAIN: dict[str, tuple[str, type | None, tuple[str, ...]]] = {
    "api": ("/api/", shown.APIVersions, PRODUCES),
    "apis": ("/apis/", shown.APIGroupList, PRODUCES),
    "version": ("/version/", shown.Info, ("application/json",)),
    ".well-known/openid-configuration": ("/.well-known/openid-configuration/", None, ("application/json",)),
    "openid/v1/jwks": ("/openid/v1/jwks/", None, ("application/jwk-set+json",)),
}


def v3_paths(kinds: Iterable[Kind[Any]]) -> list[str]:
    """The documents there are, as the index names them: "api/v1", "apis/apps/v1", "apis/apps", "version"..."""
    found = [*_PLAIN]
    for group, versions in grouped(kinds).items():
        found += [f"apis/{group}"] if group else []
        found += [f"apis/{group}/{version}" if group else f"api/{version}" for version in versions]
    return sorted(found)


def v3_document(
    path: str,
    kinds: Iterable[Kind[Any]],
    others: Iterable[Kind[Any]] = (),
    *,
    version: str,
    custom: Mapping[str, Document] | None = None,
) -> Document | None:
    """The v3 document called `path`, or None. `others` are kinds of subresources; `version` is the server's ("v1.36.0")."""
    kinds, custom = tuple(kinds), custom or {}
    writer = _Writer(kinds, others, custom, v2=False)
    if path in _PLAIN:
        writer.plain(*_PLAIN[path])
        return _v3(writer, version)
    parts = path.split("/")
    if len(parts) == 2 and parts[0] == "apis" and parts[1] in grouped(kinds):
        writer.plain(f"/{path}/", shown.APIGroup)
        return _v3(writer, version)
    group = parts[1] if len(parts) == 3 and parts[0] == "apis" else ""
    known = grouped(kinds).get(group, {}).get(parts[-1])
    if known is None or path not in (f"apis/{group}/{parts[-1]}", f"api/{parts[-1]}"):
        return None
    writer.plain(f"/{path}/", shown.APIResourceList)
    for kind in known:
        writer.resource(kind)
    return _v3(writer, version)


def v2_document(
    kinds: Iterable[Kind[Any]],
    others: Iterable[Kind[Any]] = (),
    *,
    version: str,
    custom: Mapping[str, Document] | None = None,
) -> Document:
    """The one swagger document of everything served."""
    kinds = tuple(kinds)
    writer = _Writer(kinds, others, custom or {}, v2=True)
    for plain in _PLAIN.values():
        writer.plain(*plain)
    for group, versions in grouped(kinds).items():
        if group:
            writer.plain(f"/apis/{group}/", shown.APIGroup)
        for of, known in versions.items():
            writer.plain(f"/apis/{group}/{of}/" if group else f"/api/{of}/", shown.APIResourceList)
            for kind in known:
                writer.resource(kind)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": dict(sorted(writer.paths.items())),
        "definitions": dict(sorted(writer.schemas.made.items())),
    }


def v3_index(hashes: Mapping[str, str]) -> Document:
    """The answer to `GET /openapi/v3`: each document's URL with the hash that lets it be cached for ever."""
    return {
        "paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={hashes[path]}"} for path in sorted(hashes)}
    }


def pack(document: Document | bytes) -> tuple[bytes, str]:
    """Gzipped bytes to keep on disk, and the hash of what they hold (the ETag is that hash in quotes)."""
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return gzip.compress(body, compresslevel=6, mtime=0), hashlib.sha512(body).hexdigest().upper()
