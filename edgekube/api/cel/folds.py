"""Folds at work: loops over lists and maps, one of its own shape for each kind of macro.

Every round puts the element into the frame and is paid for. Source: cel-go interpreter/interpretable.go (evalFold).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekube.api.cel import core
from edgekube.api.cel.errors import CelError, CostExceeded

Frame = list[Any]  # slot 0 holds what is left of the budget
Run = Callable[[Frame], Any]
EXCEEDED = "operation cancelled: actual cost limit exceeded"


def spend(frame: Frame, amount: int) -> None:
    """Take from the budget. Raises CostExceeded when it is gone."""
    frame[0] -= amount
    if frame[0] < 0:
        raise CostExceeded(EXCEEDED)


def rounds_of(over: Run, first: int, second: int, price: int) -> Callable[[Frame], Any]:
    """A generator that puts each element into the frame and pays for the round."""

    def rounds(frame: Frame) -> Any:
        container = over(frame)
        if isinstance(container, dict):
            pairs: Any = container.items() if second else ((key, None) for key in container)
        elif isinstance(container, list):
            pairs = enumerate(container) if second else ((item, None) for item in container)
        else:
            raise CelError("no such overload")
        for one, other in pairs:
            frame[0] -= price
            if frame[0] < 0:
                raise CostExceeded(EXCEEDED)
            frame[first] = one
            if second:
                frame[second] = other
            yield one

    return rounds


def _quantifier(rounds: Any, body: Run, ends: bool) -> Run:
    """all (ends at False) and exists (ends at True): an error counts only if nothing ends it."""
    otherwise = not ends

    def run(frame: Frame) -> bool:
        failed: CelError | None = None
        for _ in rounds(frame):
            try:
                value = body(frame)
            except CostExceeded:
                raise
            except CelError as problem:
                failed = problem
                continue
            if value is not otherwise:
                if value is ends:
                    return not otherwise
                failed = CelError("no such overload")
        if failed is not None:
            raise failed
        return otherwise

    return run


def _exists_one(rounds: Any, body: Run, _: Run | None) -> Run:
    def run(frame: Frame) -> bool:
        count = 0
        for _ in rounds(frame):
            value = body(frame)
            if value is True:
                count += 1
            elif value is not False:
                raise CelError("no such overload")
        return count == 1

    return run


def _kept(keep: Run | None, frame: Frame) -> bool:
    if keep is None:
        return True
    value = keep(frame)
    if value.__class__ is not bool:
        raise CelError("no such overload")
    return bool(value)


def _listed(rounds: Any, body: Run, keep: Run | None) -> Run:
    if keep is None:
        return lambda frame: [body(frame) for _ in rounds(frame)]
    return lambda frame: [body(frame) for _ in rounds(frame) if _kept(keep, frame)]


def _mapped(rounds: Any, body: Run, keep: Run | None) -> Run:
    def run(frame: Frame) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for key in rounds(frame):
            if _kept(keep, frame):
                out[key] = body(frame)
        return out

    return run


def _entries(rounds: Any, body: Run, keep: Run | None) -> Run:
    def run(frame: Frame) -> dict[Any, Any]:
        out: dict[Any, Any] = {}
        for _ in rounds(frame):
            if _kept(keep, frame):
                made = body(frame)
                if not isinstance(made, dict):
                    raise CelError("no such overload")
                for key, value in made.items():
                    if key in out:
                        raise CelError(f"insert failed: key {core.key_text(key)} already exists")
                    out[key] = value
        return out

    return run


FOLDS: dict[str, Callable[[Any, Run, Run | None], Run]] = {
    "all": lambda rounds, body, _: _quantifier(rounds, body, False),
    "exists": lambda rounds, body, _: _quantifier(rounds, body, True),
    "exists_one": _exists_one,
    "list": _listed,
    "map": _mapped,
    "entries": _entries,
}
