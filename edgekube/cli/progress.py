"""What long commands say while they work: a line that rewrites itself on a terminal, nothing when piped."""

from __future__ import annotations

import sys
from collections.abc import Callable


def steps() -> Callable[[str], None]:
    """A function that shows the current step on standard error, if a person looks at it."""
    if not sys.stderr.isatty():
        return lambda _: None

    def show(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}...")
        sys.stderr.flush()

    import atexit

    atexit.register(lambda: sys.stderr.write("\r\x1b[K"))
    return show
