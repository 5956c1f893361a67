"""What a chart brings, applied as Helm and its likes do: big definitions of custom resources, server-side, then their objects.

The definitions are made here in the shape of those that certificate managers and monitoring operators ship: several versions,
status subresource, deep schemas with thousands of described fields, enums, patterns, int-or-string, lists keyed by name.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.clients import installed
from tests.clients.talk import get
from tests.support import Server, eventually, has

pytestmark = [pytest.mark.slow, pytest.mark.kubectl]
DEEP, WIDE = 4, 6
PROSE = (
    "What this field is for is told here at some length, as generated definitions do, so that it is large on the wire. "
)


def schema(depth: int) -> dict[str, Any]:
    """An object with scalars of every sort and, until `depth` is used up, further objects and keyed lists."""
    properties: dict[str, Any] = {
        "name": {"type": "string", "description": PROSE, "maxLength": 253, "pattern": "^[a-z0-9-]*$"},
        "mode": {"type": "string", "description": PROSE, "enum": ["Always", "Never"], "default": "Always"},
        "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "weight": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "since": {"type": "string", "format": "date-time", "nullable": True},
        "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    }
    if depth:
        for number in range(WIDE):
            properties[f"part{number}"] = schema(depth - 1) if number < 3 else {"type": "string", "description": PROSE}
        properties["items"] = {"type": "array", "items": {**schema(0), "required": ["name"]},
                               "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}  # fmt: skip
    return {"type": "object", "description": PROSE, "properties": properties}


def definition(group: str, plural: str, kind: str) -> dict[str, Any]:
    whole = {"type": "object", "required": ["spec"], "properties": {"spec": schema(DEEP), "status": schema(1)}}
    columns = [{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"},
               {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]  # fmt: skip
    versions = [
        {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": whole},
         "subresources": {"status": {}}, "additionalPrinterColumns": columns, "deprecated": name != "v1"}
        for name in ("v1alpha2", "v1")
    ]  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": {"group": group, "scope": "Namespaced", "versions": versions, "names": {
            "plural": plural, "singular": plural[:-1], "kind": kind, "listKind": f"{kind}List", "categories": ["all"]}},
    }  # fmt: skip


def test_large_definitions_and_their_objects_are_applied_server_side(server: Server, namespace: str) -> None:
    if not has("kubectl"):
        pytest.skip("kubectl is not installed")
    group = f"{namespace}.example.test"
    shipped = [definition(group, "issuers", "Issuer"), definition(group, "orders", "Order")]
    text = "\n".join(json.dumps(one) for one in shipped)
    assert len(text) > 200_000
    for _ in range(2):  # an upgrade that changes nothing
        server.kubectl("apply", "--server-side", "-f", "-", stdin=text)
    for one in shipped:
        server.kubectl("wait", f"crd/{one['metadata']['name']}", "--for=condition=Established", "--timeout=60s")
    eventually(lambda: get(server, f"/apis/{group}/v1") is not None, within_s=60, why="the group in discovery")
    item = {"apiVersion": f"{group}/v1", "kind": "Issuer", "metadata": {"name": "one", "namespace": namespace},
            "spec": {"port": "http", "part0": {"part1": {"mode": "Never", "items": [{"name": "a"}]}}}}  # fmt: skip
    server.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(item))
    item["spec"] = {"part0": {"part1": {"items": [{"name": "b", "weight": 5}]}}}
    server.kubectl("apply", "--server-side", "--field-manager=second", "-f", "-", stdin=json.dumps(item))
    spec = server.json("-n", namespace, "get", f"issuers.{group}", "one")["spec"]
    assert (spec["mode"], spec["port"], spec["part0"]["mode"]) == ("Always", "http", "Always")
    assert [one["name"] for one in spec["part0"]["part1"]["items"]] == ["a", "b"]
    item["spec"] = {"part0": {"weight": 101}, "unknown": 1}
    refused = server.kubectl_raw("apply", "--server-side", "--field-manager=third", "-f", "-", stdin=json.dumps(item))
    assert refused.returncode == 1
    assert "unknown" in refused.stderr or "spec.part0.weight" in refused.stderr
    assert "one" in server.kubectl("-n", namespace, "get", "all")
    server.kubectl("delete", "crd", *(one["metadata"]["name"] for one in shipped))


def test_helm_installs_a_chart(server: Server, namespace: str, tmp_path: Any) -> None:
    if not has("helm"):
        pytest.skip("helm is not installed")
    subprocess.run(["helm", "create", "web"], cwd=tmp_path, check=True, capture_output=True)
    words = ["--kubeconfig", str(server.kubeconfig), "-n", namespace]
    for verb in ("install", "upgrade", "uninstall"):
        chart = [] if verb == "uninstall" else ["./web"]
        done = subprocess.run(
            ["helm", verb, "one", *chart, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_what_is_skipped_here_says_why() -> None:
    """A program that cannot be had is named, not passed over, and not asked for twice."""
    for _ in range(2):
        with pytest.raises(installed.Missing, match="no kubectl 1\\.1 on this machine"):
            installed.kubectl("1.1")
