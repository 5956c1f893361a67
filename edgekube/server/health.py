"""What /healthz, /livez and /readyz answer: named checks, each a function that says what is wrong.

Checks are registered by whoever owns the thing checked. Source: k8s.io/apiserver pkg/server/healthz.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Check = Callable[[], str | None]  # None: fine; text: what is wrong
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class NamedCheck:
    """One check. `livez`/`healthz` leave out those that only say "not yet"."""

    name: str
    check: Check
    only_ready: bool = False


class Health:
    """All checks of this server."""

    def __init__(self) -> None:
        self._checks: list[NamedCheck] = [NamedCheck("ping", lambda: None), NamedCheck("log", lambda: None)]

    def add(self, name: str, check: Check, *, only_ready: bool = False) -> None:
        """Ask this too from now on."""
        self._checks.append(NamedCheck(name, check, only_ready))

    def names(self, endpoint: str) -> list[str]:
        """The checks of "healthz", "livez" or "readyz"."""
        return [one.name for one in self._of(endpoint)]

    def _of(self, endpoint: str) -> Iterable[NamedCheck]:
        return [one for one in self._checks if endpoint == "readyz" or not one.only_ready]

    def answer(self, endpoint: str, *, excluded: Iterable[str] = (), verbose: bool = False) -> tuple[int, str]:
        """(status, text) of an endpoint."""
        lines, failed, left_out = [], [], set(excluded)
        for one in self._of(endpoint):
            if one.name in left_out:
                lines.append(f"[+]{one.name} excluded: ok")
                left_out.discard(one.name)
            elif (problem := one.check()) is None:
                lines.append(f"[+]{one.name} ok")
            else:
                lines.append(f"[-]{one.name} failed: {problem}")
                failed.append(one.name)
        if left_out:
            shown = ", ".join(f'"{name}"' for name in sorted(left_out))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {shown}")
        text = "\n".join(lines)
        if failed:
            return 500, f"{text}\n{endpoint} check failed\n"
        return 200, f"{text}\n{endpoint} check passed\n" if verbose else "ok"

    def single(self, endpoint: str, name: str) -> tuple[int, str] | None:
        """(status, text) of one check, or None if there is none of this name."""
        for one in self._of(endpoint):
            if one.name == name:
                problem = one.check()
                return (200, "ok") if problem is None else (500, f"internal server error: {problem}\n")
        return None
