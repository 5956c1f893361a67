"""A fresh server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.server_harness import Api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Bootstrapped, everybody its administrator."""
    made = Api()
    await made.server.bootstrap()
    yield made
    await made.server.reach.aclose()
