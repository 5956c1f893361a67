"""Steps that refuse and fill in: security standards, quotas, limit ranges, certificates, allocation."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from edgekube.kinds.core import pod as pod_kind
from edgekube.server.admission.pod_security_checks import violations
from edgekube.server.context import User
from tests.server_harness import MERGE, Api, config_map, pod

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
QUOTAS = "/api/v1/namespaces/default/resourcequotas"


def told(level: str, minor: int = 36, **spec: Any) -> list[str]:
    return [str(found) for found in violations(pod_kind.KIND.from_dict(pod(**spec)), level, minor)]


def container(**context: Any) -> dict[str, Any]:
    return {"name": "c", "image": "i", "securityContext": context}


GOOD = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"containers": [container(privileged=True)]},
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        ({"hostPID": True, "hostIPC": True}, "host namespaces (hostPID=true, hostIPC=true)"),
        (
            {"containers": [container(capabilities={"add": ["SYS_TIME", "NET_ADMIN"]})]},
            'non-default capabilities (container "c" must not include "NET_ADMIN", "SYS_TIME" in'
            " securityContext.capabilities.add)",
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
            "forbidden sysctls (kernel.msgmax)",
        ),
    ],
)
def test_the_baseline_names_what_is_too_much(spec: dict[str, Any], words: str) -> None:
    assert told("baseline", **spec) == [words]


def test_restricted_pods_say_what_they_give_up() -> None:
    assert [one.partition(" (")[0] for one in told("restricted")] == [
        "allowPrivilegeEscalation != false",
        "unrestricted capabilities",
        "runAsNonRoot != true",
        "seccompProfile",
    ]
    given = GOOD | {"seccompProfile": {"type": "RuntimeDefault"}}
    assert told("restricted", containers=[container(**given)]) == []


def test_older_releases_asked_for_less() -> None:
    assert "unrestricted capabilities" not in " ".join(told("restricted", 18))


async def test_a_namespace_refuses_by_its_label(api: Api) -> None:
    await api.good("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await api.good("PATCH", "/api/v1/namespaces/default", label, MERGE)
    code, words = await api.refused("POST", PODS, pod(hostNetwork=True))
    assert (code, words) == (
        403,
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)',
    )


async def test_a_quota_counts_and_refuses_and_gives_back(api: Api) -> None:
    await api.good("POST", QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}})
    assert (await api.good("GET", f"{QUOTAS}/q"))["status"]["used"] == {"configmaps": "0"}
    await api.good("POST", MAPS, config_map("a"))
    assert await api.refused("POST", MAPS, config_map("b")) == (
        403,
        'configmaps "b" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1',
    )
    await api.good("DELETE", f"{MAPS}/a")
    assert (await api.good("GET", f"{QUOTAS}/q"))["status"]["used"] == {"configmaps": "0"}
    await api.good("POST", MAPS, config_map("b"))


async def test_limit_ranges_fill_in_and_bound(api: Api) -> None:
    await api.good("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    limits = {"limits": [{"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}}]}
    await api.good("POST", "/api/v1/namespaces/default/limitranges", {"metadata": {"name": "l"}, "spec": limits})
    made = await api.good("POST", PODS, pod("a"))
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}
    big = {"name": "c", "image": "i", "resources": {"limits": {"cpu": "2"}}}
    code, words = await api.refused("POST", PODS, pod("b", containers=[big]))
    assert (code, words) == (403, 'pods "b" is forbidden: maximum cpu usage per Container is 1, but limit is 2')


async def test_services_get_addresses_that_nobody_else_has(api: Api) -> None:
    seen = {"10.43.0.1"}
    for name in ("a", "b", "c"):
        made = await api.good("POST", SERVICES, {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
        address = made["spec"]["clusterIP"]
        assert address.startswith("10.43.")
        assert made["spec"]["clusterIPs"] == [address]
        assert address not in seen
        seen.add(address)


async def test_a_taken_address_or_port_is_refused(api: Api) -> None:
    spec = {"type": "NodePort", "clusterIP": "10.43.7.7", "ports": [{"port": 80, "nodePort": 30080}]}
    await api.good("POST", SERVICES, {"metadata": {"name": "a"}, "spec": spec})
    code, words = await api.refused("POST", SERVICES, {"metadata": {"name": "b"}, "spec": spec})
    assert code == 422
    assert words.endswith("failed to allocate IP 10.43.7.7: provided IP is already allocated")
    other = spec | {"clusterIP": ""}
    code, words = await api.refused("POST", SERVICES, {"metadata": {"name": "b"}, "spec": other})
    assert words.endswith("spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated")


async def test_a_refused_service_gives_its_address_back(api: Api) -> None:
    spec = {"clusterIP": "10.43.7.7", "ports": [{"port": 80, "protocol": "NOPE"}]}
    await api.refused("POST", SERVICES, {"metadata": {"name": "a"}, "spec": spec})
    await api.good(
        "POST", f"{SERVICES}?dryRun=All", {"metadata": {"name": "b"}, "spec": spec | {"ports": [{"port": 1}]}}
    )
    await api.good("POST", SERVICES, {"metadata": {"name": "b"}, "spec": spec | {"ports": [{"port": 1}]}})


async def test_headless_and_external_services_get_none(api: Api) -> None:
    headless = {"clusterIP": "None", "selector": {"a": "b"}, "ports": [{"port": 80}]}
    made = await api.good("POST", SERVICES, {"metadata": {"name": "a"}, "spec": headless})
    assert (made["spec"]["clusterIPs"], made["spec"]["ipFamilies"]) == (["None"], ["IPv4"])
    external = {"type": "ExternalName", "externalName": "x.example.org"}
    made = await api.good("POST", SERVICES, {"metadata": {"name": "b"}, "spec": external})
    assert "clusterIP" not in made["spec"]


async def test_certificate_requests_say_who_really_asks(api: Api) -> None:
    api.doorman.user = User("jane", ("dev", "system:authenticated"))
    pem = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUE9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"
    spec = {"request": pem, "signerName": "example.org/x", "usages": ["client auth"], "username": "root"}
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    made = await api.good("POST", f"{path}?dryRun=All", {"metadata": {"name": "c"}, "spec": spec})
    assert (made["spec"]["username"], made["spec"]["groups"]) == ("jane", ["dev", "system:authenticated"])


async def test_a_fresh_server_has_what_clusters_have(api: Api) -> None:
    names = [item["metadata"]["name"] for item in (await api.good("GET", "/api/v1/namespaces"))["items"]]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    service = await api.good("GET", "/api/v1/namespaces/default/services/kubernetes")
    assert service["spec"]["clusterIP"] == "10.43.0.1"
    classes = await api.good("GET", "/apis/scheduling.k8s.io/v1/priorityclasses")
    assert {item["value"] for item in classes["items"]} == {2_000_000_000, 2_000_001_000}
    services = await api.good("GET", "/apis/apiregistration.k8s.io/v1/apiservices")
    ready = {item["metadata"]["name"]: item["status"]["conditions"][0]["status"] for item in services["items"]}
    assert ready["v1."] == ready["v1.apps"] == ready["v2.autoscaling"] == "True"
    before = api.store.revision
    await api.server.bootstrap()
    assert api.store.revision == before


async def test_a_quota_counts_custom_resources_and_claims_by_their_attributes_class(api: Api) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    names = {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"}
    spec = {"group": "x.example.com", "scope": "Namespaced", "names": names, "versions": versions}
    definition = {"metadata": {"name": "foos.x.example.com"}, "spec": spec}
    foos = "/apis/x.example.com/v1/namespaces/default/foos"
    async with trio.open_nursery() as nursery:
        await nursery.start(api.server.custom.run)
        await api.good("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        with trio.fail_after(60):
            while (await api.ask("GET", foos)).status != 200:
                await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    quotas = "/api/v1/namespaces/default/resourcequotas"
    await api.good("POST", quotas, {"metadata": {"name": "q"}, "spec": {"hard": {"count/foos.x.example.com": "1"}}})
    by_class = {"matchExpressions": [{"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}]}
    scoped = {"hard": {"persistentvolumeclaims": "1"}, "scopeSelector": by_class}
    await api.good("POST", quotas, {"metadata": {"name": "gold"}, "spec": scoped})

    one: dict[str, Any] = {"apiVersion": "x.example.com/v1", "kind": "Foo"}
    await api.good("POST", foos, one | {"metadata": {"name": "a"}})
    code, words = await api.refused("POST", foos, one | {"metadata": {"name": "b"}})
    assert (code, words.partition("exceeded quota: ")[2]) == (
        403,
        "q, requested: count/foos.x.example.com=1, used: count/foos.x.example.com=1, limited: count/foos.x.example.com=1",
    )
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"

    def claim(name: str, attributes: str) -> dict[str, Any]:
        resources = {"requests": {"storage": "1Gi"}}
        told = {"accessModes": ["ReadWriteOnce"], "resources": resources, "volumeAttributesClassName": attributes}
        return {"metadata": {"name": name}, "spec": told}

    await api.good("POST", claims, claim("a", "gold"))
    await api.good("POST", claims, claim("b", "silver"))
    assert (await api.refused("POST", claims, claim("c", "gold")))[0] == 403
    used = {one["metadata"]["name"]: one["status"]["used"] for one in (await api.good("GET", quotas))["items"]}
    assert used == {"q": {"count/foos.x.example.com": "1"}, "gold": {"persistentvolumeclaims": "1"}}
