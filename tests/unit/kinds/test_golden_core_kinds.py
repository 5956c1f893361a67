"""The kinds of core, apps and batch against what a real API server answered, without a server in between.

Each recorded creation is decoded, defaulted and prepared as the registry would do it; what admission adds to the real answer
(addresses, tolerations, the token volume, ...) is taken out of it before comparing. Skipped where the corpus is not at hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgekube.api.kind import Kind
from edgekube.api.meta import Time
from edgekube.api.table import definitions
from edgekube.kinds.catalog import built_in

CORPUS = Path(__file__).parents[4] / "shared" / "golden" / "corpus"
GROUPS = ("", "apps", "batch")
NOW = "2026-01-02T03:04:05Z"
UID = "11111111-1111-1111-1111-111111111111"
ANY_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
KINDS = {(kind.api_version, kind.name): kind for kind in built_in() if kind.group in GROUPS}
NOT_OURS = ("event-both-apis", "table-event-v1-min")  # events.k8s.io has its own rules

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason="the recorded corpus is not beside this checkout")


def load(path: Path) -> dict[str, Any]:
    """A case with its run's names filled in."""
    text = path.read_text().replace("${id}", "x1").replace("${ns}", "space").replace("<<uid:1>>", UID)
    pads = re.sub(r"\$\{pad:(\d+)\}", lambda found: "x" * int(found[1]), text)
    case: dict[str, Any] = json.loads(pads)
    return case


def kind_of(body: Any) -> Kind[Any] | None:
    """Our kind of a request body, if it is one of ours."""
    return KINDS.get((body.get("apiVersion"), body.get("kind"))) if isinstance(body, dict) else None


def cases(area: str) -> list[Any]:
    """The cases of an area whose first step creates one of our objects."""
    found = []
    for path in sorted((CORPUS / area).glob("*.json")):
        first = next((step for step in load(path)["steps"] if step.get("method") == "POST"), None)
        if first is not None and kind_of(first.get("body")) is not None and path.stem not in NOT_OURS:
            found.append(pytest.param(path, id=path.stem))
    return found


