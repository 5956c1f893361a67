"""Label and field selectors: text or structure to a query that can be asked of an object.

A query is frozen, hashable and knows nothing of objects: it is asked with a mapping (labels, or field paths to their text).
Which field paths a kind supports is for the registry to check, through `FieldQuery.requirements`.

Source: k8s.io/apimachinery pkg/labels/selector.go, pkg/fields/selector.go, pkg/apis/meta/v1/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.meta import LabelSelector

IN, NOT_IN, EXISTS, DOES_NOT_EXIST = "in", "notin", "exists", "!"
EQUALS, DOUBLE_EQUALS, NOT_EQUALS, GREATER, LESS = "=", "==", "!=", "gt", "lt"
_BINARY = "in, notin, =, ==, !=, gt, lt"
_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": DOES_NOT_EXIST}
_SYMBOLS = {")": ")", ",": ",", "!": "!", "==": "==", "=": "=", ">": ">", "<": "<", "!=": "!=", "(": "("}
_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64 = range(-(2**63), 2**63)
_CACHED_QUERIES = 1024


@dataclass(frozen=True, slots=True)
class LabelRequirement:
    """One condition on one label. `values` are sorted and unique as far as they were parsed from text."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet the condition."""
        operator, value = self.operator, labels.get(self.key)
        if operator in (IN, EQUALS, DOUBLE_EQUALS):
            return value is not None and value in self.values
        if operator in (NOT_IN, NOT_EQUALS):
            return value is None or value not in self.values
        if operator == EXISTS:
            return value is not None
        if operator == DOES_NOT_EXIST:
            return value is None
        if value is None or (number := _integer(value)) is None:
            return False
        bound = _integer(self.values[0])
        return bound is not None and (number > bound if operator == GREATER else number < bound)

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return self.key
        if self.operator == DOES_NOT_EXIST:
            return f"!{self.key}"
        values = ",".join(sorted(self.values))
        if self.operator in (IN, NOT_IN):
            return f"{self.key} {self.operator} ({values})"
        return f"{self.key}{ {GREATER: '>', LESS: '<'}.get(self.operator, self.operator) }{values}"


