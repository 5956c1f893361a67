"""Whatever our own OpenAPI documents say may be sent is answered, and never with a 5xx.

The requests are made from what the server serves under /openapi/v3: every path and method, parameters of their types, bodies of
their schemas down to a depth, some members of a wrong type. Writes are dry runs. The seed is hypothesis's, printed when a case
fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.test_api_fuzz import ANYTHING, SETTINGS, Asker
from tests.support import Server, api_server

pytestmark = pytest.mark.slow
DEPTH = 5
METHODS = ("get", "post", "put", "patch", "delete")
#: Long-lived connections, and reading of other programs' answers: they have tests of their own.
ELSEWHERE = ("exec", "attach", "portforward", "proxy", "log", "{path}")
PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json",
           "application/apply-patch+yaml")  # fmt: skip
NAMES = [
    "default",
    "kube-system",
    "kubernetes",
    "kube-root-ca.crt",
    "x",
    "x-y",
    "A_b",
    "ü",
    "10.43.0.1",
    "system:basic-user",
]
TEXTS = st.sampled_from(
    ["", "a", "a=b", "metadata.name=x", "All", "Strict", "1", "0", "-1", "NotOlderThan", "true", "ü"]
)
#: Upstream, too, says with a 500 that an applied document does not fit its schema.
UNTYPED = (b"failed to create typed patch object", b"failed to convert", b"failed to decode managed fields")

Document = dict[str, Any]
Operation = tuple[str, str, list[Document], Document | None]


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with api_server(tmp_path_factory.mktemp("openapi-fuzz")) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture(name="asker", scope="module")
def _asker(server: Server) -> Iterator[Asker]:
    asker = Asker(server)
    yield asker
    asker.close()


@pytest.fixture(name="described", scope="module")
def _described(asker: Asker) -> tuple[list[Operation], Document]:
    """(every operation, every schema by name)."""
    _, body = asker.ask("GET", "/openapi/v3")
    operations: list[Operation] = []
    schemas: Document = {}
    for entry in json.loads(body)["paths"].values():
        document = json.loads(asker.ask("GET", entry["serverRelativeURL"])[1])
        schemas |= document.get("components", {}).get("schemas", {})
        for path, item in document["paths"].items():
            if any(word in path for word in ELSEWHERE) or "/watch/" in path:
                continue
            for method in METHODS:
                if method in item:
                    operation = item[method]
                    parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
                    content = operation.get("requestBody", {}).get("content", {})
                    schema = next((one["schema"] for one in content.values()), None)
                    operations.append((method, path, parameters, schema))
    return sorted(operations, key=lambda one: (one[1], one[0])), schemas


def value_of(draw: st.DrawFn, schema: Document, schemas: Document, depth: int) -> Any:
    """A value that a schema allows, or now and then one that it does not."""
    if draw(st.integers(0, 29)) == 0:
        return draw(ANYTHING)
    schema = schema["allOf"][0] if "allOf" in schema else schema
    if "$ref" in schema:
        return value_of(draw, schemas[schema["$ref"].rpartition("/")[2]], schemas, depth)
    kind = schema.get("type")
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if kind == "object" or "properties" in schema:
        if depth <= 0:
            return {}
        members = schema.get("properties", {})
        needed = set(schema.get("required", ()))
        chosen = [name for name in sorted(members) if name in needed or draw(st.integers(0, 3)) == 0]
        made = {name: value_of(draw, members[name], schemas, depth - 1) for name in chosen}
        if isinstance(values := schema.get("additionalProperties"), dict):
            made |= {name: value_of(draw, values, schemas, depth - 1) for name in draw(st.lists(TEXTS, max_size=2))}
        return made
    if kind == "array":
        return (
            [value_of(draw, schema["items"], schemas, depth - 1) for _ in range(draw(st.integers(0, 2)))]
            if depth > 0
            else []
        )
    if kind == "integer":
        return draw(st.integers(-2, 70000))
    if kind == "number":
        return draw(st.floats(allow_nan=False, allow_infinity=False))
    if kind == "boolean":
        return draw(st.booleans())
    return draw(TEXTS | st.sampled_from(NAMES) | st.text(max_size=6))


@st.composite
def requests(draw: st.DrawFn, described: tuple[list[Operation], Document]) -> tuple[str, str, bytes | None, str]:
    """(method, target, body, media type)."""
    operations, schemas = described
    method, path, parameters, schema = draw(st.sampled_from(operations))
    query: dict[str, Any] = {}
    for parameter in parameters:
        name = parameter["name"]
        if parameter["in"] == "path":
            chosen = "default" if name == "namespace" and draw(st.booleans()) else draw(st.sampled_from(NAMES))
            path = path.replace("{" + name + "}", quote(chosen, safe=""))
        elif name not in ("watch", "sendInitialEvents") and draw(st.integers(0, 5)) == 0:
            query[name] = value_of(draw, parameter["schema"], schemas, 1)
    if method != "get":
        query["dryRun"] = "All"
    body = None
    if schema is not None and method != "get":
        document = value_of(draw, schema, schemas, DEPTH)
        body = json.dumps(document).encode()
    media = "application/json"
    if method == "patch":
        media = draw(st.sampled_from(PATCHES))
        if media == PATCHES[-1]:
            query["fieldManager"] = "fuzz"
    return method.upper(), path + ("?" + urlencode(query) if query else ""), body, media


def test_all_of_the_documents_are_there(described: tuple[list[Operation], Document]) -> None:
    operations, schemas = described
    assert len(operations) > 400
    assert len(schemas) > 500


@given(st.data())
@SETTINGS
def test_what_the_documents_describe_is_answered(
    asker: Asker, described: tuple[list[Operation], Document], data: st.DataObject
) -> None:
    method, target, body, media = data.draw(requests(described))
    status, answer = asker.ask(method, target, body, media)
    excused = status == 500 and media == PATCHES[-1] and any(words in answer for words in UNTYPED)
    gone = status == 503 and b"not connected" in answer
    assert status < 500 or excused or gone, f"{method} {target} {media} {body!r}: {status} {answer[:600]!r}"
