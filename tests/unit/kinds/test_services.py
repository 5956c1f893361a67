"""Services: what defaulting fills in, what an update keeps and drops, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.kinds.core.service import KIND, Service

PORTS: list[dict[str, Any]] = [{"port": 80}]


def service(**spec: Any) -> Service:
    """A defaulted and prepared service; port 80 unless told otherwise."""
    item = KIND.from_dict({"metadata": {"name": "s", "namespace": "d"}, "spec": {"ports": PORTS} | spec})
    KIND.default(item)
    KIND.prepare_create(item)
    return item


def stored(**spec: Any) -> Service:
    """As it is stored, its address allocated."""
    return service(**({"clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7"], "ipFamilies": ["IPv4"]} | spec))


def updated(old: Service, **spec: Any) -> Service:
    """What a PUT of `spec` over `old` becomes."""
    new = KIND.from_dict({"metadata": {"name": "s", "namespace": "d"}, "spec": {"ports": PORTS} | spec})
    KIND.default(new)
    KIND.prepare_update(new, old)
    return new


def fields(item: Service) -> list[str]:
    return [one.field for one in KIND.rules(item)]


def test_a_put_without_addresses_keeps_them() -> None:
    old = stored(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    new = updated(old, type="NodePort", ports=[{"port": 80, "targetPort": 81}, {"port": 90, "name": "b"}])
    assert (new.spec.cluster_ip, new.spec.cluster_ips) == ("10.43.0.7", ["10.43.0.7"])
    assert [port.node_port for port in new.spec.ports] == [30080, 0]


def test_becoming_an_external_name_gives_the_address_back() -> None:
    new = updated(
        stored(), type="ExternalName", externalName="a.b", clusterIP="10.43.0.7", clusterIPs=["10.43.0.7"], ipFamilies=["IPv4"]
    )  # fmt: skip
    assert (new.spec.cluster_ip, new.spec.cluster_ips, new.spec.ip_families) == ("", [], [])
    assert fields(new) == []


def test_node_ports_carried_over_into_a_cluster_service_are_dropped_and_new_ones_refused() -> None:
    old = stored(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    carried = updated(old, type="ClusterIP", ports=[{"port": 80, "nodePort": 30080}], externalTrafficPolicy="Cluster")
    assert [port.node_port for port in carried.spec.ports] == [0]
    assert carried.spec.external_traffic_policy == ""
    asked = updated(old, type="ClusterIP", ports=[{"port": 80, "nodePort": 30099}])
    assert fields(asked) == ["spec.ports[0].nodePort"]


def test_a_load_balancer_with_local_traffic_keeps_its_health_port() -> None:
    old = stored(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=31000)
    kept = updated(old, type="LoadBalancer", externalTrafficPolicy="Local")
    assert kept.spec.health_check_node_port == 31000
    left = updated(old, type="LoadBalancer", externalTrafficPolicy="Cluster", healthCheckNodePort=31000)
    assert left.spec.health_check_node_port == 0


def test_a_client_that_knows_only_cluster_ip_is_understood() -> None:
    assert service(clusterIP="10.43.0.9").spec.cluster_ips == ["10.43.0.9"]
    assert service(clusterIP="None", ports=[]).spec.cluster_ips == ["None"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clusterIP": "None", "ports": []}, []),
        ({"ports": []}, ["spec.ports"]),
        ({"type": "NodePort", "clusterIP": "None"}, ["spec.clusterIPs[0]"]),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}, ["spec.ports[1]"]),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "a", "protocol": "UDP"}]}, ["spec.ports[1].name"]),
        ({"type": "Nope"}, ["spec.type", "spec.internalTrafficPolicy"]),
        ({"ipFamilies": ["IPv5"]}, ["spec.ipFamilies[0]"]),
        ({"ipFamilies": ["IPv6"], "clusterIP": "10.0.0.1"}, ["spec.clusterIPs[0]"]),
        ({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]}, ["spec.clusterIPs"]),
        ({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}, []),
        ({"loadBalancerClass": "x.io/y"}, ["spec.loadBalancerClass"]),
        ({"type": "LoadBalancer", "loadBalancerSourceRanges": [" 10.0.0.0/8 ", "10.0.0.0"]}, ["spec.LoadBalancerSourceRanges[1]"]),
        ({"externalIPs": ["1.2.3.4"]}, []),
        ({"sessionAffinity": "Always"}, ["spec.sessionAffinity"]),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(spec: dict[str, Any], expected: list[str]) -> None:
    assert fields(service(**spec)) == expected


def test_an_address_never_changes() -> None:
    new = updated(stored(), clusterIP="10.43.0.8", clusterIPs=["10.43.0.8"], ipFamilies=["IPv4"])
    assert [one.field for one in KIND.update_rules(new, stored())] == ["spec.clusterIPs[0]"]


def test_a_second_address_is_released_only_on_purpose() -> None:
    old = stored(clusterIPs=["10.43.0.7", "fd00::7"], ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack")
    kept = updated(old, clusterIPs=["10.43.0.7"], ipFamilies=["IPv4"], ipFamilyPolicy="RequireDualStack")
    assert {one.field for one in KIND.update_rules(kept, old)} == {"spec.ipFamilyPolicy"}
    single = updated(old, clusterIPs=["10.43.0.7"], ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    assert KIND.update_rules(single, old) == []


def test_only_a_load_balancer_reports_where_it_is() -> None:
    item = stored(type="LoadBalancer")
    document = KIND.to_dict(item)
    document["status"] = {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "1.2.3.4"}]}}
    reported = KIND.from_dict(document)
    KIND.default(reported)
    assert [one.field for one in KIND.status_rules(reported, item)] == ["status.loadBalancer.ingress[1].hostname"]
    document["spec"]["type"] = "ClusterIP"
    assert [one.field for one in KIND.status_rules(KIND.from_dict(document), item)] == ["status.loadBalancer.ingress"]


def cells(item: Service) -> list[Any]:
    """Type, cluster IP, external IP and ports as `kubectl get` shows them."""
    return [column.value(item, "2026-01-01T00:00:00Z") for column in KIND.columns[1:5]]


def test_a_table_shows_addresses_and_ports() -> None:
    item = stored(
        type="LoadBalancer", ports=[{"port": 80, "nodePort": 30001}, {"port": 53, "protocol": "UDP", "name": "d"}]
    )
    assert cells(item) == ["LoadBalancer", "10.43.0.7", "<pending>", "80:30001/TCP,53/UDP"]
    external = service(type="ExternalName", externalName="a.example.com", ports=[])
    assert cells(external) == ["ExternalName", "<none>", "a.example.com", "<none>"]
