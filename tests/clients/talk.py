"""The few requests tests make themselves, beside the clients under test: create, read, replace a part, delete."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

from tests.support import Server

MERGE = "application/merge-patch+json"


def call(server: Server, method: str, path: str, body: Any = None, media: str = "application/json") -> tuple[int, Any]:
    """A request as administrator; its code and decoded body."""
    ca, certificate, key = server.credentials()
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(certificate, key)
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": media}, method=method)
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")


def post(server: Server, path: str, body: Any) -> Any:
    code, made = call(server, "POST", path, body)
    assert code in (200, 201), made
    return made


def patch(server: Server, path: str, body: Any) -> Any:
    code, made = call(server, "PATCH", path, body, MERGE)
    assert code == 200, made
    return made


def get(server: Server, path: str) -> Any:
    code, read = call(server, "GET", path)
    return read if code == 200 else None


def delete(server: Server, path: str) -> None:
    code, answer = call(server, "DELETE", path)
    assert code in (200, 202, 404), answer
