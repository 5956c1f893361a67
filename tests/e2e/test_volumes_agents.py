"""A volume on another machine's disk: made there, kept while that machine is away, and removed when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machines import IMAGE, Site
from tests.support import eventually

MANIFEST = f"""
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 10Mi}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: writer}}
spec:
  nodeSelector: {{kubernetes.io/hostname: gw2}}
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: main, image: {IMAGE}, command: [sh, -c, 'echo kept > /data/file; sleep 3600'],
     volumeMounts: [{{name: data, mountPath: /data}}]}}
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
"""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("volumes")) as site:
        site.machine("gw1").start_server()
        site.join(site.machine("gw2"))
        yield site


def test_the_machine_that_has_the_data_removes_it_even_if_it_was_away(site: Site) -> None:
    server, edge = site.machines["gw1"], site.machines["gw2"]

    def soon(true: Any, why: str) -> Any:
        return eventually(true, within_s=90, every_s=0.3, why=why)

    soon(lambda: server.json("get", "storageclasses")["items"], "the default class")
    server.kubectl("apply", "-f", "-", stdin=MANIFEST)
    server.kubectl("wait", "--for=condition=Ready", "pod/writer", "--timeout=60s")
    (volume,) = server.json("get", "pv")["items"]
    directory = Path(volume["spec"]["local"]["path"])
    assert str(directory).startswith(str(edge.directory))
    assert (directory / "file").read_text() == "kept\n"

    site.cut(server, edge)
    server.kubectl("delete", "pod", "writer", "--force", "--grace-period=0")
    server.kubectl("delete", "pvc", "data", "--wait=false")
    released = lambda: server.json("get", "pv")["items"][0]["status"]["phase"] == "Released"  # noqa: E731
    soon(released, "the volume is released")
    assert (directory / "file").exists()

    site.heal(server, edge)
    soon(lambda: not directory.exists(), "the directory is gone")
    soon(lambda: not server.json("get", "pv")["items"], "the volume is gone")
