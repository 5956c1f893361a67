"""The API's verbs over HTTPS, for everything that is not inside the server's own process.

The same answers and errors as `client.local`: a failure Status becomes the `errors.ApiError` it stands for, a peer that cannot be
reached `errors.ConnectionFailed`. httpx (and with it a few MiB) is imported when a client is opened.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from edgekube.api.kind import ENCODER, Kind
from edgekube.api.meta import Object
from edgekube.client.interface import Event, Listing
from edgekube.client.kubeconfig import Access
from edgekube.client.local import delete_options
from edgekube.errors import ApiError, ConnectionFailed, UsageError

if TYPE_CHECKING:
    import httpx

    from edgekube.net.apilink import ApiLink

T = TypeVar("T", bound=Object)

CONNECT_S = 10.0
ANSWER_S = 60.0  # as long as a server may take over any request but a watch
SILENCE_S = 150.0  # of a watch: servers send a bookmark every minute, so the line is dead
PAGE = 500


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _RawList(msgspec.Struct, rename="camel"):
    metadata: dict[str, Any]
    items: list[msgspec.Raw] | None = None


_EVENTS = msgspec.json.Decoder(_WatchEvent)
_LISTS = msgspec.json.Decoder(_RawList)
_JSON = msgspec.json.Decoder()


class RemoteClient:
    """`client.interface.Client` over one connection pool; made by `open_remote`. `manager` is the field manager of writes."""

    def __init__(self, http: httpx.AsyncClient, access: Access, *, manager: str = "") -> None:
        self._http = http
        self._access = access
        self._manager = manager

    async def get(self, kind: Kind[T], name: str, namespace: str = "") -> T:
        """The object now. Raises `errors.NotFound`."""
        return kind.from_json(await self.request("GET", path_of(kind, namespace, name)))

    async def list(self, kind: Kind[T], namespace: str = "", *, labels: str = "", fields: str = "") -> Listing[T]:
        """All objects that match, gathered page by page."""
        items: list[T] = []
        query = _selection(labels, fields) | {"limit": str(PAGE)}
        while True:
            page = _LISTS.decode(await self.request("GET", path_of(kind, namespace), query))
            for raw in page.items or ():
                items.append(item := kind.from_json(bytes(raw)))
                item.kind, item.api_version = kind.name, kind.api_version  # lists leave them out on the wire
            query["continue"] = page.metadata.get("continue") or ""
            if not query["continue"]:
                return Listing(items, page.metadata.get("resourceVersion") or "")

    @asynccontextmanager
    async def watch(
        self, kind: Kind[T], namespace: str = "", *, after: str, labels: str = "", fields: str = ""
    ) -> AsyncIterator[AsyncIterator[Event[T]]]:
        """Events after a revision; see `client.interface.Client.watch`."""
        import httpx

        query = _selection(labels, fields) | {"watch": "true", "resourceVersion": after, "allowWatchBookmarks": "true"}
        request = self._http.build_request(
            "GET",
            path_of(kind, namespace),
            params=query,
            headers=self._headers(),
            timeout=httpx.Timeout(CONNECT_S, read=SILENCE_S),
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise ConnectionFailed(_words(error)) from error
        try:
            if response.status_code >= 400:
                raise _error(response.status_code, await response.aread())
            lines = response.aiter_lines()
            try:
                yield _Events(kind, lines)
            finally:
                await response.aclose()
                await _run_out(lines)
        finally:
            await response.aclose()

    async def create(self, kind: Kind[T], item: T, namespace: str = "") -> T:
        """The object as stored. Raises `errors.AlreadyExists`, `errors.Invalid`."""
        path = path_of(kind, namespace or item.metadata.namespace)
        return kind.from_json(await self.request("POST", path, self._managed(), _document(kind, item)))

    async def update(self, kind: Kind[T], item: T, *, subresource: str = "") -> T:
        """PUT; conditional when the item carries a resource version."""
        path = path_of(kind, item.metadata.namespace, item.metadata.name, subresource)
        return kind.from_json(await self.request("PUT", path, self._managed(), _document(kind, item)))

    async def patch(
        self,
        kind: Kind[T],
        name: str,
        namespace: str,
        patch: dict[str, Any] | Sequence[dict[str, Any]],
        *,
        content_type: str = "application/merge-patch+json",
        subresource: str = "",
        manager: str = "",
        force: bool = False,
    ) -> T:
        """Any patch type, server-side apply included."""
        query = self._managed(manager) | ({"force": "true"} if force else {})
        path = path_of(kind, namespace, name, subresource)
        return kind.from_json(await self.request("PATCH", path, query, ENCODER.encode(patch), content_type))

    async def delete(
        self,
        kind: Kind[T],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        revision: str = "",
        grace_s: int | None = None,
        propagation: str = "",
    ) -> None:
        """Begin (and mostly finish) a deletion, optionally only of this uid and revision."""
        options = delete_options(uid=uid, revision=revision, grace_s=grace_s, propagation=propagation)
        await self.request("DELETE", path_of(kind, namespace, name), {}, ENCODER.encode(options))

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any other request; an answer that is not JSON comes back as {"text": ...}."""
        answer = await self.request(method, path, None, None if body is None else ENCODER.encode(body))
        try:
            made = _JSON.decode(answer)
        except msgspec.DecodeError:
            made = None
        return made if isinstance(made, dict) else {"text": answer.decode(errors="replace")}

    async def request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        *,
        accept: str = "application/json",
    ) -> bytes:
        """One request and its whole answer. Raises `errors.ApiError`, `errors.ConnectionFailed`."""
        import httpx

        headers = self._headers(accept) | ({"Content-Type": content_type} if body is not None else {})
        try:
            # An empty `params` would drop the query a path came with.
            response = await self._http.request(method, path, params=query or None, content=body, headers=headers)
        except httpx.TransportError as error:
            raise ConnectionFailed(_words(error)) from error
        if response.status_code >= 400:
            raise _error(response.status_code, response.content)
        return response.content

    def _headers(self, accept: str = "application/json") -> dict[str, str]:
        headers = {"Accept": accept, "User-Agent": f"edgekube/{self._manager or 'client'}"}
        token = self._access.token
        if self._access.token_file:  # read each time: it is renewed in place
            try:
                token = Path(self._access.token_file).read_text().strip()
            except OSError as error:
                raise ConnectionFailed(f"cannot read the token file: {error}") from error
        return headers | ({"Authorization": f"Bearer {token}"} if token else {})

    def _managed(self, manager: str = "") -> dict[str, str]:
        name = manager or self._manager
        return {"fieldManager": name} if name else {}


