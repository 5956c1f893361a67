"""The words of `edgekube token` and `edgekube node` that need no server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edgekube.cli.kubectl.drain import sort_out
from edgekube.cli.node import ALL_GO
from edgekube.cli.token import parse_ttl, server_time
from edgekube.errors import UsageError


@pytest.mark.parametrize(
    ("text", "life"),
    [("1h", timedelta(hours=1)), ("90m", timedelta(minutes=90)), ("1d12h", timedelta(hours=36)), ("0", None)],
)
def test_times_to_live(text: str, life: timedelta | None) -> None:
    assert parse_ttl(text) == life


@pytest.mark.parametrize("text", ["", "1", "h", "1w", "-1h", "1h x"])
def test_what_is_no_time_to_live(text: str) -> None:
    with pytest.raises(UsageError, match="--ttl"):
        parse_ttl(text)


def test_the_servers_clock_decides_when_a_token_ends() -> None:
    assert server_time("Sun, 22 Nov 2026 19:03:00 GMT") == datetime(2026, 11, 22, 19, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("metadata", "moves"),
    [
        ({}, True),
        ({"ownerReferences": [{"kind": "ReplicaSet", "controller": True}]}, True),
        ({"ownerReferences": [{"kind": "DaemonSet", "controller": True}]}, False),
        ({"annotations": {"kubernetes.io/config.mirror": "x"}}, False),
    ],
)
def test_what_draining_moves(metadata: dict[str, Any], moves: bool) -> None:
    pod = {"metadata": {"name": "p", "namespace": "n", **metadata}, "spec": {}}
    assert bool(sort_out([pod], ALL_GO).evicted) == moves
