"""Everything that is no resource: /, /version, health, metrics, discovery, OpenAPI and OpenID documents.

Documents come from `api.discovery` and `api.openapi`; here they are kept (discovery as bytes, OpenAPI gzipped on disk, built in a
thread when first wanted) and served with their ETags. Source: k8s.io/apiserver pkg/server/routes, pkg/endpoints/discovery.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import platform
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import trio

from edgekube import errors
from edgekube.api import discovery
from edgekube.api.kind import ENCODER
from edgekube.kinds.catalog import SUBRESOURCE_KINDS
from edgekube.net.exchange import Request
from edgekube.server import answers, negotiation
from edgekube.server.aggregation.aggregator import Aggregator
from edgekube.server.bodies import JSON
from edgekube.server.customkinds import CustomKind
from edgekube.server.health import TEXT, Health
from edgekube.server.metrics import CONTENT_TYPE, Metrics
from edgekube.server.registry import KindTable
from edgekube.server.resources import Answer

GIT_VERSION = "v1.36.0+edgekube"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm"}  # Go's names
VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": GIT_VERSION,
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go0.0.0",
    "compiler": "cpython",
    "platform": f"linux/{ARCHITECTURES.get(platform.machine(), platform.machine())}",
}
HEALTH = ("healthz", "livez", "readyz")
PROTO_V2 = "application/com.github.proto-openapi.spec.v2"
PROTO_V3 = "application/com.github.proto-openapi.spec.v3"
PAGE_NOT_FOUND = Answer(404, b"404 page not found\n", TEXT, (("X-Content-Type-Options", "nosniff"),))
ANY_JSON = ("*/*", "application/*", JSON)

log = logging.getLogger(__name__)


class OpenApiFiles:
    """OpenAPI documents, gzipped, in a directory that outlives the process (or in memory without one)."""

    def __init__(self, kinds: KindTable, directory: Path | None) -> None:
        self._kinds, self._directory = kinds, directory
        self._kept: dict[str, tuple[bytes, str]] = {}
        self._hashes: dict[str, str] = {}
        self._generation, self._print = -1, ""
        self._building = trio.Lock()

    async def get(self, name: str) -> tuple[bytes, str] | None:
        """(gzipped bytes, hash) of "v2", "v2.pb", "v3/<path>" or "v3/<path>.pb"."""
        async with self._building:
            self._renew()
            if name not in self._kept:
                made = await trio.to_thread.run_sync(self._load, name)
                if made is None:
                    return None
                if self._directory is None:
                    self._kept[name] = made
                return made
            return self._kept[name]

    async def hashes(self) -> dict[str, str]:
        """The hash of every v3 document by its path."""
        from edgekube.api import openapi

        async with self._building:
            self._renew()
            if not self._hashes:
                self._hashes = await trio.to_thread.run_sync(self._all_hashes, openapi.v3_paths(self._kinds.all()))
            return self._hashes

    def _renew(self) -> None:
        if self._generation != self._kinds.generation:
            self._kept.clear()
            self._hashes = {}
            self._generation = self._kinds.generation
            self._print = ""

    @cached_property
    def _code(self) -> bytes:
        """Names the code that the documents are made from."""
        package = Path(__file__).parent.parent
        seen = hashlib.sha256()
        for path in sorted([*(package / "api").glob("*.py"), *(package / "kinds").rglob("*.py")]):
            facts = path.stat()
            seen.update(f"{path.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
        return seen.digest()

    def _fingerprint(self, name: str) -> str:
        """Names the code and kinds that a document is made from: that of one group knows no custom kinds of others."""
        seen = hashlib.sha256(self._code)
        for kind in self._kinds.all():
            if not isinstance(kind, CustomKind):
                seen.update(f"{kind.api_version} {kind.plural}\n".encode())
            elif not name.startswith("v3/") or name.startswith(f"v3/apis/{kind.group}"):
                facts = [kind.api_version, kind.plural, kind.name, kind.verbs, kind.scope, kind.has_status]
                seen.update(ENCODER.encode([*facts, len(kind.subresources), kind.type.SCHEMA]))
        return seen.hexdigest()[:16]

    def _path(self, name: str) -> Path | None:
        if self._directory is None:
            return None
        return self._directory / f"{self._fingerprint(name)}-{name.replace('/', '~')}.gz"

    def _all_hashes(self, paths: list[str]) -> dict[str, str]:
        index = self._path("v3-hashes")
        if index is not None and index.exists():
            found: dict[str, str] = msgspec.json.decode(index.read_bytes(), type=dict[str, str])
            return found
        made = {}
        for path in paths:
            one = self._load(f"v3/{path}")
            if one is not None:
                made[path] = one[1]
        if index is not None:
            _write(index, ENCODER.encode(made))
        return made

    def _load(self, name: str) -> tuple[bytes, str] | None:
        """From disk, or built and put there. Runs in a thread."""
        from edgekube.api import openapi

        path = self._path(name)
        if path is not None and path.exists():
            data = path.read_bytes()
            return data, hashlib.sha512(gzip.decompress(data)).hexdigest().upper()
        document = self._build(name)
        if document is None:
            return None
        packed = openapi.pack(document)
        if path is not None:
            _write(path, packed[0])
        return packed

    def _build(self, name: str) -> Any:
        from edgekube.api import openapi

        kinds = self._kinds.all()
        custom = {f"{one.api_version}/{one.name}": one.type.SCHEMA for one in kinds if isinstance(one, CustomKind)}
        if name == "v2":
            return openapi.v2_document(kinds, SUBRESOURCE_KINDS, version=GIT_VERSION, custom=custom)
        if name == "v2.pb":
            from edgekube.wire import openapi_protobuf

            return openapi_protobuf.encode(
                openapi.v2_document(kinds, SUBRESOURCE_KINDS, version=GIT_VERSION, custom=custom)
            )
        path = name.removeprefix("v3/").removesuffix(".pb")
        made = openapi.v3_document(path, kinds, SUBRESOURCE_KINDS, version=GIT_VERSION, custom=custom)
        if made is None or not name.endswith(".pb"):
            return made
        from edgekube.wire import openapi_v3_protobuf

        return openapi_v3_protobuf.encode(made)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: another process may read the same directory. A full disk costs time at the next start, no more."""
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(data)
        new.replace(path)
        for old in path.parent.glob(f"*-{path.name.partition('-')[2]}"):
            if old != path and len(old.name) == len(path.name):
                old.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s is not kept: %s", path, error.strerror)
        new.unlink(missing_ok=True)


