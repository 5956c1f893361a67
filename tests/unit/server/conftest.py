"""A fresh server for each test."""

from __future__ import annotations

import pytest

from tests.server_harness import Api


@pytest.fixture
async def api() -> Api:
    """Bootstrapped, everybody its administrator."""
    made = Api()
    await made.server.bootstrap()
    return made