@asynccontextmanager
async def open_remote(
    access: Access,
    *,
    manager: str = "",
    tls: ssl.SSLContext | None = None,
    refused: Callable[[], None] | None = None,
    link: ApiLink | None = None,
) -> AsyncIterator[RemoteClient]:
    """A client for one server; leaving closes its connections. `tls` takes the place of what `access` says about certificates;
    `refused` is called at each 401; `link` is a tunnel that requests go through while it stands. Raises UsageError for unusable
    certificates."""
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # its command line, which brings megabytes where it can
    import httpx

    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
    verify: ssl.SSLContext | bool = (tls or tls_context(access)) if access.server.startswith("https:") else False
    extensions = {"sni_hostname": access.server_name} if access.server_name else {}
    direct = httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)
    transport: httpx.AsyncBaseTransport = direct
    if link is not None:
        from edgekube.client.linktransport import LinkTransport

        transport = LinkTransport(direct, link)
    async with httpx.AsyncClient(base_url=access.server, transport=transport, timeout=timeout, trust_env=False) as http:

        async def name_server(request: httpx.Request) -> None:
            request.extensions.update(extensions)

        async def notice(response: httpx.Response) -> None:
            if response.status_code == 401 and refused is not None:
                refused()

        http.event_hooks = {
            "request": [name_server] if extensions else [],
            "response": [notice] if refused is not None else [],
        }
        yield RemoteClient(http, access, manager=manager)


def tls_context(access: Access) -> ssl.SSLContext:
    """What to trust and what to show. Raises UsageError."""
    try:
        context = ssl.create_default_context(cadata=access.ca.decode() if access.ca else None)
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if access.certificate:
            # The ssl module reads key pairs from files only; this one never reaches a disk.
            descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
            try:
                os.write(descriptor, access.certificate + b"\n" + access.key)
                context.load_cert_chain(f"/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(f"the certificates of the kubeconfig cannot be used: {error}") from None
    return context


def path_of(kind: Kind[Any], namespace: str, name: str = "", subresource: str = "") -> str:
    """The HTTP path of an object (or of all of a namespace, or of the cluster)."""
    from urllib.parse import quote

    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if namespace and kind.namespaced:
        parts += ["namespaces", namespace]
    parts.append(kind.plural)
    parts += [part for part in (name, subresource) if part]
    return "/" + "/".join(quote(part, safe="") for part in parts)


async def _run_out(lines: AsyncIterator[str]) -> None:
    """Let the generators of httpx, one inside the other, end on the closed connection; left alone they would warn."""
    import httpx

    try:
        async for _ in lines:
            pass
    except (httpx.TransportError, httpx.StreamError):
        return


class _Events(AsyncIterator[Event[T]]):
    """The lines of a watch as events."""

    def __init__(self, kind: Kind[T], lines: AsyncIterator[str]) -> None:
        self._kind, self._lines = kind, lines

    async def __anext__(self) -> Event[T]:
        import httpx

        try:
            line = ""
            while not line.strip():
                line = await self._lines.__anext__()
            event = _EVENTS.decode(line)
        except (httpx.TransportError, httpx.StreamError, msgspec.DecodeError) as error:
            raise ConnectionFailed(_words(error)) from error
        if event.type == "ERROR":
            raise ApiError.from_status(_JSON.decode(event.object))
        return Event(event.type, self._kind.from_json(bytes(event.object)))


def _document(kind: Kind[T], item: T) -> bytes:
    return ENCODER.encode(kind.to_dict(item) | {"kind": kind.name, "apiVersion": kind.api_version})


def _selection(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _error(code: int, body: bytes) -> ApiError:
    try:
        status = _JSON.decode(body)
    except msgspec.DecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return ApiError.from_status(status)
    text = body.decode(errors="replace").strip() or f"the server answered {code}"
    made = next((one for one in ApiError.BY_REASON.values() if one.code == code), None)
    return ApiError(text, code=code) if made is None else made(text)
