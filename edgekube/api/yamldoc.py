"""YAML bodies as upstream reads them: one document, YAML 1.1 scalars as Go's library resolves them, turned into JSON.

PyYAML parses (its C parser, libyaml, is also what Go's library was ported from, so that the words of errors agree); what plain
scalars mean is decided here: `y` and `on` are booleans, dates and 12:30:45 are text, 1e3 is a number. yaml is imported
when the first YAML body comes.

Source: sigs.k8s.io/yaml (YAMLToJSON), goyaml.v2 resolve.go and decode.go.
"""

from __future__ import annotations

import base64
import math
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from edgekube.api import rules

_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"))
_FALSE = frozenset(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"))
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_FLOATS = {".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan} | {
    sign + word: (-math.inf if sign == "-" else math.inf)
    for sign in ("", "+", "-")
    for word in (".inf", ".Inf", ".INF")
}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"
_PLAIN = "!plain"
MOST_ALIASED_NODES = 100_000  # what aliases may unfold to, against documents that grow without end


class YamlError(ValueError):
    """The body is not YAML or cannot be JSON; carries upstream's words."""


@dataclass
class _Reading:
    duplicates: list[str] = field(default_factory=list)
    nodes: int = 0
    open: set[int] = field(default_factory=set)


def parse_yaml(data: bytes) -> tuple[Any, list[str]]:
    """The JSON value of the first document, members sorted, and a message for each key given twice (the last one counts).

    Raises YamlError: `yaml: line 1: ...`; callers put "error converting YAML to JSON: " before it where upstream does.
    """
    import yaml

    loader = _loader()(data)
    try:
        node = loader.get_node() if loader.check_node() else None
    except yaml.reader.ReaderError as error:
        raise YamlError(f"yaml: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        scanner = isinstance(error, yaml.scanner.ScannerError)
        raise YamlError(f"yaml: {_where(error, scanner)}{error.problem}") from None
    finally:
        loader.dispose()
    reading = _Reading()
    value = None if node is None else _value(node, reading)
    return value, reading.duplicates


@cache
def _loader() -> Any:
    """PyYAML's loader with plain scalars left unresolved, for `plain` to say what they mean."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is yaml.ScalarNode and implicit[0]:
                return _PLAIN
            return super().resolve(kind, value, implicit)

    return Loader


@cache
def _dumper() -> Any:
    """PyYAML's dumper with text as goyaml writes it: in double quotes what would be read as something else, lines as a block."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    resolver: Any = yaml.resolver.Resolver()

    def text(dumper: Any, value: str) -> Any:
        tag = f"{_TAG}str"
        other = resolver.resolve(yaml.ScalarNode, value, (True, False)) != tag or not isinstance(plain(value), str)
        return dumper.represent_scalar(tag, value, style='"' if other else "|" if "\n" in value else None)

    class Dumper(base):  # type: ignore[misc]
        pass

    Dumper.add_representer(str, text)
    return Dumper


def write_yaml(document: Any) -> str:
    """A JSON value as YAML, members sorted, lines as long as they are."""
    import yaml

    written: str = yaml.dump(document, Dumper=_dumper(), allow_unicode=True, sort_keys=True, width=1 << 30)
    return written


def strict_words(duplicates: list[str]) -> str:
    """The duplicate keys as fieldValidation=Strict words them; each of them alone is the text of a warning."""
    return "yaml: unmarshal errors:\n" + "\n".join(f"  {each}" for each in duplicates)


def _where(error: Any, scanner: bool) -> str:
    for mark in (error.context_mark, error.problem_mark):
        if mark is not None and mark.line:
            return f"line {mark.line + 1 if scanner else mark.line}: "
    return ""


def _value(node: Any, reading: _Reading) -> Any:
    reading.nodes += 1
    if reading.nodes > MOST_ALIASED_NODES:
        raise YamlError("yaml: document contains excessive aliasing")
    if node.id == "scalar":
        return _scalar(node)
    if id(node) in reading.open:
        raise YamlError("yaml: anchor contains itself")
    reading.open.add(id(node))
    try:
        if node.id == "sequence":
            return [_value(item, reading) for item in node.value]
        return _mapping(node, reading)
    finally:
        reading.open.discard(id(node))


def _mapping(node: Any, reading: _Reading) -> dict[str, Any]:
    found: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if key_node.id != "scalar":
            raise YamlError("yaml: invalid map key: map or sequence")
        if key_node.value == "<<" and not key_node.style:
            merged = {**_merge(value_node, reading), **merged}
            continue
        key = _key(_scalar(key_node))
        if key in found:
            shown = rules.quoted(key)
            reading.duplicates.append(f"line {key_node.start_mark.line + 1}: key {shown} already set in map")
        found[key] = _value(value_node, reading)
    merged.update(found)
    return {name: merged[name] for name in sorted(merged)}


def _merge(node: Any, reading: _Reading) -> dict[str, Any]:
    parts = [_value(item, reading) for item in node.value] if node.id == "sequence" else [_value(node, reading)]
    out: dict[str, Any] = {}
    for part in reversed(parts):
        if not isinstance(part, dict):
            raise YamlError("yaml: map merge requires map or sequence of maps as the value")
        out.update(part)
    return out


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        raise YamlError("unsupported map key of type: nil")
    return rules.go_value(value)


def _scalar(node: Any) -> Any:
    text: str = node.value
    if node.tag == _TAG + "binary":
        return _binary(text)
    if node.style or node.tag == _TAG + "str":
        return text
    return plain(text)


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except ValueError:
        raise YamlError("yaml: !!binary value contains invalid base64 data") from None


def plain(text: str) -> Any:
    """What a plain scalar means."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text in _FLOATS:
        return _FLOATS[text]
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(digits):
        return _integer(digits)
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        return int(number) if number.is_integer() and abs(number) < 1e21 else number
    return text


def _integer(digits: str) -> int | float:
    sign, bare = (-1, digits[1:]) if digits[0] == "-" else (1, digits.lstrip("+"))
    octal = len(bare) > 1 and bare[0] == "0" and bare[1].isdigit()
    number = sign * int(bare, 8 if octal else 0)
    return number if -(2**63) <= number < 2**64 else float(number)
