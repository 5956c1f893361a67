"""Simple JSONPath: the places in a document that a path like `.status.conditions[?(@.type=="Ready")].status` leads to.

Just what printer columns, selectable fields and scales of custom resources use: members, indexes, all elements, and filters by
equality. No ranges of expressions and no templates. Pure.

Source: k8s.io/client-go util/jsonpath.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

_STEP = re.compile(
    r"""\.(?P<name>(?:\\.|[^.\[\]\\])+)
      | \[\s*(?P<index>-?\d+)\s*\]
      | \[\s*'(?P<single>(?:\\.|[^'])*)'\s*\]
      | \[\s*"(?P<double>(?:\\.|[^"])*)"\s*\]
      | (?P<all>\[\s*\*?\s*:?\s*\])
      | \[\s*\?\(\s*@(?P<inner>[^=!]*?)\s*(?P<operator>==|!=)\s*(?P<wanted>[^)]*?)\s*\)\s*\]""",
    re.VERBOSE,
)
Step = tuple[str, Any]


@lru_cache(maxsize=512)
def parse(path: str) -> tuple[Step, ...]:
    """The steps of a path; braces around it and `$` at its beginning mean nothing. Raises ValueError."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    text = text if not text or text[0] in ".[" else f".{text}"
    steps: list[Step] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            if text[at:] == ".":
                break
            raise ValueError(f"{path}: cannot be read from {text[at:]!r}")
        steps.append(_step(found))
        at = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    if (name := found["name"]) is not None:
        return ("all", None) if name == "*" else ("member", _plain(name))
    if found["index"] is not None:
        return "index", int(found["index"])
    if found["single"] is not None or found["double"] is not None:
        return "member", _plain(found["single"] if found["single"] is not None else found["double"])
    if found["all"] is not None:
        return "all", None
    return "filter", (parse(found["inner"]), found["operator"] == "==", _literal(found["wanted"]))


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _literal(text: str) -> Any:
    if text[:1] == "'":
        return text.strip("'")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def find(document: Any, path: str) -> list[Any]:
    """Everything the path leads to; nothing where members are missing or the path cannot be read."""
    try:
        return list(_walk(document, parse(path)))
    except ValueError:
        return []


def _walk(value: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    for found in _next(value, *steps[0]):
        yield from _walk(found, steps[1:])


def _next(value: Any, how: str, what: Any) -> Iterator[Any]:
    if how == "member":
        if isinstance(value, dict) and what in value:
            yield value[what]
    elif how == "index":
        if isinstance(value, list) and -len(value) <= what < len(value):
            yield value[what]
    elif how == "all":
        yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    elif isinstance(value, list):
        inner, equal, wanted = what
        yield from (item for item in value if any((found == wanted) is equal for found in _walk(item, inner)))


def text(value: Any) -> str:
    """A value as it is printed: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
