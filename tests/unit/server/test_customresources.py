"""Custom resources come with their definition, act like built-in ones, and go with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from edgekube.api import jsonpath
from tests.server_harness import APPLY, JSON_PATCH, MERGE, STRATEGIC, Api

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.org/v1/namespaces/default/widgets"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
SPEC = {
    "type": "object",
    "required": ["color"],
    "properties": {
        "color": {"type": "string", "enum": ["red", "blue"]},
        "replicas": {"type": "integer", "default": 1, "minimum": 0},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"spec": SPEC, "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}},
}


def version(name: str = "v1", **members: Any) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": name == "v1",
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
        "selectableFields": [{"jsonPath": ".spec.color"}],
    } | members


def definition(plural: str = "widgets", *versions: dict[str, Any], **names: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural[:-1].title(), "shortNames": ["wd"]} | names,
            "versions": list(versions) or [version()],
        },
    }


def widget(name: str = "a", api_version: str = "v1", **spec: Any) -> dict[str, Any]:
    made = {"apiVersion": f"example.org/{api_version}", "kind": "Widget", "metadata": {"name": name}}
    return made | {"spec": {"color": "red"} | spec}


async def until(api: Api, path: str, holds: Callable[[int, Any], bool]) -> Any:
    """The document at a path once it is as wanted."""
    with trio.fail_after(5):
        while True:
            found = await api.ask("GET", path)
            if found.status == 404 and holds(404, None):
                return None
            if found.status == 200 and holds(200, found.document):
                return found.document
            await trio.testing.wait_all_tasks_blocked()


def established(_: int, document: Any) -> bool:
    conditions = (document or {}).get("status", {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def gone(status: int, _: Any) -> bool:
    return status == 404


Define = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def following(api: Api) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(api.server.custom.run)
        yield
        nursery.cancel_scope.cancel()


async def define(api: Api, *args: Any, **names: Any) -> Any:
    made = await api.good("POST", CRDS, definition(*args, **names))
    return await until(api, f"{CRDS}/{made['metadata']['name']}", established)


async def test_a_definition_is_established_with_its_names(api: Api) -> None:
    async with following(api):
        status = (await define(api))["status"]
        assert [(one["type"], one["reason"]) for one in status["conditions"]] == [
            ("NamesAccepted", "NoConflicts"),
            ("Established", "InitialNamesAccepted"),
        ]
        assert status["acceptedNames"]["shortNames"] == ["wd"]
        assert status["storedVersions"] == ["v1"]
        listed = await api.good("GET", "/apis/example.org/v1")
        assert [one["name"] for one in listed["resources"]] == ["widgets", "widgets/status", "widgets/scale"]


async def test_objects_are_defaulted_pruned_and_checked(api: Api) -> None:
    async with following(api):
        await define(api)
        made = await api.ask("POST", WIDGETS, widget(odd=1) | {"status": {"replicas": 9}})
        assert made.status == 201
        assert made.document["spec"] == {"color": "red", "replicas": 1}
        assert "status" not in made.document
        assert 'unknown field \\"spec.odd\\"' in made.header("warning")
        assert made.document["metadata"]["generation"] == 1
        status, words = await api.refused("POST", WIDGETS, widget("b", color="green"))
        assert status == 422
        assert words == (
            'Widget.example.org "b" is invalid: spec.color: Unsupported value: "green": supported values: "red", "blue"'
        )
        status, words = await api.refused("POST", f"{WIDGETS}?fieldValidation=Strict", widget("b", odd=1))
        assert (status, 'unknown field "spec.odd"' in words) == (400, True)


async def test_wrong_values_may_stay_while_others_change(api: Api) -> None:
    async with following(api):
        await define(api)
        await api.good("POST", WIDGETS, widget(color="blue"))
        narrow = {**SPEC, "properties": {**SPEC["properties"], "color": {"type": "string", "enum": ["red"]}}}  # type: ignore[dict-item]
        schema = {"openAPIV3Schema": {**SCHEMA, "properties": {"spec": narrow}}}
        await api.good("PATCH", f"{CRDS}/widgets.example.org", {"spec": {"versions": [version(schema=schema)]}}, MERGE)
        await trio.testing.wait_all_tasks_blocked()
        changed = await api.good("PATCH", f"{WIDGETS}/a", {"spec": {"replicas": 2}}, MERGE)
        assert changed["spec"] == {"color": "blue", "replicas": 2}
        assert (await api.refused("POST", WIDGETS, widget("b", color="blue")))[0] == 422


@pytest.mark.parametrize(
    ("media", "patch"),
    [
        (MERGE, {"spec": {"color": "blue"}}),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/color", "value": "blue"}]),
        (APPLY, widget(color="blue")),
    ],
)
async def test_patches(api: Api, media: str, patch: Any) -> None:
    async with following(api):
        await define(api)
        await api.good("POST", WIDGETS, widget())
        changed = await api.good("PATCH", f"{WIDGETS}/a?fieldManager=x{'&force=true' * (media == APPLY)}", patch, media)
        assert (changed["spec"]["color"], changed["metadata"]["generation"]) == ("blue", 2)
        owners = {one["manager"]: one["fieldsV1"] for one in changed["metadata"]["managedFields"]}
        assert owners["x"]["f:spec"]["f:color"] == {}


async def test_there_is_no_strategic_merge(api: Api) -> None:
    async with following(api):
        await define(api)
        await api.good("POST", WIDGETS, widget())
        assert (await api.refused("PATCH", f"{WIDGETS}/a", {}, STRATEGIC))[0] == 415


async def test_status_and_scale_are_apart(api: Api) -> None:
    async with following(api):
        await define(api)
        await api.good("POST", WIDGETS, widget())
        told = {"status": {"replicas": 2}, "spec": {"replicas": 7}, "metadata": {"labels": {"a": "b"}}}
        made = await api.good("PATCH", f"{WIDGETS}/a/status", told, MERGE)
        assert (made["spec"]["replicas"], made["status"]) == (1, {"replicas": 2})
        assert "labels" not in made["metadata"]
        assert made["metadata"]["generation"] == 1
        scale = await api.good("GET", f"{WIDGETS}/a/scale")
        assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 2})
        await api.good("PATCH", f"{WIDGETS}/a/scale", {"spec": {"replicas": 5}}, MERGE)
        assert (await api.good("GET", f"{WIDGETS}/a"))["spec"] == {"color": "red", "replicas": 5}


async def test_columns_and_selectable_fields(api: Api) -> None:
    async with following(api):
        await define(api)
        for name, color in (("a", "red"), ("b", "blue")):
            await api.good("POST", WIDGETS, widget(name, color=color))
        table = (await api.ask("GET", WIDGETS, accept=TABLE)).document
        assert [one["name"] for one in table["columnDefinitions"]] == ["Name", "Color"]
        assert [row["cells"] for row in table["rows"]] == [["a", "red"], ["b", "blue"]]
        chosen = await api.good("GET", f"{WIDGETS}?fieldSelector=spec.color=blue")
        assert [item["metadata"]["name"] for item in chosen["items"]] == ["b"]


async def test_versions_are_the_same_object_by_another_name(api: Api) -> None:
    async with following(api):
        await define(api, "widgets", version(), version("v1beta1", deprecated=True))
        other = WIDGETS.replace("v1", "v1beta1")
        made = await api.ask("POST", other, widget(api_version="v1beta1"))
        assert made.document["apiVersion"] == "example.org/v1beta1"
        assert "example.org/v1beta1 Widget is deprecated" in made.header("warning")
        stored = await api.good("GET", f"{WIDGETS}/a")
        assert stored["apiVersion"] == "example.org/v1"
        await api.good("PATCH", f"{WIDGETS}/a", {"spec": {"color": "blue"}}, MERGE)
        assert (await api.good("GET", f"{other}/a"))["spec"]["color"] == "blue"


async def test_names_belong_to_the_first(api: Api) -> None:
    async with following(api):
        await define(api)
        await api.good("POST", CRDS, definition("gizmos", kind="Widget", shortNames=[]))

        def refused(_: int, document: Any) -> bool:
            return any(one["status"] == "False" for one in document.get("status", {}).get("conditions") or ())

        status = (await until(api, f"{CRDS}/gizmos.example.org", refused))["status"]
        assert [(one["status"], one["reason"]) for one in status["conditions"]] == [
            ("False", "ListKindConflict"),
            ("False", "NotAccepted"),
        ]
        assert (await api.ask("GET", WIDGETS.replace("widgets", "gizmos"))).status == 404
        await api.good("DELETE", f"{CRDS}/widgets.example.org")
        await until(api, f"{CRDS}/gizmos.example.org", established)
        assert (await api.good("GET", WIDGETS.replace("widgets", "gizmos")))["kind"] == "WidgetList"


async def test_a_definition_goes_after_its_objects(api: Api) -> None:
    async with following(api):
        await define(api)
        await api.good("POST", WIDGETS, widget())
        await api.good("POST", WIDGETS, widget("kept") | {"metadata": {"name": "kept", "finalizers": ["x.org/y"]}})
        going = await api.good("DELETE", f"{CRDS}/widgets.example.org")
        assert going["status"]["conditions"][-1]["reason"] == "InstanceDeletionPending"
        await trio.testing.wait_all_tasks_blocked()
        assert [one["metadata"]["name"] for one in (await api.good("GET", WIDGETS))["items"]] == ["kept"]
        assert (await api.ask("POST", WIDGETS, widget("late"))).status == 405
        await api.good("PATCH", f"{WIDGETS}/kept", {"metadata": {"finalizers": None}}, MERGE)
        await until(api, f"{CRDS}/widgets.example.org", gone)
        await until(api, "/apis/example.org/v1", gone)
        await define(api)
        assert (await api.good("GET", WIDGETS))["items"] == []


async def test_established_definitions_are_served_from_the_start() -> None:
    first = Api()
    await first.server.bootstrap()
    async with following(first):
        await define(first)
        await first.good("POST", WIDGETS, widget())
    again = Api(first.store)
    await again.server.bootstrap()
    assert (await again.good("GET", f"{WIDGETS}/a"))["spec"] == {"color": "red", "replicas": 1}


async def test_built_in_kinds_are_not_displaced(api: Api) -> None:
    async with following(api):
        group, leases = "coordination.k8s.io", "/apis/coordination.k8s.io/v1/namespaces/default/leases"
        await api.good("POST", leases, {"metadata": {"name": "kept"}})
        made = definition("leases", kind="Lease")
        made["metadata"] = {"name": f"leases.{group}", "annotations": {"api-approved.kubernetes.io": "https://x.org"}}
        made["spec"]["group"] = group
        await api.good("POST", CRDS, made)
        await until(api, f"{CRDS}/leases.{group}", established)
        kind = api.server.registry.kinds.find(group, "v1", "leases")
        assert kind is not None
        assert not kind.custom
        await api.good("DELETE", f"{CRDS}/leases.{group}")
        await until(api, f"{CRDS}/leases.{group}", gone)
        assert api.server.registry.kinds.find(group, "v1", "leases") is kind
        assert (await api.good("GET", f"{leases}/kept"))["kind"] == "Lease"


async def test_openapi_has_the_schema(api: Api) -> None:
    async with following(api):
        await define(api)
        document = await api.good("GET", "/openapi/v3/apis/example.org/v1")
        schema = document["components"]["schemas"]["org.example.v1.Widget"]
        assert schema["properties"]["spec"]["properties"]["color"]["enum"] == ["red", "blue"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.color", ["red"]),
        ("{.spec.color}", ["red"]),
        (".spec['color']", ["red"]),
        (".metadata.annotations.a\\.b/c", ["x"]),
        (".list[1].name", ["two"]),
        (".list[-1].name", ["two"]),
        (".list[*].name", ["one", "two"]),
        ('.list[?(@.name=="two")].value', [2]),
        (".list[?(@.name!='two')].value", [1]),
        (".spec.none.deeper", []),
        (".spec[", []),
    ],
)
def test_simple_paths(path: str, found: list[Any]) -> None:
    document = {
        "metadata": {"annotations": {"a.b/c": "x"}},
        "spec": {"color": "red"},
        "list": [{"name": "one", "value": 1}, {"name": "two", "value": 2}],
    }
    assert jsonpath.find(document, path) == found


async def test_watches_of_a_definition_that_changes_end_so_that_clients_list_again(api: Api) -> None:
    async with following(api):
        await define(api)
        async with trio.open_nursery() as nursery:
            watching = api.exchange("GET", f"{WIDGETS}?watch=1")
            ended = trio.Event()

            async def watch() -> None:
                await api.server.handle(watching)
                ended.set()

            nursery.start_soon(watch)
            await api.good("POST", WIDGETS, widget())
            await watching.until(1)
            listed = {"spec": {"versions": [version(additionalPrinterColumns=[])]}}
            await api.good("PATCH", f"{CRDS}/widgets.example.org", listed, MERGE)
            with trio.fail_after(120):
                await ended.wait()
        assert [event["type"] for event in watching.events] == ["ADDED"]
        again = api.exchange("GET", f"{WIDGETS}?watch=1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(api.server.handle, again)
            await again.until(1)
            await api.good("DELETE", f"{CRDS}/widgets.example.org")
            await again.until(2)
            await until(api, f"{CRDS}/widgets.example.org", gone)
        assert [event["type"] for event in again.events] == ["ADDED", "DELETED"]


async def test_rules_in_cel_are_asked_on_every_write(api: Api) -> None:
    rules = [{"rule": "!has(oldSelf.replicas) || self.replicas >= oldSelf.replicas", "message": "only up"}]
    spec = {**SPEC, "x-kubernetes-validations": rules}
    schema = {"type": "object", "properties": {"spec": spec}}
    async with following(api):
        await define(api, "widgets", version(schema={"openAPIV3Schema": schema}, subresources={}, selectableFields=[]))
        await api.good("POST", WIDGETS, widget(replicas=2))
        await api.good("PATCH", f"{WIDGETS}/a", {"spec": {"replicas": 3}}, MERGE)
        code, message = await api.refused("PATCH", f"{WIDGETS}/a", {"spec": {"replicas": 1}}, MERGE)
    assert (code, message) == (422, 'Widget.example.org "a" is invalid: spec: Invalid value: only up')


async def test_what_stays_as_wrong_as_it_was_is_warned_about(api: Api) -> None:
    def schema(rules: list[dict[str, str]]) -> dict[str, Any]:
        part = {"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": rules}
        inner = {"type": "object", "properties": {"part": part, "color": {"type": "string"}}}
        return version(
            schema={"openAPIV3Schema": {"type": "object", "properties": {"spec": inner}}},
            subresources={},
            selectableFields=[],
        )

    async with following(api):
        await define(api, "widgets", schema([]))
        await api.good("POST", WIDGETS, widget(part={"n": 1}))
        strict = schema([{"rule": "self.n > 5", "message": "more"}])
        await api.good("PATCH", f"{CRDS}/widgets.example.org", {"spec": {"versions": [strict]}}, MERGE)
        with trio.fail_after(120):
            while (await api.ask("POST", WIDGETS, widget("b", part={"n": 1}))).status != 422:
                await trio.testing.wait_all_tasks_blocked()
        made = await api.ask("PATCH", f"{WIDGETS}/a", {"spec": {"color": "blue"}}, MERGE)
    assert (made.status, made.header("warning")) == (200, '299 - "spec.part: Invalid value: more"')
