"""An API server without sockets: requests go in as `Ask`s, answers come out as documents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import trio

from edgekube import errors
from edgekube.clock import SeededClock
from edgekube.net.exchange import Headers, Request
from edgekube.server.apiserver import ApiServer, Settings
from edgekube.server.context import Attributes, User
from edgekube.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters", "system:authenticated"))
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"


@dataclass
class Doorman:
    """Authenticator and authoriser: everybody is the administrator unless a test says otherwise."""

    user: User = ADMIN
    refused: Callable[[Attributes], str | None] = lambda _: None

    async def authenticate(self, request: Request) -> User:
        if request.header("authorization") == "Bearer wrong":
            raise errors.Unauthorized()
        return self.user

    def refuse(self, attributes: Attributes) -> str | None:
        return self.refused(attributes)


@dataclass
class FakeExchange:
    """`net.exchange.Exchange` in memory. `pieces` are what a stream sent."""

    request: Request
    body: bytes = b""
    status: int = 0
    headers: dict[str, list[str]] = field(default_factory=dict)
    answer: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    arrived: trio.Event = field(default_factory=trio.Event)
    answered: bool = False

    async def read_body(self, limit_bytes: int) -> bytes:
        if len(self.body) > limit_bytes:
            raise errors.TooLarge(f"limit is {limit_bytes}")
        return self.body

    def _begin(self, status: int, headers: Headers) -> None:
        assert not self.answered, "answered twice"
        self.answered, self.status = True, status
        for name, value in headers:
            self.headers.setdefault(name.lower(), []).append(value)

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        self._begin(status, headers)
        self.answer = body

    @asynccontextmanager
    async def stream(self, status: int, headers: Headers) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        self._begin(status, headers)

        async def send(piece: bytes) -> None:
            self.pieces.append(piece)
            self.arrived.set()
            self.arrived = trio.Event()

        yield send

    async def upgrade(self, headers: Headers) -> trio.abc.Stream:
        raise AssertionError("nothing here upgrades")

    @property
    def document(self) -> Any:
        return json.loads(self.answer)

    def header(self, name: str) -> str:
        return self.headers.get(name, [""])[0]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(piece) for piece in self.pieces]

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Events once there are `count`."""
        with trio.fail_after(120):
            while len(self.pieces) < count:
                await self.arrived.wait()
        return self.events


class Api:
    """The server and short ways to ask it."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.doorman, self.store, self.clock = Doorman(), store or MemoryStore(), SeededClock()
        self.server = ApiServer(
            self.store, authenticator=self.doorman, authorizer=self.doorman, clock=self.clock, settings=Settings()
        )

    def exchange(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> FakeExchange:
        split = urlsplit(path)
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {"content-type": content_type, "user-agent": "tester/1.0"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(
            method=method,
            path=unquote(split.path),
            query=tuple(parse_qsl(split.query, keep_blank_values=True)),
            headers=tuple(named.items()),
            raw_target=path,
        )
        return FakeExchange(request, data)

    async def ask(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> FakeExchange:
        made = self.exchange(method, path, body, content_type, **headers)
        await self.server.handle(made)
        return made

    async def good(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The document of an answer that must be a success."""
        made = await self.ask(method, path, body, content_type)
        assert 200 <= made.status < 300, made.answer
        return made.document

    async def refused(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, str]:
        """(code, message) of an answer that must be a refusal."""
        made = await self.ask(method, path, body, content_type)
        assert made.status >= 400, made.answer
        return made.status, made.document["message"]


def config_map(name: str = "a", **members: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": "y"}} | members


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": containers, "automountServiceAccountToken": False} | spec,
    }
