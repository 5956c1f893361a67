"""The kinds outside core, apps and batch against what a real API server answered, without a server in between.

Each recorded creation is decoded, defaulted and prepared as the registry would do it; what the request's user and the
registry add to the real answer is taken out before comparing. Skipped where the corpus is not beside the clone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgekube.api import table
from edgekube.api.kind import Kind
from edgekube.api.meta import Time
from edgekube.api.rules import invalid_object
from edgekube.kinds.catalog import built_in

CORPUS = Path(__file__).parents[4] / "shared" / "golden" / "corpus"
OTHERS = ("", "apps", "batch")
NOW = "2026-01-02T03:04:05Z"
KINDS = {(kind.api_version, kind.name): kind for kind in built_in() if kind.group not in OTHERS}
NEEDS = {  # cases whose answer needs what kinds alone do not have
    "review-selfsubjectaccess": "an authorizer",
    "review-selfsubjectreview": "a user",
    "vap-expression-type": "a CEL compiler",
    "vwc-matchcondition-bad": "a CEL compiler",
    "crd-cel-bad": "a CEL compiler",
    "lease-time-bad": "the decoder",
}

pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="../shared/golden is not beside the clone")


def load(path: Path) -> dict[str, Any]:
    """A case with its run's names filled in."""
    case: dict[str, Any] = json.loads(path.read_text().replace("${id}", "x1").replace("${ns}", "space"))
    return case


def kind_of(body: Any) -> Kind[Any] | None:
    """Our kind of a request body, if it is one of ours."""
    return KINDS.get((body.get("apiVersion"), body.get("kind"))) if isinstance(body, dict) else None


def cases(area: str) -> list[Any]:
    """The cases of an area whose first creation is of one of our kinds."""
    found = []
    for path in sorted((CORPUS / area).glob("*.json")):
        if path.stem not in NEEDS and kind_of((creation(load(path)) or {}).get("body")) is not None:
            found.append(pytest.param(path, id=path.stem))
    return found


def creation(case: dict[str, Any]) -> dict[str, Any] | None:
    """The first step that creates something."""
    steps = [*case.get("setup", ()), *case["steps"]]
    return next((step for step in steps if step.get("method") == "POST"), None)


def without_nulls(value: Any) -> Any:
    """Absent and null members mean the same."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def made(kind: Kind[Any], body: dict[str, Any]) -> Any:
    """What the registry has in hand before admission."""
    item = kind.from_dict(without_nulls(body))
    kind.default(item)
    if kind.has_status and not kind.keeps_status_on_create:
        item.status = type(item.status)()
    item.metadata.creation_timestamp = Time(NOW)
    if kind.namespaced:
        item.metadata.namespace = item.metadata.namespace or "space"
    kind.prepare_create(item)
    return item


SERVER_SET = ("uid", "creationTimestamp", "resourceVersion", "managedFields", "generation")


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """An object without what the registry adds, and without who asked."""
    document = json.loads(json.dumps(without_nulls(document)).replace(NOW, "<<time>>"))
    for name in SERVER_SET:
        document["metadata"].pop(name, None)
    if document["kind"] == "CertificateSigningRequest":
        for name in ("username", "groups", "uid", "extra", "request"):
            document["spec"].pop(name, None)
    return document


@pytest.mark.parametrize("path", cases("02-defaulting"))
def test_a_new_object_gets_the_recorded_defaults(path: Path) -> None:
    step = creation(load(path))
    assert step is not None
    kind = kind_of(step["body"])
    assert kind is not None
    document = kind.to_dict(made(kind, step["body"]))
    expected = step["response"]["body"]
    assert comparable(document) == comparable(expected)
    assert kind.generation is ("generation" in expected["metadata"])


def masked(cell: Any, position: int, step: dict[str, Any], case: dict[str, Any]) -> Any:
    """A cell as the recording shows it: ages and the like replaced."""
    if any(mask in (step.get("mask") or ()) for mask in (f"/rows/*/cells/{position}", f"/rows/0/cells/{position}")):
        return "<<any>>"
    if isinstance(cell, str):
        for pattern, replacement in case.get("subst", ()):
            cell = re.sub(pattern, replacement, cell)
        cell = cell.replace(NOW, "<<time>>")
    return cell


@pytest.mark.parametrize("path", cases("07-tables"))
def test_a_new_object_has_the_recorded_table(path: Path) -> None:
    case = load(path)
    step = creation(case)
    assert step is not None
    kind = kind_of(step["body"])
    assert kind is not None
    shown = [one for one in case["steps"] if (one.get("response", {}).get("body") or {}).get("kind") == "Table"]
    for one in shown:
        expected = one["response"]["body"]
        if len(expected["rows"]) != 1 or kind.plural not in one["path"]:
            continue
        rendered = table.render(kind, [made(kind, step["body"])], NOW)
        assert rendered["columnDefinitions"] == expected["columnDefinitions"]
        cells = [masked(cell, at, one, case) for at, cell in enumerate(rendered["rows"][0]["cells"])]
        recorded = ["<<any>>" if cell == "<<any>>" else cell for cell in expected["rows"][0]["cells"]]
        assert [
            ("<<any>>" if want == "<<any>>" else cell) for cell, want in zip(cells, recorded, strict=True)
        ] == recorded


def normal(text: str) -> str:
    """Messages without the addresses that the recorder masked."""
    return re.sub(r"(?<![\w.])10\.\d+\.\d+\.\d+", "<<ip>>", text)


@pytest.mark.parametrize("path", cases("03-validation"))
def test_a_broken_object_is_refused_in_the_recorded_words(path: Path) -> None:
    step = creation(load(path))
    assert step is not None
    kind = kind_of(step["body"])
    assert kind is not None
    item = made(kind, step["body"])
    error = invalid_object(kind.name, kind.group, item.metadata.name, kind.rules(item))
    expected = step["response"]["body"]
    causes = sorted((cause.reason, cause.field, normal(cause.message)) for cause in error.causes)
    recorded = sorted((one["reason"], one["field"], normal(one["message"])) for one in expected["details"]["causes"])
    assert causes == recorded
    assert normal(str(error)) == normal(expected["message"])


def definitions() -> list[Any]:
    """Every recorded creation of a custom resource definition, but for those that only a CEL compiler can judge."""
    found = []
    for path in sorted((CORPUS / "11-crds").glob("*.json")):
        case = load(path)
        for number, step in enumerate([*case.get("setup", ()), *case["steps"]]):
            body = step.get("body")
            posted = step.get("method") == "POST" and isinstance(body, dict)
            if posted and body.get("kind") == "CustomResourceDefinition" and not path.stem.startswith("cel-"):
                found.append(pytest.param(step, id=f"{path.stem}-{number}"))
    return found


@pytest.mark.parametrize("step", definitions())
def test_a_definition_is_taken_or_refused_as_recorded(step: dict[str, Any]) -> None:
    kind = KINDS["apiextensions.k8s.io/v1", "CustomResourceDefinition"]
    item = made(kind, step["body"])
    causes = (((step.get("response") or {}).get("body") or {}).get("details") or {}).get("causes") or ()
    named = [one for one in causes if "RFC 1123" not in one["message"]]  # the name as such is the registry's
    expected = sorted((one["reason"], one["field"], one["message"]) for one in named)
    found = [error.to_cause() for error in kind.rules(item)]
    assert sorted((cause.reason, cause.field, cause.message) for cause in found) == expected
