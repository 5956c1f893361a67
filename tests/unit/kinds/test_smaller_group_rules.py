"""Rules of flow control, leases, topologies and claims' statuses: one table of mistakes, each with its answer."""

import copy
from typing import Any

import pytest

from edgekube.kinds.catalog import built_in
from edgekube.server.bootstrap import _levels, _schemas

KINDS = {kind.name: kind for kind in built_in() if kind.api_version != "v1"}
RESULT = {"request": "a", "driver": "d.example.com", "pool": "p", "device": "x"}
GOOD: dict[str, dict[str, Any]] = {
    "FlowSchema": {
        "metadata": {"name": "f"},
        "spec": {
            "priorityLevelConfiguration": {"name": "l"},
            "matchingPrecedence": 5,
            "rules": [
                {
                    "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "n", "name": "*"}}],
                    "resourceRules": [
                        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["n"]}
                    ],
                    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/a/*"]}],
                }
            ],
        },
    },
    "PriorityLevelConfiguration": {
        "metadata": {"name": "l"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}},
    },
    "Lease": {"metadata": {"name": "l"}, "spec": {"strategy": "example.com/s"}},
    "StorageClass": {
        "metadata": {"name": "s"},
        "provisioner": "p",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}],
    },
    "DeviceClass": {"metadata": {"name": "d"}, "spec": {"extendedResourceName": "example.com/gpu"}},
    "ResourceClaim": {
        "metadata": {"name": "c"},
        "spec": {
            "devices": {
                "requests": [
                    {"name": "a", "exactly": {"deviceClassName": "d"}},
                    {"name": "b", "firstAvailable": [{"name": "c", "deviceClassName": "d"}]},
                ],
                "constraints": [{"requests": ["a", "b/c"], "matchAttribute": "x.io/y"}],
            }
        },
        "status": {
            "allocation": {"devices": {"results": [RESULT]}},
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "u"}],
            "devices": [{"driver": "d.example.com", "pool": "p", "device": "x"}],
        },
    },
}


def changed(name: str, path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD[name])
    place: Any = document
    *way, last = path.split(".")
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    place[int(last) if isinstance(place, list) else last] = value
    return document


def item_of(name: str, document: dict[str, Any]) -> Any:
    item = KINDS[name].from_dict(copy.deepcopy(document))
    KINDS[name].default(item)
    return item


def problems(name: str, document: dict[str, Any]) -> list[str]:
    return [str(error) for error in KINDS[name].rules(item_of(name, document))]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_object_passes(name: str) -> None:
    assert problems(name, GOOD[name]) == []


@pytest.mark.parametrize("document", [*_schemas(), *_levels()], ids=lambda document: document["metadata"]["name"])
def test_what_every_server_has_from_the_start_keeps_the_rules(document: dict[str, Any]) -> None:
    name = "FlowSchema" if "rules" in document["spec"] else "PriorityLevelConfiguration"
    assert problems(name, document) == []


RULE = "spec.rules.0"
MISTAKES = [
    ("FlowSchema", "spec.matchingPrecedence", -1, "spec.matchingPrecedence: Invalid value: -1: must be a positive value"),
    ("FlowSchema", "spec.matchingPrecedence", 10001, "must not be greater than 10000"),
    ("FlowSchema", "spec.matchingPrecedence", 1, "only the schema named 'exempt' may have matchingPrecedence 1"),
    ("FlowSchema", "spec.distinguisherMethod", {"type": "x"}, "spec.distinguisherMethod.type: Unsupported value"),
    ("FlowSchema", f"{RULE}.subjects.0.serviceAccount.namespace", "", "must specify namespace for service account"),
    ("FlowSchema", f"{RULE}.resourceRules.0.verbs", ["*", "get"], "if '*' is present, must not specify other verbs"),
    ("FlowSchema", f"{RULE}.resourceRules.0.verbs", ["fly"], "resourceRules[0].verbs: Unsupported value"),
    ("FlowSchema", f"{RULE}.resourceRules.0.apiGroups", ["*", "a"], "must not specify other api groups"),
    ("FlowSchema", f"{RULE}.resourceRules.0.namespaces", [], "must supply at least one namespace"),
    ("FlowSchema", f"{RULE}.resourceRules.0.namespaces", ["A"], "each member of this list must be '*' or a DNS-1123 label;"),
    ("FlowSchema", f"{RULE}.nonResourceRules.0.nonResourceURLs", ["/a*b"], "wildcard can only do suffix matching"),
    ("FlowSchema", f"{RULE}.nonResourceRules.0.nonResourceURLs", ["a"], "nonResourceURLs[0]: Invalid value: \"a\": must start with slash"),
    ("FlowSchema", "metadata.name", "exempt", "spec of 'exempt' must equal the fixed value"),
    ("FlowSchema", "status.conditions", [{"type": "A"}, {"type": "A"}], "status.conditions[1].type: Duplicate value"),
    ("PriorityLevelConfiguration", "spec.type", "Exempt", "type must be 'Exempt' if and only if name is 'exempt'"),
    ("PriorityLevelConfiguration", "metadata.name", "catch-all", "spec of 'catch-all' must equal the fixed value"),
    (
        "PriorityLevelConfiguration",
        "spec.limited.limitResponse.queuing",
        {"queues": 512, "handSize": 8},
        "required entropy bits of deckSize 512 and handSize 8 should not be greater than 60",
    ),
    ("PriorityLevelConfiguration", "spec.limited.borrowingLimitPercent", -1, "if specified, must be a non-negative integer"),
    ("Lease", "spec.strategy", "Newest", 'Unsupported value: "Newest": supported values: "OldestEmulationVersion"'),
    ("StorageClass", "allowedTopologies", [{}], "must specify at least one matchLabelExpressions"),
    ("StorageClass", "allowedTopologies.0.matchLabelExpressions.0.values", ["a", "a"], "values[1]: Duplicate value"),
    ("StorageClass", "allowedTopologies.0.matchLabelExpressions.0.values", [], "values: Required value"),
    ("DeviceClass", "spec.extendedResourceName", "cpu", "must be a valid extended resource name"),
    ("ResourceClaim", "spec.devices.constraints.0.requests", ["b/d"], "must be the name of a request in the claim"),
    ("ResourceClaim", "spec.devices.constraints.0.requests", ["a", "a"], "requests[1]: Duplicate value"),
    ("ResourceClaim", "spec.devices.constraints.0.matchAttribute", "y", "must be a fully qualified name"),
    (
        "ResourceClaim",
        "spec.devices.requests.0.exactly.tolerations",
        [{"operator": "Exists", "value": "v"}],
        "must be empty for operator `Exists`",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "value", "expected"), MISTAKES)
def test_a_mistake_is_told(name: str, path: str, value: Any, expected: str) -> None:
    found = problems(name, changed(name, path, value))
    assert any(expected in one for one in found), found


STATUS_MISTAKES: list[tuple[str, Any, str]] = [
    ("status.reservedFor.0.uid", "", "status.reservedFor[0].uid: Required value"),
    ("status.allocation", None, "may not be specified when `allocated` is not set"),
    ("status.devices.0.device", "y", "must be an allocated device in the claim"),
    ("status.allocation.devices.results.0.request", "z", "must be the name of a request in the claim"),
    ("metadata.deletionTimestamp", "2024-01-02T03:04:05Z", "new entries may not be added"),
]


@pytest.mark.parametrize(("path", "value", "expected"), STATUS_MISTAKES)
def test_a_claim_s_status_is_held_to_what_was_asked_for(path: str, value: Any, expected: str) -> None:
    bare = item_of("ResourceClaim", {**GOOD["ResourceClaim"], "status": {}})
    item = item_of("ResourceClaim", changed("ResourceClaim", path, value))
    assert any(expected in str(error) for error in KINDS["ResourceClaim"].status_rules(item, bare))
    good = item_of("ResourceClaim", GOOD["ResourceClaim"])
    assert KINDS["ResourceClaim"].status_rules(good, bare) == []


def test_an_allocation_stays_as_it_is() -> None:
    old = item_of("ResourceClaim", GOOD["ResourceClaim"])
    new = item_of("ResourceClaim", changed("ResourceClaim", "status.allocation.devices.results.0.pool", "q"))
    found = [error.field for error in KINDS["ResourceClaim"].status_rules(new, old)]
    assert "status.allocation" in found
