"""The version of Kubernetes this program behaves like, and which agents a server works with: one minor version older or newer."""

from __future__ import annotations

import re

VERSION = "v1.36.0"
MINORS_APART = 1
_VERSION = re.compile(r"v(\d+)\.(\d+)(?:\.\d+)?(?:[-+].*)?")


def skew_problem(agent: str, server: str = VERSION) -> str | None:
    """Why these two do not work together, in one line; None when they do."""
    theirs, ours = _VERSION.fullmatch(agent), _VERSION.fullmatch(server)
    if theirs is None or ours is None:
        return f"the agent's version {agent!r} is not a version"
    if theirs[1] == ours[1] and abs(int(theirs[2]) - int(ours[2])) <= MINORS_APART:
        return None
    return (
        f"the agent is {agent} and the server {server}: they work together at most {MINORS_APART} minor version apart"
    )
