"""Rules of file paths and modes. Source: core validation (validateLocalDescendingPath and its kin) of upstream."""

from __future__ import annotations

from edgekube.api import rules
from edgekube.api.kind import FieldError

MODE_WORDS = "must be a number between 0 and 0777 (octal), both inclusive"


def no_steps_back(path: str, text: str) -> list[FieldError]:
    """No ".." between slashes."""
    return [rules.invalid(path, text, "must not contain '..'")] if ".." in text.split("/") else []


def descending(path: str, text: str) -> list[FieldError]:
    """Relative, and never upwards."""
    broken = [rules.invalid(path, text, "must be a relative path")] if text.startswith("/") else []
    return broken + no_steps_back(path, text)


def not_reserved(path: str, text: str) -> list[FieldError]:
    """Descending, and not starting with the ".." that atomic writers use."""
    broken = descending(path, text)
    if text.startswith("..") and not text.startswith("../"):
        broken.append(rules.invalid(path, text, "must not start with '..'"))
    return broken


def file_mode(path: str, mode: int | None) -> list[FieldError]:
    """Permission bits."""
    return [] if mode is None or 0 <= mode <= 0o777 else [rules.invalid(path, mode, MODE_WORDS)]
