"""The official Python client, lightkube and kr8s against a control plane, each scenario a test of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.scenarios_run import Kept, judge, names_of
from tests.support import Server

pytestmark = pytest.mark.slow

SCENARIOS = [
    (file, name)
    for file in ("official_client.py", "lightkube_client.py", "kr8s_client.py")
    for name in names_of(file)
]  # fmt: skip


@pytest.mark.parametrize(("file", "name"), SCENARIOS)
def test_scenario(server: Server, kept: Kept, tmp_path_factory: pytest.TempPathFactory, file: str, name: str) -> None:
    judge(kept, file, name, server.kubeconfig, tmp_path_factory.getbasetemp() / Path(file).stem)
