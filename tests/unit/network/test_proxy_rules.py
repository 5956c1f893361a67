"""The rule set is a pure function: what it says is compared as text, what nft thinks of it is in tests/e2e."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgekube.kinds.core.service import KIND as SERVICES
from edgekube.kinds.core.service import Service
from edgekube.kinds.discovery.endpointslice import KIND as SLICES
from edgekube.kinds.discovery.endpointslice import EndpointSlice
from edgekube.network.config import NetworkConfig
from edgekube.network.proxy import rules

CONFIG = NetworkConfig(
    node_name="n1",
    node_ip="192.0.2.2",
    cluster_cidr=IPv4Network("10.42.0.0/16"),
    service_cidr=IPv4Network("10.43.0.0/16"),
    dns_ip="10.43.0.10",
    cni_conf_dir=Path("/nowhere"),
    cni_state_dir=Path("/nowhere"),
)


def service(name: str, ip: str, *, port: int = 80, protocol: str = "TCP", node_port: int = 0, **spec: Any) -> Service:
    one_port = {"name": "main", "port": port, "protocol": protocol, "nodePort": node_port}
    document = {"clusterIP": ip, "ports": [one_port], **spec}
    return SERVICES.from_dict({"metadata": {"name": name, "namespace": "default"}, "spec": document})


def slice_of(name: str, *endpoints: dict[str, Any], protocol: str = "TCP") -> EndpointSlice:
    return SLICES.from_dict(
        {
            "metadata": {
                "name": f"{name}-x",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "main", "port": 8080, "protocol": protocol}],
            "endpoints": list(endpoints),
        }
    )


def at(ip: str, *, ready: bool = True, node: str = "n1", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "nodeName": node, "conditions": {"ready": ready, **conditions}}


def made(services: list[Service], slices: list[EndpointSlice]) -> rules.Ruleset:
    return rules.ruleset(CONFIG, services, slices)


def test_a_cluster_ip_picks_one_of_the_ready_endpoints_at_random() -> None:
    found = made([service("web", "10.43.0.5")], [slice_of("web", at("10.42.0.3"), at("10.42.0.2"))])
    assert found.maps["service-ips"] == {"10.43.0.5 . tcp . 80": "goto service/default/web/tcp/main"}
    assert found.chains["service/default/web/tcp/main"][-1] == (
        "numgen random mod 2 vmap { 0 : goto endpoint/default/web/tcp/main/10.42.0.2/8080, "
        "1 : goto endpoint/default/web/tcp/main/10.42.0.3/8080 }"
    )
    assert found.chains["endpoint/default/web/tcp/main/10.42.0.2/8080"] == (
        "ip saddr 10.42.0.2 meta mark set meta mark | 0x4000",
        "meta l4proto tcp dnat to 10.42.0.2:8080",
    )


def test_a_service_without_endpoints_is_refused_and_not_left_to_time_out() -> None:
    found = made([service("web", "10.43.0.5", type="NodePort", node_port=30080)], [])
    assert found.maps["service-ips"] == {}
    assert found.maps["no-endpoint-services"] == {"10.43.0.5 . tcp . 80": "goto refuse-packet"}
    assert found.maps["no-endpoint-nodeports"] == {"tcp . 30080": "goto refuse-packet"}


def test_endpoints_that_terminate_but_still_serve_are_the_last_resort() -> None:
    leaving = at("10.42.0.9", ready=False, serving=True, terminating=True)
    web = service("web", "10.43.0.5")
    assert "endpoint/default/web/tcp/main/10.42.0.9/8080" in made([web], [slice_of("web", leaving)]).chains
    both = made([web], [slice_of("web", leaving, at("10.42.0.2"))])
    assert "endpoint/default/web/tcp/main/10.42.0.9/8080" not in both.chains


def test_local_traffic_policy_keeps_the_source_and_uses_this_nodes_endpoints() -> None:
    web = service("web", "10.43.0.5", type="NodePort", node_port=30080, externalTrafficPolicy="Local")
    found = made([web], [slice_of("web", at("10.42.0.2"), at("10.42.1.2", node="n2"))])
    assert found.chains["service-local/default/web/tcp/main"] == ("goto endpoint/default/web/tcp/main/10.42.0.2/8080",)
    assert found.chains["external/default/web/tcp/main"] == (
        "ip saddr 10.42.0.0/16 goto service/default/web/tcp/main",  # pods reach all endpoints, from everywhere
        "fib saddr type local meta mark set meta mark | 0x4000",
        "fib saddr type local goto service/default/web/tcp/main",
        "goto service-local/default/web/tcp/main",
    )
    assert "numgen random mod 2" in found.chains["service/default/web/tcp/main"][-1]


def test_a_node_port_without_an_endpoint_here_is_silent_outside_and_works_for_pods() -> None:
    web = service("web", "10.43.0.5", type="NodePort", node_port=30080, externalTrafficPolicy="Local")
    found = made([web], [slice_of("web", at("10.42.1.2", node="n2"))])
    assert found.maps["no-endpoint-nodeports"] == {"tcp . 30080": "drop"}
    assert found.maps["service-nodeports"] == {"tcp . 30080": "goto external/default/web/tcp/main"}
    assert found.chains["external/default/web/tcp/main"][-1] == "fib saddr type local goto service/default/web/tcp/main"
    assert made([web], []).maps["no-endpoint-nodeports"] == {"tcp . 30080": "goto refuse-packet"}


def test_internal_local_policy_stays_on_the_node_or_says_nothing() -> None:
    near = service("near", "10.43.0.6", internalTrafficPolicy="Local")
    both = made([near], [slice_of("near", at("10.42.0.2"), at("10.42.1.2", node="n2"))])
    assert both.maps["service-ips"] == {"10.43.0.6 . tcp . 80": "goto service-local/default/near/tcp/main"}
    assert (
        both.chains["service-local/default/near/tcp/main"][-1] == "goto endpoint/default/near/tcp/main/10.42.0.2/8080"
    )
    assert "endpoint/default/near/tcp/main/10.42.1.2/8080" not in both.chains
    away = made([near], [slice_of("near", at("10.42.1.2", node="n2"))])
    assert away.maps["no-endpoint-services"] == {"10.43.0.6 . tcp . 80": "drop"}
    assert away.maps["service-ips"] == {}


def hinted(ip: str, node: str, *, zones: tuple[str, ...] = (), nodes: tuple[str, ...] = ()) -> dict[str, Any]:
    hints = {"forZones": [{"name": zone} for zone in zones], "forNodes": [{"name": each} for each in nodes]}
    return {**at(ip, node=node), "hints": hints}


def targets(zone: str, *endpoints: dict[str, Any]) -> list[str]:
    web = service("web", "10.43.0.5")
    found = rules.targets_of([slice_of("web", *endpoints)], web.spec.ports[0], "n1", local=False, zone=zone)
    return [target.ip for target in found]


def test_hints_lead_to_this_node_then_to_this_zone() -> None:
    here = hinted("10.42.0.2", "n1", zones=("z1",), nodes=("n1",))
    near = hinted("10.42.1.2", "n2", zones=("z1",), nodes=("n2",))
    far = hinted("10.42.2.2", "n3", zones=("z2",), nodes=("n3",))
    assert targets("z1", here, near, far) == ["10.42.0.2"]
    assert targets("z1", near, far) == ["10.42.1.2"], "none is for this node, one for its zone"
    assert targets("z3", near, far) == ["10.42.1.2", "10.42.2.2"], "none is for us: all are"
    assert targets("", near, far) == ["10.42.1.2", "10.42.2.2"], "a node without a zone"
    assert targets("z1", near, far, at("10.42.3.2")) == ["10.42.1.2", "10.42.2.2", "10.42.3.2"], "one has no hints"


def test_client_ip_affinity_remembers_each_client_for_its_timeout() -> None:
    web = service(
        "web", "10.43.0.5", sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}}
    )
    found = made([web], [slice_of("web", at("10.42.0.2"), at("10.42.0.3"))])
    name = "affinity/default/web/tcp/main/10.42.0.2/8080"
    assert found.affinity[name] == 60
    assert f"update @{name} {{ ip saddr timeout 60s }}" in found.chains["endpoint/default/web/tcp/main/10.42.0.2/8080"]


def test_headless_external_name_and_dns_services_have_no_rules() -> None:
    services = [
        service("headless", "None"),
        service("dns", "10.43.0.10", port=53, protocol="UDP"),
        SERVICES.from_dict({"metadata": {"name": "x"}, "spec": {"type": "ExternalName", "externalName": "a.b"}}),
    ]
    assert made(services, []).maps == made([], []).maps


def test_an_over_long_name_is_cut_and_stays_unique() -> None:
    one, other = (rules.chain_name("endpoint", "n" * 63, "s" * 63, "tcp", f"p{i}") for i in (1, 2))
    assert one != other
    assert len(one) <= rules.NAME_MOST_CHARACTERS


PLACES = st.lists(st.integers(2, 6).map(lambda i: f"10.42.0.{i}"), unique=True, max_size=4)
WORLDS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.tuples(PLACES, st.booleans()), max_size=3)


def world(described: dict[str, tuple[list[str], bool]]) -> rules.Ruleset:
    services, slices = [], []
    for name, (places, sticky) in sorted(described.items()):
        spec = {"sessionAffinity": "ClientIP"} if sticky else {}
        services.append(service(name, f"10.43.1.{ord(name)}", type="NodePort", node_port=30000, **spec))
        slices.append(slice_of(name, *map(at, places)))
    return made(services, slices)


@given(WORLDS, WORLDS)
def test_a_difference_applied_to_the_old_rules_gives_the_new_rules(
    before: dict[str, tuple[list[str], bool]], after: dict[str, tuple[list[str], bool]]
) -> None:
    have, want = world(before), world(after)
    state = interpret(rules.text("t", have))
    assert interpret(rules.difference("t", have, want), state) == interpret(rules.text("t", want))


def test_equal_rule_sets_need_no_transaction() -> None:
    have = world({"a": (["10.42.0.2"], True)})
    assert rules.difference("t", have, have) == ""


State = dict[tuple[str, str], Any]


def interpret(script: str, state: State | None = None) -> State:
    """A tiny nft: enough of its commands to see whether two scripts leave the same table, and that order is legal."""
    held: State = {key: value.copy() if hasattr(value, "copy") else value for key, value in (state or {}).items()}
    for line in script.splitlines():
        verb, what, _, _, *rest = line.split(" ")
        name, tail = (rest[0] if rest else ""), " ".join(rest[1:])
        if what == "table":
            held = {}
        elif verb == "add" and what in ("chain", "set", "map"):
            held.setdefault((what, name), {} if what == "map" else [] if what == "chain" else tail)
        elif verb == "add" and what == "rule":
            for target in [word.rstrip(",") for word in tail.split(" ") if "/" in word and word[0] in "ase@"]:
                if target.startswith(("service", "endpoint", "external")):
                    assert ("chain", target) in held, f"{line}: jumps to nothing"
                elif target.startswith("@"):
                    assert ("set", target[1:]) in held, f"{line}: uses no set"
            held[("chain", name)].append(tail)
        elif verb == "flush":
            held[("chain", name)].clear()
        elif verb == "delete" and what in ("chain", "set"):
            del held[(what, name)]
        elif what == "element":
            key, _, verdict = tail.strip("{} ").partition(" : ")
            if verb == "add":
                assert key not in held[("map", name)]
                held[("map", name)][key] = verdict
            else:
                del held[("map", name)][key]
    return held
