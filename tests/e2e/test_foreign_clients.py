"""Exec through clients that nobody here wrote: each speaks the web socket protocol in its own way."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.clients import installed
from tests.clients.scenarios_run import HERE, names_of, run_pytest
from tests.e2e.conftest import Space


def test_python_clients_run_commands_in_a_pod(space: Space, tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        installed.python()
    except installed.Missing as why:
        pytest.skip(str(why))
    space.pod("shell", "echo started; sleep 3600")
    scratch = tmp_path_factory.mktemp("exec")
    outcomes = run_pytest(
        ["--confcutdir", HERE, HERE / "exec_clients.py"],
        space.server.kubeconfig,
        scratch,
        NAMESPACE=space.name,
        POD="shell",
    )
    wrong = {name: outcome.text for name, outcome in outcomes.items() if outcome.result != "passed"}
    assert wrong == {}
    assert set(outcomes) == set(names_of("exec_clients.py"))


def test_the_javascript_client_runs_a_command_in_a_pod(space: Space) -> None:
    try:
        place = installed.node_modules()
    except installed.Missing as why:
        pytest.skip(str(why))
    space.pod("shell")
    environment = {**os.environ, "CLIENT_NODE_PLACE": str(place), "NAMESPACE": space.name, "POD": "shell",
                   "KUBECONFIG": str(space.server.kubeconfig)}  # fmt: skip
    done = subprocess.run(
        ["node", str(HERE / "node_client.mjs")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