@dataclass(frozen=True, slots=True)
class LabelQuery:
    """All requirements must hold; `nothing` matches no object at all."""

    requirements: tuple[LabelRequirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is meant."""
        if self.nothing:
            return False
        for requirement in self.requirements:  # noqa: SIM110  (a plain loop: asked of every object, half the cost)
            if not requirement.matches(labels):
                return False
        return True

    @property
    def everything(self) -> bool:
        """Whether every object is meant."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = LabelQuery()
NOTHING = LabelQuery(nothing=True)


def _integer(text: str) -> int | None:
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if number in _INT64 else None


def requirement(key: str, operator: str, values: tuple[str, ...] = ()) -> LabelRequirement:
    """A checked requirement. Raises ValueError with upstream's words."""
    problems: list[FieldError] = rules.each("key", key, ["; ".join(wrong)] if (wrong := names.label_key(key)) else [])
    if operator in (IN, NOT_IN):
        if not values:
            problems.append(rules.invalid("values", [], "for 'in', 'notin' operators, values set can't be empty"))
    elif operator in (EQUALS, DOUBLE_EQUALS, NOT_EQUALS):
        if len(values) != 1:
            problems.append(rules.invalid("values", values, "exact-match compatibility requires one single value"))
    elif operator in (EXISTS, DOES_NOT_EXIST):
        if values:
            problems.append(rules.invalid("values", values, "values set must be empty for exists and does not exist"))
    else:
        if len(values) != 1:
            problems.append(rules.invalid("values", values, "for 'Gt', 'Lt' operators, exactly one value is required"))
        words = "for 'Gt', 'Lt' operators, the value must be an integer"
        problems += [rules.invalid(f"values[{i}]", v, words) for i, v in enumerate(values) if _integer(v) is None]
    for position, value in enumerate(values):
        if wrong := names.label_value(value):
            problems.append(rules.invalid(f"values[{position}][{key}]", value, "; ".join(wrong)))
    if problems:
        texts = list(dict.fromkeys(map(str, problems)))
        raise ValueError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    return LabelRequirement(key, operator, values)


_TOKEN = re.compile(r"[ \t\r\n]*(?:([=!(),><]+)|([^=!(),>< \t\r\n]+))")


def _tokens(text: str) -> list[tuple[str, str]]:
    """(kind, literal) pairs; the kind is the symbol itself, "in", "notin", "name", "error" or "end"."""
    found: list[tuple[str, str]] = []
    text = text.partition("\0")[0]
    for token in _TOKEN.finditer(text):
        symbols, word = token.groups()
        if word:
            found.append((word if word in (IN, NOT_IN) else "name", word))
            continue
        while symbols:
            literal = symbols[:2] if symbols[:2] in ("==", "!=") else symbols[0]
            found.append((_SYMBOLS[literal], literal))
            symbols = symbols[len(literal) :]
    found.append(("end", ""))
    return found


@dataclass
class _Parser:
    tokens: list[tuple[str, str]]
    position: int = 0
    found: list[LabelRequirement] = field(default_factory=list)

    def look(self) -> tuple[str, str]:
        kind, literal = self.tokens[min(self.position, len(self.tokens) - 1)]
        return ("name" if kind in (IN, NOT_IN) else kind), literal

    def take(self) -> tuple[str, str]:
        token = self.look()
        self.position += 1
        return token

    def parse(self) -> list[LabelRequirement]:
        while True:
            kind, literal = self.look()
            if kind == "end":
                return self.found
            if kind not in ("name", "!"):
                raise ValueError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                self.found.append(self.requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            kind, literal = self.take()
            if kind == "end":
                return self.found
            if kind != ",":
                raise ValueError(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self.look()
            if kind not in ("name", "!"):
                raise ValueError(f"found '{literal}', expected: identifier after ','")

    def requirement(self) -> LabelRequirement:
        kind, key = self.take()
        absent = kind == "!"
        if absent:
            kind, key = self.take()
        if kind != "name":
            raise ValueError(f"found '{key}', expected: identifier")
        if wrong := names.label_key(key):
            raise ValueError(str(rules.invalid("<nil>", key, "; ".join(wrong))))
        if absent:
            return requirement(key, DOES_NOT_EXIST)
        if self.look()[0] in ("end", ","):
            return requirement(key, EXISTS)
        operator = self.operator()
        values = self.values() if operator in (IN, NOT_IN) else self.value()
        return requirement(key, operator, tuple(sorted(values)))

    def operator(self) -> str:
        kind, literal = self.tokens[min(self.position, len(self.tokens) - 1)]
        self.position += 1
        if kind in (IN, NOT_IN, "=", "==", "!="):
            return kind
        if kind in ("<", ">"):
            return LESS if kind == "<" else GREATER
        raise ValueError(f"found '{literal}', expected: {_BINARY}")

    def value(self) -> set[str]:
        if self.look()[0] in ("end", ","):
            return {""}
        kind, literal = self.take()
        if kind != "name":
            raise ValueError(f"found '{literal}', expected: identifier")
        return {literal}

    def values(self) -> set[str]:
        kind, literal = self.take()
        if kind != "(":
            raise ValueError(f"found '{literal}' expected: '('")
        kind, literal = self.look()
        if kind == ")":
            self.take()
            return {""}
        if kind not in ("name", ","):
            raise ValueError(f"found '{literal}', expected: ',', ')' or identifier")
        values = self.names()
        if self.take()[0] != ")":
            raise ValueError(f"found '{literal}', expected: ')'")
        return values

    def names(self) -> set[str]:
        found: set[str] = set()
        while True:
            kind, literal = self.take()
            if kind == "name":
                found.add(literal)
                kind, literal = self.look()
                if kind == ")":
                    return found
                if kind != ",":
                    raise ValueError(f"found '{literal}', expected: ',' or ')'")
            elif kind == ",":
                if not found:
                    found.add("")
                kind, _ = self.look()
                if kind in (")", ","):
                    found.add("")
                if kind == ")":
                    return found
            else:
                raise ValueError(f"found '{literal}', expected: ',', or identifier")


@lru_cache(maxsize=_CACHED_QUERIES)
def parse_labels(text: str) -> LabelQuery:
    """A `labelSelector` parameter. Empty text matches everything. Raises ValueError with upstream's words."""
    if not text:
        return EVERYTHING
    found = _Parser(_tokens(text)).parse()
    return LabelQuery(tuple(sorted(found, key=lambda each: each.key)))


def from_label_selector(selector: LabelSelector | None) -> LabelQuery:
    """The query of a LabelSelector: None matches nothing, an empty one everything. Raises ValueError if it is malformed."""
    if selector is None:
        return NOTHING
    found = [requirement(key, EQUALS, (value,)) for key, value in selector.match_labels.items()]
    for expression in selector.match_expressions:
        operator = _OPERATORS.get(expression.operator)
        if operator is None:
            raise ValueError(f"{rules.quoted(expression.operator)} is not a valid label selector operator")
        found.append(requirement(expression.key, operator, tuple(expression.values)))
    return LabelQuery(tuple(sorted(found, key=lambda each: each.key)))


def from_map(labels: Mapping[str, str] | None) -> LabelQuery:
    """Every label must be as given (Service and ReplicationController selectors); none given matches everything."""
    return LabelQuery(tuple(LabelRequirement(key, EQUALS, (value,)) for key, value in sorted((labels or {}).items())))


@dataclass(frozen=True, slots=True)
class FieldQuery:
    """All of (path, "=" or "!=", value) must hold."""

    requirements: tuple[tuple[str, str, str], ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object is meant whose fields' text is given; an absent one counts as empty."""
        for path, operator, value in self.requirements:
            if (fields.get(path, "") == value) != (operator == EQUALS):
                return False
        return True

    def exact(self, path: str) -> str | None:
        """The one value that `path` must have, if the query says so."""
        for name, operator, value in self.requirements:
            if name == path and operator == EQUALS:
                return value
        return None

    @property
    def everything(self) -> bool:
        """Whether every object is meant."""
        return not self.requirements

    def __str__(self) -> str:
        return ",".join(path + operator + escape(value) for path, operator, value in self.requirements)


_FIELD_OPERATOR = re.compile("!=|==|=")
_TERM = re.compile(r"((?:\\.|[^,\\]|\\$)*)(,|$)", re.DOTALL)


def escape(value: str) -> str:
    """A value as it must be written in a field selector."""
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(text: str) -> str:
    value: list[str] = []
    letters = iter(text)
    for letter in letters:
        if letter == "\\":
            following = next(letters, "")
            if following not in ("\\", ",", "="):
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{following}")
            value.append(following)
        elif letter in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(letter)}")
        else:
            value.append(letter)
    return "".join(value)


def _terms(text: str) -> list[str]:
    terms, position = [], 0
    while found := _TERM.match(text, position):
        terms.append(found[1])
        if not found[2]:
            break
        position = found.end()
    return sorted(terms)


@lru_cache(maxsize=_CACHED_QUERIES)
def parse_fields(text: str) -> FieldQuery:
    """A `fieldSelector` parameter. Raises ValueError with upstream's words."""
    found = []
    for term in _terms(text):
        if not term:
            continue
        if not (operator := _FIELD_OPERATOR.search(term)):
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        path, value = term[: operator.start()], _unescape(term[operator.end() :])
        if path or value:
            found.append((path, NOT_EQUALS if operator[0] == NOT_EQUALS else EQUALS, value))
    return FieldQuery(tuple(found))
