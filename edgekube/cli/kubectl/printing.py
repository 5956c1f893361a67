"""Answers as text: tables as kubectl aligns them, yaml, json, name, jsonpath and custom-columns.

Pure functions over decoded JSON; nothing is asked of a server here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from edgekube.errors import UsageError

PADDING = 3
STRING_TAG = "tag:yaml.org,2002:str"


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns, three blanks apart, as Go's tabwriter sets them for kubectl."""
    rows = [list(row) for row in rows]
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [cell.ljust(widths[i] + PADDING) if i < len(row) - 1 else cell for i, cell in enumerate(row)]
        lines.append("".join(cells))
    return "\n".join(lines) + "\n"


def table(
    document: Mapping[str, Any],
    *,
    wide: bool = False,
    headers: bool = True,
    namespaces: bool = False,
    labels: bool = False,
    prefix: str = "",
) -> str:
    """A meta.k8s.io Table as text."""
    definitions = document.get("columnDefinitions") or []
    shown = [i for i, column in enumerate(definitions) if wide or not column.get("priority")]
    rows: list[list[str]] = []
    if headers:
        heading = [definitions[i]["name"].upper() for i in shown]
        rows.append([*(["NAMESPACE"] if namespaces else []), *heading, *(["LABELS"] if labels else [])])
    for row in document.get("rows") or ():
        meta = (row.get("object") or {}).get("metadata") or {}
        cells = [_cell(row["cells"][i]) for i in shown]
        if prefix and cells:
            cells[0] = f"{prefix}/{cells[0]}"
        if namespaces:
            cells.insert(0, meta.get("namespace", ""))
        if labels:
            pairs = sorted((meta.get("labels") or {}).items())
            cells.append(",".join(f"{key}={value}" for key, value in pairs) or "<none>")
        rows.append(cells)
    return columns(rows)


def _cell(value: Any) -> str:
    if value is None:
        return "<none>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def to_yaml(document: Any) -> str:
    """YAML as kubectl writes it: keys sorted, block style."""
    import yaml

    class Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        resolver: Any = yaml.resolver.Resolver()

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None
        if not value or value in "yYnN" or Plain.resolver.resolve(yaml.ScalarNode, value, (True, False)) != STRING_TAG:
            style = '"'  # what would be read as something else, kubectl quotes doubly
        return dumper.represent_scalar(STRING_TAG, value, style=style)

    Plain.add_representer(str, text)
    written: str = yaml.dump(
        document, Dumper=Plain, default_flow_style=False, sort_keys=True, allow_unicode=True, width=10**6
    )
    return re.sub(r"^(\s*)- ", r"\1- ", written, flags=re.MULTILINE)


def to_json(document: Any) -> str:
    """JSON as kubectl writes it."""
    text = json.dumps(document, indent=4, ensure_ascii=False, sort_keys=True) + "\n"
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def printer(output: str) -> Callable[[Any], str] | None:
    """The function for an `-o` value that works on whole objects; None for tables. Raises UsageError."""
    name, _, argument = output.partition("=")
    if name == "json":
        return to_json
    if name == "yaml":
        return to_yaml
    if name in ("jsonpath", "jsonpath-as-json"):
        template = JsonPath(argument)
        return lambda document: template.render(document)
    if name == "custom-columns":
        wanted = [part.partition(":") for part in argument.split(",")]
        return lambda document: _custom(document, [(head, path) for head, _, path in wanted])
    if name in ("", "wide", "name"):
        return None
    raise UsageError(
        f'unable to match a printer suitable for the output format "{output}", allowed formats are: '
        "custom-columns,json,jsonpath,name,wide,yaml"
    )


def _custom(document: Any, wanted: Sequence[tuple[str, str]]) -> str:
    items = document["items"] if isinstance(document.get("items"), list) else [document]
    rows = [[head for head, _ in wanted]]
    for item in items:
        cells = []
        for _, path in wanted:
            found = [_plain(value) for value in JsonPath("{" + path + "}").find(item)]
            cells.append(",".join(found) or "<none>")
        rows.append(cells)
    return columns(rows)


