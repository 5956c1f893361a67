"""`@kubernetes/client-node` against our control plane: list, write, watch, informer, object API."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.clients import installed
from tests.clients.scenarios_run import HERE
from tests.support import Server

pytestmark = pytest.mark.slow


def test_the_javascript_client_lists_writes_watches_and_informs(server: Server, namespace: str) -> None:
    try:
        place = installed.node_modules()
    except installed.Missing as why:
        pytest.skip(str(why))
    environment = {**os.environ, "CLIENT_NODE_PLACE": str(place), "NAMESPACE": namespace,
                   "KUBECONFIG": str(server.kubeconfig)}  # fmt: skip
    done = subprocess.run(
        ["node", str(HERE / "node_client.mjs")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[:-1] == [
        f"passed {step}" for step in ("listsAndWrites", "watches", "informs", "applies")
    ]