class Documents:
    """Serves all of these paths. `extra` adds documents by path (OpenID configuration, key sets)."""

    def __init__(
        self,
        kinds: KindTable,
        health: Health,
        metrics: Metrics,
        *,
        server_address: str = "",
        openapi_directory: Path | None = None,
        extra: dict[str, Callable[[], tuple[str, bytes]]] | None = None,
    ) -> None:
        self._kinds, self._health, self._metrics = kinds, health, metrics
        self._server_address = server_address
        self._openapi = OpenApiFiles(kinds, openapi_directory)
        self._extra = extra or {}
        self._discovery: dict[tuple[str, str], tuple[bytes, str]] = {}
        self._generation = (-1, -1)
        self.aggregator: Aggregator | None = None  # what is served elsewhere
        self._merged: tuple[tuple[str, int], tuple[bytes, str]] | None = None  # OpenAPI v2 with that, and of when

    async def answer(self, request: Request, path: str) -> Answer:
        """The document at a path. Raises NotFound, MethodNotAllowed, NotAcceptable."""
        path = path.rstrip("/") or "/"
        first, _, rest = path.removeprefix("/").partition("/")
        if first in HEALTH:
            return self._healthy(request, first, rest)
        if first in ("api", "apis"):
            if self.aggregator is not None:
                await self.aggregator.refresh()
            return self._discovered(request, path)
        if first == "openapi":
            return await self._openapi_answer(request, rest)
        if path == "/":
            return self._json(request, discovery.root_paths(self._kinds.all(), self._other_paths()))
        if path == "/version":
            return self._json(request, VERSION)
        if path == "/metrics":
            self._only_get(request)
            return Answer(200, self._metrics.page(), CONTENT_TYPE)
        if path in self._extra:
            self._only_get(request)
            media, body = self._extra[path]()
            return Answer(200, body, media, (("Cache-Control", "public, max-age=3600"),))
        return PAGE_NOT_FOUND

    def _other_paths(self) -> list[str]:
        health = [f"/{end}" for end in HEALTH]
        health += [f"/{end}/{name}" for end in HEALTH for name in self._health.names(end)]
        return [*health, *self._extra, "/metrics", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/version"]

    @staticmethod
    def _only_get(request: Request, *, head: bool = False) -> None:
        if request.method != "GET" and not (head and request.method == "HEAD"):
            raise answers.no_such_method()

    def _json(self, request: Request, document: dict[str, Any]) -> Answer:
        self._only_get(request)
        return Answer(200, ENCODER.encode(document), JSON)

    def missing(self, path: str) -> Answer:
        """The answer where a whole group or version is unknown. Raises NotFound within the core group."""
        parts = path.strip("/").split("/")
        if parts[0] == "apis" and len(parts) > 1 and self._kinds.is_custom(parts[1]):
            return PAGE_NOT_FOUND
        if parts[0] == "api" or (len(parts) > 2 and self._kinds.has_group(parts[1])):
            raise answers.no_such_resource()
        return PAGE_NOT_FOUND

    def _healthy(self, request: Request, endpoint: str, name: str) -> Answer:
        self._only_get(request, head=True)
        headers = (("X-Content-Type-Options", "nosniff"),)
        if name:
            single = self._health.single(endpoint, name)
            return PAGE_NOT_FOUND if single is None else Answer(single[0], single[1].encode(), TEXT)
        verbose = any(key == "verbose" for key, _ in request.query)
        excluded = [value for key, value in request.query if key == "exclude"]
        status, text = self._health.answer(endpoint, excluded=excluded, verbose=verbose)
        return Answer(status, text.encode(), TEXT, headers)

    # Discovery

    def _discovered(self, request: Request, path: str) -> Answer:
        now = (self._kinds.generation, self.aggregator.generation if self.aggregator is not None else 0)
        if self._generation != now:
            self._discovery.clear()
            self._generation = now
        wanted = self._aggregated(request) if path in ("/api", "/apis") else ""
        body, etag = self._discovery.get((path, wanted)) or (b"", "")
        if not body:
            document = self._discovery_document(path, wanted)
            if self.aggregator is not None:
                document = self.aggregator.merged(document, path, wanted)
            if document is None:
                return self.missing(path)
            body, etag = self._discovery[path, wanted] = discovery.with_etag(document)
        self._only_get(request)
        if not wanted:
            negotiation.negotiate(request.header("accept"), None, shapes=False)
            return Answer(200, body, JSON, (("Vary", "Accept"),) if path in ("/api", "/apis") else ())
        headers = (("ETag", etag), ("Vary", "Accept"), ("Cache-Control", "public"))
        if request.header("if-none-match") == etag:
            return Answer(304, b"", "", headers)
        return Answer(200, body, discovery.aggregated_content_type(wanted), headers)

    @staticmethod
    def _aggregated(request: Request) -> str:
        """The version of aggregated discovery that is preferred over the plain document, or ""."""
        for entry in negotiation.ranges(request.header("accept")):
            if entry.params.get("as") == "APIGroupDiscoveryList" and entry.media == JSON:
                version = entry.params.get("v", "")
                if version in discovery.AGGREGATED_VERSIONS and entry.params.get("g") == "apidiscovery.k8s.io":
                    return version
            elif entry.media in (JSON, "*/*") and "as" not in entry.params:
                return ""
        return ""

    def _discovery_document(self, path: str, aggregated: str) -> dict[str, Any] | None:
        kinds = self._kinds.all()
        if aggregated:
            return discovery.aggregated(kinds, core=path == "/api", version=aggregated)
        parts = path.strip("/").split("/")
        if path == "/api":
            return discovery.api_versions(self._server_address)
        if path == "/apis":
            return discovery.api_group_list(kinds)
        if parts[0] == "api":
            return discovery.api_resource_list(kinds, "", parts[1]) if len(parts) == 2 else None
        if len(parts) == 2:
            return discovery.api_group(kinds, parts[1])
        return discovery.api_resource_list(kinds, parts[1], parts[2]) if len(parts) == 3 else None

    # OpenAPI

    async def _openapi_answer(self, request: Request, rest: str) -> Answer:
        self._only_get(request)
        accept = [entry.media for entry in negotiation.ranges(request.header("accept"))] or ["*/*"]
        takes_json = any(media in ANY_JSON for media in accept)
        if rest == "v2":
            proto = next((media for media in accept if media.startswith(PROTO_V2)), None)
            if proto and accept.index(proto) == 0:
                return self._file(request, await self._openapi.get("v2.pb"), f"{PROTO_V2}.v1.0+protobuf")
            self._acceptable(takes_json)
            return self._file(request, await self._whole_v2(), JSON)
        if rest == "v3":
            from edgekube.api import openapi

            index = openapi.v3_index(await self._openapi.hashes())
            if self.aggregator is not None:
                theirs = {path: {"serverRelativeURL": url} for path, url in self.aggregator.openapi_v3().items()}
                index = {**index, "paths": {**theirs, **index["paths"]}}
            return Answer(200, ENCODER.encode(index), TEXT)
        if not rest.startswith("v3/"):
            return PAGE_NOT_FOUND
        chosen = next((media for media in accept if media.startswith(PROTO_V3) or media in ANY_JSON), None)
        self._acceptable(chosen is not None)
        found = await self._openapi.get(rest)
        if found is None:
            return await self._elsewhere(request, rest)
        wanted, digest = request.param("hash"), found[1]  # one hash for both forms, as in the index
        if wanted and wanted != digest:
            where = f"/openapi/{rest}?hash={digest}"
            return Answer(301, b"", TEXT, (("Location", where),))
        if chosen is not None and chosen.startswith(PROTO_V3):
            packed = await self._openapi.get(f"{rest}.pb")
            assert packed is not None, "what exists as JSON exists as protobuf"
            return self._file(request, (packed[0], digest), f"{PROTO_V3}.v1.0+protobuf", forever=bool(wanted))
        return self._file(request, found, JSON, forever=bool(wanted))

    async def _whole_v2(self) -> tuple[bytes, str] | None:
        """Our v2 document, with those of other servers in it where there are any."""
        ours = await self._openapi.get("v2")
        if self.aggregator is None or ours is None or not await self.aggregator.available():
            return ours
        state = (ours[1], self.aggregator.generation)
        if self._merged is None or self._merged[0] != state:
            from edgekube.server.aggregation.openapi import merged_v2

            made = await trio.to_thread.run_sync(merged_v2, ours[0], await self.aggregator.openapi_v2())
            self._merged = (state, made)
        return self._merged[1]

    async def _elsewhere(self, request: Request, rest: str) -> Answer:
        """A v3 document that another server has."""
        path = rest.removeprefix("v3/")
        if self.aggregator is not None and path in self.aggregator.openapi_v3():
            for remote in await self.aggregator.available():
                if remote.path[1:] == path:
                    reply = await self.aggregator.fetch(remote, request.raw_target, request.header("accept") or JSON)
                    if reply is not None:
                        kept = [(name, reply.header(name)) for name in ("etag", "cache-control") if reply.header(name)]
                        return Answer(reply.status, reply.body, reply.header("content-type"), tuple(kept))
        return Answer(404, b"", "")

    @staticmethod
    def _acceptable(fine: bool) -> None:
        if not fine:
            raise errors.NotAcceptable("406: Not Acceptable", details=False)

    @staticmethod
    def _file(request: Request, found: tuple[bytes, str] | None, media: str, *, forever: bool = False) -> Answer:
        if found is None:
            return PAGE_NOT_FOUND
        data, digest = found
        etag = f'"{digest}"'
        headers = [("ETag", etag), ("Vary", "Accept")]
        if forever:
            headers.append(("Cache-Control", "public, immutable"))
        if request.header("if-none-match") == etag:
            return Answer(304, b"", "", tuple(headers))
        if "gzip" in request.header("accept-encoding"):
            return Answer(200, data, media, (*headers, ("Content-Encoding", "gzip")))
        return Answer(200, gzip.decompress(data), media, tuple(headers))
