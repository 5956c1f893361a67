"""A real operator, written with kopf, against our control plane: create, update, resume, timers, daemons, finalizer, events."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients import installed
from tests.clients.scenarios_run import HERE
from tests.clients.talk import call, delete, get, patch, post
from tests.support import Server, eventually

pytestmark = pytest.mark.slow
WITHIN_S = 120  # a loaded machine takes tens of seconds to start an operator


@contextmanager
def operator(server: Server, namespace: str, group: str, scratch: Path) -> Iterator[Path]:
    """The operator while it runs; its log."""
    log = scratch / "kopf.log"
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "LAMP_GROUP": group, "HOME": str(scratch)}
    environment.pop("PYTHONPATH", None)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(installed.python()), "-m", "kopf", "run", "--standalone", "-n", namespace, "--verbose",
             str(HERE / "operator_of_kopf.py")],
            env=environment, stdout=output, stderr=output, cwd=scratch,
        )  # fmt: skip
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(name="group")
def _group(server: Server, namespace: str) -> Iterator[str]:
    try:
        installed.python()
    except installed.Missing as why:
        pytest.skip(str(why))
    group = f"{namespace}.example.test"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    post(server, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
        "metadata": {"name": f"lamps.{group}"}, "spec": {"group": group, "scope": "Namespaced",
        "names": {"plural": "lamps", "singular": "lamp", "kind": "Lamp"}, "versions": [version]}})  # fmt: skip
    eventually(lambda: get(server, f"/apis/{group}/v1") is not None, within_s=WITHIN_S, why="the new group")
    yield group
    delete(server, f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lamps.{group}")


def test_an_operator_lives_through_create_update_restart_and_delete(
    server: Server, namespace: str, group: str, tmp_path: Path
) -> None:
    lamps, maps = f"/apis/{group}/v1/namespaces/{namespace}/lamps", f"/api/v1/namespaces/{namespace}/configmaps"

    def lamp() -> Any:
        return get(server, f"{lamps}/one") or {"metadata": {}, "status": {}}

    def named(start: str) -> list[str]:
        return [
            one["metadata"]["name"] for one in get(server, maps)["items"] if one["metadata"]["name"].startswith(start)
        ]

    with operator(server, namespace, group, tmp_path) as log:

        def wait(what: Any, why: str) -> Any:
            return eventually(what, within_s=WITHIN_S, why=f"{why}\n{log.read_text()[-3000:]}")

        body = {"apiVersion": f"{group}/v1", "kind": "Lamp", "metadata": {"name": "one"}, "spec": {"colour": "red"}}
        post(server, lamps, body)
        wait(lambda: lamp().get("status", {}).get("made") == {"child": "one"}, "the create handler's result")
        assert lamp()["metadata"]["finalizers"] == [f"{group}/kopf"]
        child = get(server, f"{maps}/one")
        assert child["data"] == {"colour": "red"}
        assert child["metadata"]["ownerReferences"][0]["kind"] == "Lamp"
        events = f"/api/v1/namespaces/{namespace}/events?fieldSelector=reason=Lit"
        wait(lambda: get(server, events)["items"], "the posted event")
        assert get(server, events)["items"][0]["message"] == "shines red"
        wait(lambda: named("one-glows-"), "the daemon")
        wait(lambda: lamp()["status"].get("ticks", 0) >= 2, "the timer")
        patch(server, f"{lamps}/one", {"spec": {"colour": "blue"}})
        wait(lambda: get(server, f"{maps}/one")["data"] == {"colour": "blue", "before": "red"}, "the update handler")
        post(server, maps, {"metadata": {"name": "switch", "labels": {"lamp": "switch"}}})
        wait(lambda: get(server, f"{maps}/switch")["metadata"].get("annotations"), "the event handler")

    before = lamp()["status"].get("resumed", 0)
    patch(server, f"{lamps}/one", {"spec": {"colour": "green"}})
    with operator(server, namespace, group, tmp_path):
        wait(lambda: lamp()["status"].get("resumed", 0) > before, "the resume handler")
        wait(lambda: get(server, f"{maps}/one")["data"]["colour"] == "green", "what changed while it was away")
        code, answer = call(server, "DELETE", f"{lamps}/one")
        assert code == 200
        assert answer["metadata"]["deletionTimestamp"], "a finalizer holds it"
        wait(lambda: get(server, f"{lamps}/one") is None, "the deletion")
        assert named("one-was-here") == ["one-was-here"]
        wait(lambda: get(server, f"{maps}/one") is None, "the adopted child to be collected")