def without_nulls(value: Any) -> Any:
    """Absent and null members mean the same."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def made(kind: Kind[Any], body: dict[str, Any]) -> Any:
    """What the registry has in hand before admission."""
    item = kind.from_dict(without_nulls(body))
    kind.default(item)
    item.metadata.uid = UID
    item.metadata.creation_timestamp = Time(NOW)
    item.metadata.name = item.metadata.name or f"{item.metadata.generate_name}abcde"
    if kind.namespaced:
        item.metadata.namespace = item.metadata.namespace or "space"
    kind.prepare_create(item)
    return item


SERVER_SET = ("uid", "creationTimestamp", "resourceVersion", "managedFields", "generation", "finalizers")
ADMISSION = {
    "Pod": ("serviceAccount", "serviceAccountName", "priority", "preemptionPolicy", "tolerations"),
    "Service": ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"),
}


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """An object without what the registry and admission add to it."""
    document = json.loads(ANY_UID.sub(UID, json.dumps(without_nulls(document)).replace(NOW, "<<time>>")))
    for name in SERVER_SET:
        document["metadata"].pop(name, None)
    if "generateName" in document["metadata"]:
        document["metadata"].pop("name")
    spec = document.get("spec", {})
    for name in ADMISSION.get(document["kind"], ()):
        spec.pop(name, None)
    for port in spec.get("ports", ()) if document["kind"] == "Service" else ():
        port.pop("nodePort", None)
    if document["kind"] == "Node":
        spec["taints"] = [one for one in spec.get("taints", []) if one["key"] != "node.kubernetes.io/not-ready"]
    if document["kind"] == "Pod":
        spec["volumes"] = [one for one in spec.get("volumes", []) if "kube-api-access" not in one["name"]]
        for container in spec["containers"]:
            mounts = container.get("volumeMounts", [])
            container["volumeMounts"] = [one for one in mounts if "kube-api-access" not in one["name"]]
    return document


@needs_corpus
@pytest.mark.parametrize("path", cases("02-defaulting"))
def test_a_new_object_gets_the_recorded_defaults(path: Path) -> None:
    """Defaults and preparation together give the recorded object."""
    step = load(path)["steps"][0]
    kind = kind_of(step["body"])
    assert kind is not None
    document = kind.to_dict(made(kind, step["body"]))
    assert comparable(document) == comparable(step["response"]["body"])


def masked(cell: Any, position: int, step: dict[str, Any], case: dict[str, Any]) -> Any:
    """A cell as the recording shows it: ages and the like replaced."""
    if f"/rows/*/cells/{position}" in (step.get("mask") or ()):
        return "<<any>>"
    if isinstance(cell, str):
        for pattern, replacement in case.get("subst", ()):
            cell = re.sub(pattern, re.sub(r"\$(\d)", r"\\\1", replacement), cell)
        cell = cell.replace(NOW, "<<time>>")
    return cell


@needs_corpus
@pytest.mark.parametrize("path", cases("07-tables"))
def test_a_new_object_has_the_recorded_table_cells(path: Path) -> None:
    """Column heads and cells are the recorded ones."""
    case = load(path)
    creation = next(step for step in case.get("setup", []) + case["steps"] if kind_of(step.get("body")))
    kind = kind_of(creation["body"])
    assert kind is not None
    for step in case["steps"]:
        table = (step.get("response") or {}).get("body")
        if not isinstance(table, dict) or table.get("kind") != "Table" or not kind.columns:
            continue
        assert definitions(kind.columns) == table["columnDefinitions"]
        if len(table["rows"]) != 1 or sum(kind_of(one.get("body")) is kind for one in case["steps"]) != 1:
            continue
        item = made(kind, creation["body"])
        cells = [column.value(item, NOW) for column in kind.columns]
        assert {type(cell) for cell in cells} <= {str, int}  # nothing an encoder would have to be told about
        if kind.name == "Service" and cells[2] == "<none>":
            cells[2] = "CLUSTERIP"  # allocated by admission
        if kind.name == "Service" and item.spec.type == "LoadBalancer":
            cells[4] = "80:NODEPORT/TCP"
        assert [masked(cell, at, step, case) for at, cell in enumerate(cells)] == table["rows"][0]["cells"]


ALLOCATED = {"spec.healthCheckNodePort", "spec.ports[0].nodePort"}  # judged by the allocator


def causes_of(status: dict[str, Any]) -> list[tuple[str, str]]:
    """(reason, field) of every recorded cause that is not about metadata, which the registry judges."""
    found = [(one.get("reason", ""), one.get("field", "")) for one in status.get("details", {}).get("causes", [])]
    return sorted(one for one in found if not one[1].startswith("metadata.") or one[1].startswith(OUR_METADATA))


OUR_METADATA = ("metadata.taints", "metadata.annotations[")


def judged(kind: Kind[Any], body: dict[str, Any]) -> tuple[list[tuple[str, str]], list[str]]:
    """(the causes our rules give, their texts)."""
    item = made(kind, body)
    item.metadata.resource_version = ""
    if kind.name == "Pod":
        item.spec.service_account_name = item.spec.service_account_name or "default"
    broken = kind.rules(item)
    return sorted((one.reason, one.field) for one in broken), sorted({str(one) for one in broken})


@needs_corpus
@pytest.mark.parametrize("path", cases("03-validation"))
def test_a_bad_object_is_refused_for_the_recorded_causes(path: Path) -> None:
    """The multiset of causes is the recorded one, and so are the words."""
    step = load(path)["steps"][0]
    kind = kind_of(step["body"])
    recorded = step["response"]["body"]
    if kind is None or step["response"]["status"] not in (201, 422):
        pytest.skip("refused before the rules of its kind are asked")
    expected = causes_of(recorded) if step["response"]["status"] == 422 else []
    expected = [one for one in expected if one[1] not in ALLOCATED or "healthcheck-without-local" in path.stem]
    causes, texts = judged(kind, step["body"])
    assert causes == expected
    message = recorded.get("message", "").replace("<<ip>>", "10.9.8.7", 1)
    for text in texts:
        assert same_but_for_addresses(text) in same_but_for_addresses(message)


def same_but_for_addresses(text: str) -> str:
    """Addresses in recorded messages are placeholders."""
    return re.sub(r"<<ip>>|10(\.\d+){3}", "IP", text)
