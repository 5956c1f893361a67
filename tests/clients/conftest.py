"""One control plane for all tests of foreign clients; what a machine lacks is a skip with the reason."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.clients.scenarios_run import Kept
from tests.support import Server, api_server, eventually


@pytest.fixture(name="server", scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with api_server(tmp_path_factory.mktemp("clients")) as server:
        eventually(lambda: server.get("/api/v1/namespaces/default/serviceaccounts/default")[0] == 200, within_s=60)
        yield server


@pytest.fixture(name="kept", scope="session")
def _kept() -> Kept:
    """Outcomes of scenarios that were already run, so that each client starts once."""
    return Kept()


@pytest.fixture(name="namespace")
def _namespace(server: Server) -> Iterator[str]:
    """A namespace of a test's own, with its service account."""
    from tests.clients.talk import delete, post

    name = f"c-{uuid.uuid4().hex[:8]}"
    post(server, "/api/v1/namespaces", {"metadata": {"name": name}})
    eventually(
        lambda: server.get(f"/api/v1/namespaces/{name}/serviceaccounts/default")[0] == 200,
        within_s=60,
        why="the default service account",
    )
    yield name
    delete(server, f"/api/v1/namespaces/{name}")
