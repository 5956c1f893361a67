"""What functions there are: signatures as text, and what each does.

A library is a table of (id, signature, function) lines; `Overload` is one line understood. Which libraries an expression may use is
`environment`'s business.

Source: cel-go common/decls and common/overloads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from edgekube.api.cel import types
from edgekube.api.cel.types import Type
from edgekube.api.cel.values import runtime_test

Function = Callable[..., Any]
# What a call costs at run time beyond one: given its arguments, before it is made.
Charge = Callable[..., int]

_NAMED = {
    "bool": types.BOOL, "int": types.INT, "uint": types.UINT, "double": types.DOUBLE, "string": types.STRING,
    "bytes": types.BYTES, "null": types.NULL, "duration": types.DURATION, "timestamp": types.TIMESTAMP, "dyn": types.DYN,
}  # fmt: skip
_WORD = re.compile(r"\s*([A-Za-z_][\w.]*|[(),])")


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One way to call a function. `args` has the target first, if it is a member."""

    id: str
    name: str
    member: bool
    args: tuple[Type, ...]
    result: Type
    call: Function
    charge: Charge | None = None
    params: frozenset[str] = frozenset()
    tests: tuple[Callable[[Any], bool] | None, ...] = field(default=())


def _read(text: str) -> Type:
    words = _WORD.findall(text)

    def one(at: int) -> tuple[Type, int]:
        name, at = words[at], at + 1
        params: list[Type] = []
        if at < len(words) and words[at] == "(":
            at += 1
            while words[at] != ")":
                if words[at] == ",":
                    at += 1
                    continue
                param, at = one(at)
                params.append(param)
            at += 1
        return _made(name, params), at

    return one(0)[0]


def _made(name: str, params: list[Type]) -> Type:
    if name in _NAMED:
        return _NAMED[name]
    if name == "list":
        return types.list_of(params[0])
    if name == "map":
        return types.map_of(params[0], params[1])
    if name == "optional":
        return types.optional_of(params[0])
    if name == "type":
        return types.type_of(params[0])
    if len(name) == 1:
        return Type("param", name)
    return types.object_type(name)


@lru_cache(maxsize=512)
def _parsed(text: str) -> Type:
    return _read(text)


def _split(text: str) -> list[str]:
    """Arguments, parted at the commas that are in no parentheses."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    rest = text[start:]
    return [one.strip() for one in [*parts, rest] if one.strip()]


def _params(t: Type) -> set[str]:
    found = {t.name} if t.kind == "param" else set()
    return found.union(*(_params(one) for one in t.params)) if t.params else found


def overload(identity: str, signature: str, call: Function, charge: Charge | None = None) -> Overload:
    """One line of a table. Signatures: "name(type, type): type", or "target -> name(type): type" for members."""
    target, arrow, rest = signature.rpartition(" -> ")
    name, _, rest = rest.partition("(")
    inner, _, result = rest.rpartition("): ")
    args = tuple([_parsed(one) for one in ([target] if arrow else []) + _split(inner)])
    params = frozenset(set().union(*(_params(one) for one in args), _params(_parsed(result))))
    tests = tuple([runtime_test(one.kind, one.name) for one in args])
    return Overload(identity, name, bool(arrow), args, _parsed(result), call, charge, params, tests)


Line = tuple[str, str, Function] | tuple[str, str, Function, Charge]
Functions = dict[str, list[Overload]]


def table(*libraries: Iterable[Line]) -> Functions:
    """Functions by name, from the lines of libraries."""
    made: Functions = {}
    for library in libraries:
        for line in library:
            one = overload(*line)
            made.setdefault(one.name, []).append(one)
    return made
