"""What is decided about aggregated servers without asking them: discovery, availability, OpenAPI, identity, endpoints."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from edgekube.net.httpsclient import CallFailed
from edgekube.server.aggregation import checks, discovery
from edgekube.server.aggregation.openapi import merged_v2, v3_entries
from edgekube.server.aggregation.remotes import Remote, identity_headers, is_identity
from edgekube.server.context import User
from edgekube.server.reach import Reach, to_service
from tests.server_harness import Api


def remote(group: str = "g.example.org", version: str = "v1", *, available: bool = True, **priority: int) -> Remote:
    to = to_service("default", "s", None, "", b"")
    name = f"{version}.{group}"
    return Remote(
        name, group, version, to, available, priority.get("group_priority", 100), priority.get("version_priority", 10)
    )


def test_groups_and_versions_by_their_priorities() -> None:
    remotes = [
        remote("b.example.org"),
        remote("a.example.org", "v1alpha1"),
        remote("a.example.org", "v1"),
        remote("a.example.org", "v2", version_priority=20),
        remote("c.example.org", group_priority=200),
    ]
    ours = {"groups": [{"name": "apps", "versions": [], "preferredVersion": {}}]}
    made = discovery.into_list(ours, remotes)["groups"]
    assert [one["name"] for one in made] == ["apps", "c.example.org", "a.example.org", "b.example.org"]
    assert [one["version"] for one in made[2]["versions"]] == ["v2", "v1", "v1alpha1"]
    assert made[2]["preferredVersion"]["groupVersion"] == "a.example.org/v2"


def test_a_group_of_ours_gains_their_versions() -> None:
    ours: dict[str, Any] = {"name": "g.example.org", "versions": [{"version": "v1"}], "preferredVersion": {}}
    made = discovery.into_group(ours, "g.example.org", [remote(), remote(version="v2")])
    assert made is not None
    assert [one["version"] for one in made["versions"]] == ["v1", "v2"]
    assert discovery.into_group(None, "other", [remote()]) is None


def test_aggregated_discovery_says_what_is_stale() -> None:
    listed = {"resources": [{"name": "as", "kind": "A", "verbs": ["get"], "namespaced": False, "shortNames": ["x"]}]}
    remotes = [remote(), remote(version="v2", available=False)]
    made = discovery.into_aggregated({"items": []}, remotes, {("g.example.org", "v1"): listed})
    second, first = made["items"][0]["versions"]  # the newer comes first
    assert (first["freshness"], second["freshness"]) == ("Current", "Stale")
    assert first["resources"] == [
        {
            "resource": "as",
            "responseKind": {"group": "", "version": "", "kind": "A"},
            "scope": "Cluster",
            "singularResource": "",
            "verbs": ["get"],
            "shortNames": ["x"],
        }
    ]
    assert "resources" not in second


async def test_why_a_server_cannot_be_available(api: Api) -> None:
    cluster = api.server.registry.cluster
    services, slices = (
        "/api/v1/namespaces/default/services",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
    )

    def told() -> tuple[str, str]:
        found = checks.before_asking(remote(), cluster)
        return found[1:] if found is not None else ("", "")

    assert told() == ("ServiceNotFound", 'service/s in "default" is not present')
    service: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    await api.good("POST", services, service | {"spec": {"ports": [{"name": "https", "port": 8443}]}})
    assert told() == ("ServicePortError", 'service/s in "default" is not listening on port 443')
    patch = {"spec": {"ports": [{"name": "https", "port": 443}]}}
    await api.good("PATCH", f"{services}/s", patch, "application/merge-patch+json")
    assert told() == ("EndpointsNotFound", 'cannot find endpointslices for service/s in "default"')
    one: dict[str, Any] = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}],
        "ports": [{"name": "https", "port": 1}],
    }
    await api.good("POST", slices, one)
    why = 'endpointslices for service/s in "default" have no addresses with port name "https"'
    assert told() == ("MissingEndpoints", why)
    one["endpoints"][0]["conditions"]["ready"] = True
    await api.good("PUT", f"{slices}/s", one)
    assert told() == ("", "")


async def test_a_service_that_leads_nowhere(api: Api) -> None:
    reach, cluster = Reach(), api.server.registry.cluster

    async def why() -> str:
        with pytest.raises(CallFailed) as caught:
            await reach.connect(cluster, remote().to)
        return str(caught.value)

    assert await why() == 'service "s" not found'
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    await api.good("POST", "/api/v1/namespaces/default/services", service)
    assert await why() == 'no service port 443 found for service "s"'


def test_who_asks() -> None:
    user = User("jane", ("a", "b"), "7", {"example.org/Some Key": ("x", "y")})
    assert identity_headers(user) == [
        ("x-remote-user", "jane"),
        ("x-remote-uid", "7"),
        ("x-remote-group", "a"),
        ("x-remote-group", "b"),
        ("x-remote-extra-example.org%2Fsome%20key", "x"),
        ("x-remote-extra-example.org%2Fsome%20key", "y"),
    ]
    assert [name for name in ("x-remote-user", "impersonate-uid", "accept") if is_identity(name)] == [
        "x-remote-user",
        "impersonate-uid",
    ]


def test_openapi_documents_are_joined_below_a_path_only() -> None:
    ours = gzip.compress(json.dumps({"swagger": "2.0", "paths": {"/api/": 1}, "definitions": {"A": 1}}).encode())
    theirs = {"paths": {"/apis/g/v1/x": 2, "/apis/g/v10/x": 3, "/version": 4}, "definitions": {"A": 5, "B": 6}}
    packed, digest = merged_v2(ours, [("/apis/g/v1", json.dumps(theirs).encode()), ("/apis/h/v1", b"no JSON")])
    assert json.loads(gzip.decompress(packed)) == {
        "swagger": "2.0",
        "paths": {"/api/": 1, "/apis/g/v1/x": 2},
        "definitions": {"A": 1, "B": 6},
    }
    assert len(digest) == 128
    index = {"paths": {"apis/g/v1": {"serverRelativeURL": "/openapi/v3/apis/g/v1?hash=1"}, "version": {}}}
    assert v3_entries(json.dumps(index).encode(), "apis/g/v1") == {"apis/g/v1": "/openapi/v3/apis/g/v1?hash=1"}
    assert v3_entries(b"[]", "apis/g/v1") == v3_entries(b"x", "apis/g/v1") == {}
