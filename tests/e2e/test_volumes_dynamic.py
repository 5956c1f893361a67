"""Claims that name no class get a directory of the node's disk, and keep or lose it as their volume's policy says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.e2e.conftest import IMAGE, Space
from tests.support import eventually

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 10Mi}}}}
"""


def _claimed(space: Space, name: str) -> None:
    eventually(lambda: space.raw("get", "storageclass", "local-path").returncode == 0, why="the default class")
    space.apply(CLAIM.format(name=name))


def _using(name: str) -> str:
    return f"volumes: [{{name: data, persistentVolumeClaim: {{claimName: {name}}}}}]"


MOUNTED = "volumeMounts: [{name: data, mountPath: /data}]"


def _volume_of(space: Space, claim: str) -> Any:
    def bound() -> Any:
        found = space.json("get", "pvc", claim)
        return found["status"].get("phase") == "Bound" and found["spec"]["volumeName"]

    return space.json("get", "pv", eventually(bound, within_s=60, why=f"claim {claim} Bound"))


def _reasons(space: Space, claim: str) -> set[str]:
    events = space.json("get", "events", f"--field-selector=involvedObject.name={claim}")["items"]
    return {event["reason"] for event in events}


def test_a_claim_without_a_class_is_bound_on_first_use_and_its_data_goes_with_it(space: Space) -> None:
    _claimed(space, "data")
    eventually(lambda: "WaitForFirstConsumer" in _reasons(space, "data"), within_s=60, why="the claim waits")
    claim = space.json("get", "pvc", "data")
    assert claim["spec"]["storageClassName"] == "local-path"
    assert claim["status"]["phase"] == "Pending"
    space.pod("writer", "echo kept > /data/file; sleep 3600", spec=_using("data"), container=MOUNTED)
    volume = _volume_of(space, "data")
    directory = Path(volume["spec"]["local"]["path"])
    assert directory == space.server.directory / "data/volumes" / directory.name
    assert directory.name == f"{volume['metadata']['name']}_{space.name}_data"
    assert (directory / "file").read_text() == "kept\n"
    assert directory.stat().st_mode & 0o777 == 0o777
    eventually(lambda: "ProvisioningSucceeded" in _reasons(space, "data"), within_s=60, why="the event of success")

    space.kubectl("delete", "pod", "writer")
    space.pod("reader", "cat /data/file; sleep 3600", spec=_using("data"), container=MOUNTED)
    assert space.logs("reader") == "kept\n"

    space.exec("reader", "ln", "-s", "/etc", "/data/elsewhere")
    space.kubectl("delete", "pvc", "data", "--wait=false")
    assert directory.exists(), "a claim in use keeps its data"
    space.kubectl("delete", "pod", "reader")
    eventually(lambda: not directory.exists(), within_s=60, why="the directory is gone")
    gone = lambda: space.raw("get", "pv", volume["metadata"]["name"]).returncode != 0  # noqa: E731
    eventually(gone, within_s=60, why="the volume is gone")
    assert Path("/etc/passwd").exists()


def test_a_volume_that_is_to_be_retained_keeps_its_data(space: Space) -> None:
    _claimed(space, "dear")
    group = "securityContext: {fsGroup: 4711}\n"
    space.pod("writer", "echo dear > /data/file; sleep 3600", spec=group + _using("dear"), container=MOUNTED)
    volume = _volume_of(space, "dear")
    name, directory = volume["metadata"]["name"], Path(volume["spec"]["local"]["path"])
    assert (directory / "file").stat().st_gid == 4711
    space.kubectl("patch", "pv", name, "-p", '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}')
    space.kubectl("delete", "pod", "writer")
    space.kubectl("delete", "pvc", "dear")
    released = lambda: space.json("get", "pv", name)["status"]["phase"] == "Released"  # noqa: E731
    eventually(released, within_s=60, why="Released")
    space.kubectl("delete", "pv", name)
    assert (directory / "file").read_text() == "dear\n"


def test_a_stateful_set_finds_its_data_again(space: Space) -> None:
    space.apply(f"""
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: main, image: {IMAGE}, command: [sh, -c, 'echo started >> /data/log; sleep 3600'],
         volumeMounts: [{{name: data, mountPath: /data}}]}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
""")
    eventually(lambda: space.raw("get", "pod", "db-0").returncode == 0, within_s=60, why="the first pod")
    space.wait_ready("db-0")
    first = space.json("get", "pod", "db-0")
    space.kubectl("delete", "pod", "db-0")

    def again() -> bool:
        found = space.raw("get", "pod", "db-0", "-o", "jsonpath={.metadata.uid} {.status.phase}").stdout.split()
        return len(found) == 2 and found[0] != first["metadata"]["uid"] and found[1] == "Running"

    eventually(again, within_s=60, why="the pod is back")
    assert space.json("get", "pod", "db-0")["spec"]["nodeName"] == first["spec"]["nodeName"]
    eventually(
        lambda: space.exec("db-0", "cat", "/data/log") == "started\nstarted\n", within_s=60, why="both lives' lines"
    )
