"""What goes wrong with expressions: when they are read and checked, and when they are evaluated."""

from __future__ import annotations

from dataclasses import dataclass


class CelError(Exception):
    """An expression cannot be used, or came to no value. Its text is upstream's."""


class CompileError(CelError):
    """The expression is not of the language, or does not fit what is declared."""


class CostExceeded(CelError):
    """The evaluation did more than it may."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something wrong at a place: the offset into the text, in characters."""

    at: int
    words: str


def told(text: str, issues: list[Issue]) -> str:
    """All issues as upstream shows them: place, words, the line and a mark under it. Source: cel-go common/error.go."""
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    shown = []
    for issue in sorted(issues, key=lambda one: one.at):
        row = max(n for n, start in enumerate(starts[:-1]) if start <= max(issue.at, 0))
        column = issue.at - starts[row]
        line = lines[row].replace("\t", " ")
        dots = "".join("." if ord(letter) < 128 else "．" for letter in line[:column])
        dots += "." * (column - len(line[:column]))
        mark = "^" if column >= len(line) or ord(line[column]) < 128 else "＾"
        shown.append(f"ERROR: <input>:{row + 1}:{column + 1}: {issue.words}\n | {line}\n | {dots}{mark}")
    return "\n".join(shown)
