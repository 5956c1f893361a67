"""Discovery documents, against the recorded facts where they lie beside the clone."""

import json
from pathlib import Path

import pytest

from edgekube.api import discovery
from edgekube.kinds.catalog import built_in

SPEC = Path(__file__).parents[4] / "shared" / "spec" / "discovery"
needs_facts = pytest.mark.skipif(not SPEC.is_dir(), reason="../shared/spec is not beside the clone")


# upstream stores these in a beta version that we do not have
STORED_OTHERWISE = {"customresourcedefinitions", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"}


def recorded(name):
    return json.loads((SPEC / name).read_text())


def stable(versions, key):
    return [version for version in versions if "alpha" not in version[key] and "beta" not in version[key]]


def test_stable_versions_come_before_betas_and_higher_ones_before_lower():
    versions = ["v1alpha1", "foo", "v1", "v2beta1", "v10", "v2", "v1beta2", "bar"]
    assert sorted(versions, key=discovery.version_order) == [
        "v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "bar", "foo",
    ]  # fmt: skip


def test_the_storage_version_hash_is_upstreams():
    assert discovery.storage_version_hash("", "v1", "ConfigMap") == "qFsyl6wFWjQ="


def test_an_unknown_group_or_version_has_no_document():
    assert discovery.api_group(built_in(), "nosuch") is None
    assert discovery.api_group(built_in(), "") is None
    assert discovery.api_resource_list(built_in(), "apps", "v9") is None


def test_the_root_lists_groups_versions_and_what_the_server_adds():
    paths = discovery.root_paths(built_in(), ["/.well-known/openid-configuration", "/healthz"])["paths"]
    assert paths[0] == "/.well-known/openid-configuration"
    assert {"/api/v1", "/apis/apps", "/apis/autoscaling/v2", "/healthz"} <= set(paths)


def test_the_same_document_has_the_same_etag():
    first, tag = discovery.with_etag({"a": 1})
    assert (first, tag) == discovery.with_etag({"a": 1})
    assert tag != discovery.with_etag({"a": 2})[1]
    assert tag.startswith('"')
    assert tag.endswith('"')


@needs_facts
def test_the_group_list_is_upstreams_with_its_stable_versions():
    expected = recorded("apis.json")
    groups = []
    for group in expected["groups"]:
        group["versions"] = stable(group["versions"], "version")
        if group["versions"]:
            groups.append(group)
    assert discovery.api_group_list(built_in()) == {**expected, "groups": groups}


@needs_facts
@pytest.mark.parametrize(
    "name", [path.name for path in sorted(SPEC.glob("api*__v*.json"))] if SPEC.is_dir() else ["api__v1.json"]
)
def test_the_resources_of_each_group_version_are_upstreams(name):
    parts = name.removesuffix(".json").split("__")
    group = parts[1] if parts[0] == "apis" else ""
    document = discovery.api_resource_list(built_in(), group, parts[-1])
    expected = recorded(name)
    for resource in [*document["resources"], *expected["resources"]]:
        if resource["name"] in STORED_OTHERWISE:
            del resource["storageVersionHash"]
    assert document == expected


@needs_facts
def test_aggregated_discovery_is_upstreams_with_its_stable_versions():
    expected = recorded("aggregated_v2.json")
    items = []
    for item in expected["items"]:
        item["versions"] = stable(item["versions"], "version")
        if item["versions"]:
            items.append(item)
    made = discovery.aggregated(built_in(), core=False)
    for item in items:
        for version in item["versions"]:
            version["resources"] = sorted(version["resources"], key=lambda resource: resource["resource"])
    assert made == {**expected, "items": items}


def test_core_discovery_has_one_nameless_group():
    made = discovery.aggregated(built_in(), core=True, version="v2beta1")
    assert made["apiVersion"] == "apidiscovery.k8s.io/v2beta1"
    (item,) = made["items"]
    assert item["metadata"] == {}
    assert [version["version"] for version in item["versions"]] == ["v1"]
