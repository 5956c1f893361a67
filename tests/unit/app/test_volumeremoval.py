"""The control loops' word to a node: its answer, or why there is none, always as text."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.app.volumeremoval import PAGE, removing
from edgekube.errors import ConnectionFailed
from edgekube.node import localvolumes
from edgekube.server.subresources.proxy import SERVERS_OWN


class Gate:
    """A node that answers so to everything, or breaks off."""

    def __init__(self, answer: tuple[int, str, bytes] | Exception) -> None:
        self.answer, self.asked = answer, ""

    async def fetch(self, path: str) -> tuple[int, str, bytes]:
        self.asked = path
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_all_floors_mean_the_same_page() -> None:
    assert PAGE == localvolumes.PAGE
    assert PAGE.startswith(SERVERS_OWN)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((200, "text/plain", b"gone"), ""),
        ((500, "text/plain", b"something is mounted on /x"), "something is mounted on /x"),
        ((404, "text/plain", b""), 'node "a" answered 404'),
        (ConnectionFailed("the line broke"), 'node "a": the line broke'),
    ],
)
async def test_only_a_nodes_own_word_is_success(answer: Any, why: str) -> None:
    gate: Any = Gate(answer)
    assert await removing({"a": gate})("a", "pvc-1_ns_c") == why
    assert gate.asked == "/edgekube/volumes/pvc-1_ns_c"


async def test_a_node_that_is_away_has_removed_nothing() -> None:
    assert await removing({})("a", "pvc-1_ns_c") == 'node "a" is not connected'
