"""OpenAPI documents, against the recorded facts where they lie beside the clone."""

import importlib.util
import json
import sys
from functools import cache
from pathlib import Path

import pytest

from edgekube.api import openapi
from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.kinds.catalog import SUBRESOURCE_KINDS, built_in

SHARED = Path(__file__).parents[4] / "shared"
CASES = sorted((SHARED / "golden" / "corpus" / "13-openapi").glob("*.json"))
needs_facts = pytest.mark.skipif(not CASES, reason="../shared is not beside the clone")
KUBE = "v1.36.0"


@cache
def v3(path):
    return openapi.v3_document(path, built_in(), SUBRESOURCE_KINDS, version=KUBE)


@cache
def v2():
    return openapi.v2_document(built_in(), SUBRESOURCE_KINDS, version=KUBE)


@cache
def golden():
    spec = importlib.util.spec_from_file_location("golden_replay", SHARED / "golden" / "golden.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_replay"] = module
    spec.loader.exec_module(module)
    return module


def without_recorder_slips(view):
    """The recorder took a parameter called `continue` for a continue token."""
    return json.loads(json.dumps(view).replace('"<<continue>>"', '"string"'))


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


def recorded_views():
    for case in CASES:
        for number, step in enumerate(json.loads(case.read_text())["steps"]):
            if "openapi" in step and step["path"].startswith("/openapi/"):
                yield pytest.param(step, id=f"{case.stem}-{number}")


@needs_facts
@pytest.mark.parametrize("step", list(recorded_views()))
def test_documents_have_the_recorded_digest(step):
    path = step["path"].removeprefix("/openapi/")
    document = v2() if path == "v2" else v3(path.removeprefix("v3/"))
    made = without_nulls(golden().openapi_view(document, step["openapi"]))
    assert made == without_recorder_slips(step["response"]["body"])


@needs_facts
def test_all_schemas_are_upstreams():
    recorded = json.loads((SHARED / "spec" / "openapi-definitions.json").read_text())
    made = {}
    for path in openapi.v3_paths(built_in()):
        made |= v3(path)["components"]["schemas"]
    digest = golden().openapi_schema

    def plain(schema):
        kept = {name: value for name, value in schema.items() if name != "x-kubernetes-group-version-kind"}
        for member in kept.get("properties", {}).values():
            for place in (member, member.get("items", {}), member.get("additionalProperties", {})):
                if isinstance(place.get("enum"), list):
                    del place["enum"]
        return kept

    assert set(made) == set(recorded)
    for name, schema in recorded.items():
        assert plain(digest(made[name])) == plain(digest(schema)), name


@needs_facts
def test_all_paths_are_upstreams():
    recorded = json.loads((SHARED / "spec" / "openapi-paths.json").read_text())
    shared = json.loads((SHARED / "spec" / "openapi-parameters.json").read_text())
    unserved = ("/apis/internal.apiserver.k8s.io/", "/apis/storagemigration.k8s.io/", "/logs/", "/logs/{logpath}")

    def parameters(item, operation):
        known = [*item.get("parameters", ()), *operation.get("parameters", ())]
        resolved = [shared[one["$ref"].split("/")[-1]] if "$ref" in one else one for one in known]
        return sorted((one["name"], one["in"], one.get("type"), one.get("required", False)) for one in resolved)

    made = v2()["paths"]
    assert set(made) == set(recorded) - set(unserved)
    for path, item in made.items():
        assert set(item) - {"parameters"} == set(recorded[path]) - {"parameters"}, path
        for method in set(item) - {"parameters"}:
            ours, theirs = item[method], recorded[path][method]
            assert parameters(item, ours) == parameters(recorded[path], theirs), (path, method)
            assert set(ours["responses"]) == set(theirs["responses"]), (path, method)
            for extension in ("x-kubernetes-action", "x-kubernetes-group-version-kind"):
                assert ours.get(extension) == theirs.get(extension), (path, method)


def test_there_is_no_document_for_what_is_not_served():
    assert v3("apis/nosuch.group/v1") is None
    assert v3("apis/apps/v9") is None
    assert v3("api/v2") is None
    assert v3("nonsense") is None


def test_the_index_names_each_document_with_its_hash():
    hashes = {path: openapi.pack(v3(path))[1] for path in ("api/v1", "apis/policy")}
    index = openapi.v3_index(hashes)["paths"]
    assert index["api/v1"]["serverRelativeURL"] == f"/openapi/v3/api/v1?hash={hashes['api/v1']}"
    assert hashes["api/v1"] != hashes["apis/policy"]


def test_every_reference_in_a_document_is_defined_in_it():
    def references(value):
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for name, member in value.items():
                if name != "$ref":
                    yield from references(member)
        elif isinstance(value, list):
            for member in value:
                yield from references(member)

    for path in openapi.v3_paths(built_in()):
        document = v3(path)
        names = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
        assert names <= set(document["components"]["schemas"]), path
    names = {reference.removeprefix("#/definitions/") for reference in references(v2())}
    assert names <= set(v2()["definitions"])


CRON = Kind(type=Object, group="stable.example.com", version="v1", name="CronTab", plural="crontabs", has_status=True)
CRON_SCHEMA = {
    "type": "object",
    "description": "Runs things.",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}},
                "size": {"type": "integer", "nullable": True},
                "names": {"type": "array", "items": {"type": "string", "oneOf": []}},
            },
        }
    },
}
CUSTOM = {"stable.example.com/v1/CronTab": CRON_SCHEMA}


def test_a_custom_kind_takes_part_with_the_schema_given():
    path = "apis/stable.example.com/v1"
    made = openapi.v3_document(path, [*built_in(), CRON], SUBRESOURCE_KINDS, version=KUBE, custom=CUSTOM)
    definition = made["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert definition["description"] == "Runs things."
    assert definition["properties"]["spec"] == CRON_SCHEMA["properties"]["spec"]
    assert set(definition["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    assert definition["x-kubernetes-group-version-kind"] == [
        {"group": "stable.example.com", "kind": "CronTab", "version": "v1"}
    ]
    patch = made["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert "com.example.stable.v1.CronTabList" in made["components"]["schemas"]
    assert "/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}/status" in made["paths"]


def test_a_custom_schema_loses_what_swagger_cannot_say():
    made = openapi.v2_document([*built_in(), CRON], SUBRESOURCE_KINDS, version=KUBE, custom=CUSTOM)
    definition = made["definitions"]["com.example.stable.v1.CronTab"]
    assert definition["properties"]["spec"]["properties"] == {
        "port": {"x-kubernetes-int-or-string": True},
        "free": {"x-kubernetes-preserve-unknown-fields": True},
        "size": {},
        "names": {"type": "array", "items": {"type": "string"}},
    }
    assert (
        definition["properties"]["metadata"]["$ref"] == "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    )


def test_a_custom_kind_without_a_schema_may_hold_anything():
    path = "apis/stable.example.com/v1"
    made = openapi.v3_document(path, [*built_in(), CRON], SUBRESOURCE_KINDS, version=KUBE)
    definition = made["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert definition["x-kubernetes-preserve-unknown-fields"] is True