class JsonPath:
    """kubectl's JSONPath dialect: {.a.b[0]}, [*], [-1:], ['key'], ..name, [?(@.x=="y")], {range}{end}, {"text"}."""

    def __init__(self, template: str) -> None:
        self._parts = self._split(template)

    def render(self, document: Any) -> str:
        """The template filled in."""
        text, position = self._run(document, 0, ended=False)
        assert position == len(self._parts)
        return text

    def find(self, document: Any) -> list[Any]:
        """All values the (single) path names."""
        kind, body = self._parts[0]
        return list(_walk([document], _steps(body))) if kind == "path" else []

    @staticmethod
    def _split(template: str) -> list[tuple[str, str]]:
        parts: list[tuple[str, str]] = []
        for text, expression in re.findall(r"([^{]+)|\{((?:\"[^\"]*\"|'[^']*'|[^{}])*)\}", template):
            if text:
                parts.append(("text", text))
            elif (word := expression.strip())[:1] in ("'", '"'):
                parts.append(("text", word[1:-1].encode().decode("unicode_escape")))
            elif word.startswith("range"):
                parts.append(("range", word[5:].strip()))
            elif word == "end":
                parts.append(("end", ""))
            else:
                parts.append(("path", word))
        return parts

    def _run(self, document: Any, position: int, *, ended: bool) -> tuple[str, int]:
        written: list[str] = []
        while position < len(self._parts):
            kind, body = self._parts[position]
            position += 1
            if kind == "text":
                written.append(body)
            elif kind == "path":
                written.append(" ".join(_plain(value) for value in _walk([document], _steps(body))))
            elif kind == "end":
                return "".join(written), position
            else:
                after = position
                for value in _walk([document], _steps(body)):
                    inner, after = self._run(value, position, ended=True)
                    written.append(inner)
                position = after if after != position else self._skip(position)
        return "".join(written), position

    def _skip(self, position: int) -> int:
        depth = 1
        while depth and position < len(self._parts):
            depth += {"range": 1, "end": -1}.get(self._parts[position][0], 0)
            position += 1
        return position


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_STEP = re.compile(
    r"\.\.(?P<deep>[\w-]+)|\.(?P<name>(?:[\w\-/]|\\.)+)|\.?\[(?P<quoted>'[^']*'|\"[^\"]*\")\]"
    r"|\.?\[\?\((?P<filter>.*?)\)\]|\.?\[(?P<index>[^\]]*)\]|\.(?P<star>\*)|(?P<root>[$@])"
)


def _steps(path: str) -> list[tuple[str, str]]:
    path = path.strip()
    if path and path[0] not in ".$@[":
        path = "." + path
    steps, position = [], 0
    while position < len(path):
        found = _STEP.match(path, position)
        if not found:
            if path[position] == ".":
                position += 1
                continue
            raise UsageError(f"error parsing jsonpath {{{path}}}, unrecognized character at {path[position:]!r}")
        kind = found.lastgroup or ""
        value = found.group(kind)
        if kind == "quoted":
            kind, value = "name", value[1:-1]
        elif kind == "name":
            value = value.replace("\\.", ".")
        if kind != "root":
            steps.append((kind, value))
        position = found.end()
    return steps


def _walk(values: Iterable[Any], steps: Sequence[tuple[str, str]]) -> Iterator[Any]:
    if not steps:
        yield from values
        return
    (kind, argument), rest = steps[0], steps[1:]
    for value in values:
        yield from _walk(_step(value, kind, argument), rest)


def _step(value: Any, kind: str, argument: str) -> Iterator[Any]:
    if kind == "name":
        if isinstance(value, dict) and argument in value:
            yield value[argument]
    elif kind == "star" or argument == "*":
        yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    elif kind == "deep":
        yield from _deep(value, argument)
    elif kind == "filter":
        yield from (item for item in (value if isinstance(value, list) else ()) if _holds(item, argument))
    elif isinstance(value, list):
        for piece in argument.split(","):
            if ":" in piece:
                numbers = [int(text) if text.strip() else None for text in piece.split(":")]
                yield from value[slice(*numbers)]
            elif -len(value) <= int(piece) < len(value):
                yield value[int(piece)]


def _deep(value: Any, name: str) -> Iterator[Any]:
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for inner in value.values():
            yield from _deep(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _deep(inner, name)


def _holds(item: Any, condition: str) -> bool:
    found = re.fullmatch(r"\s*(\S+?)\s*(==|!=|>=|<=|>|<)\s*(.+?)\s*", condition)
    if not found:
        return any(True for _ in _walk([item], _steps(condition)))
    path, operator, text = found.groups()
    wanted: Any = text[1:-1] if text[:1] in "'\"" else json.loads(text)
    for value in _walk([item], _steps(path)):
        try:
            if (
                {
                    "==": value == wanted,
                    "!=": value != wanted,
                }.get(operator)
                or (operator == ">" and value > wanted)
                or (operator == "<" and value < wanted)
            ):
                return True
            if (operator == ">=" and value >= wanted) or (operator == "<=" and value <= wanted):
                return True
        except TypeError:
            continue
    return False
