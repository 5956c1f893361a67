"""Regular expressions in RE2's syntax: compiled once, searched without ever taking long.

With google-re2 where it is installed, which is linear whatever is asked of it; else with Python's own, whose syntax is near enough
(`api.formats.pattern`). Both are loaded when the first expression needs them.

Source: k8s.io/apiserver pkg/cel/library/regex.go, cel-go common/types/string.go.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from edgekube.api.cel.declarations import Line
from edgekube.api.cel.errors import CelError


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Any:
    """A pattern that can search. Raises CelError in Go's words."""
    try:
        import re2  # type: ignore[import-untyped]
    except ImportError:
        from edgekube.api import formats

        found = formats.pattern(pattern)
        if found is None:
            raise CelError(f"error parsing regexp: invalid regular expression: `{pattern}`") from None
        return found
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as problem:
        raise CelError(f"error parsing regexp: {_words(problem)}") from None


def _words(problem: Exception) -> str:
    """RE2's complaint as Go's regexp/syntax words it: what is wrong, then the part in back quotes."""
    words = str(problem.args[0].decode() if problem.args and isinstance(problem.args[0], bytes) else problem)
    what, _, part = words.partition(": ")
    what = _GO_WORDS.get(what, what)
    return f"{what}: `{part}`" if part else what


_GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "trailing \\": "trailing backslash at end of expression",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


def matches(text: str, pattern: str) -> bool:
    """Whether any part of a text is like the pattern."""
    return compiled(pattern).search(text) is not None


def charge(text: str, pattern: str) -> int:
    """What searching costs."""
    return ((len(text) + 10) // 10) * ((len(pattern) + 3) // 4)


def _find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return found.group() if found is not None else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    if limit == 0:
        return found
    for match in compiled(pattern).finditer(text):
        found.append(match.group())
        if len(found) == limit:
            break
    return found


REGEX: list[Line] = [
    ("string_find_string", "string -> find(string): string", _find, charge),
    ("string_find_all_string", "string -> findAll(string): list(string)", _find_all, charge),
    (
        "string_find_all_string_int",
        "string -> findAll(string, int): list(string)",
        _find_all,
        lambda t, p, _: charge(t, p),
    ),
]
