"""The node's smaller decisions: environment, names, resources, security, images, probes, logs, cgroups, registration."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgekube.api.meta import ObjectMeta
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.kinds.core.container import Probe
from edgekube.kinds.core.node import NodeStatus
from edgekube.kinds.core.secret import Secret
from edgekube.kinds.core.service import Service, ServicePort, ServiceSpec
from edgekube.net.nodegate import LogOptions
from edgekube.node import cgroups, eviction, garbage, logs
from edgekube.node.config import NodeConfig
from edgekube.node.images import credentials_for, registry_of, with_tag
from edgekube.node.machine import Machine
from edgekube.node.pods.environment import Surroundings, environment, referred
from edgekube.node.pods.fields import Unresolved, expand, field_value
from edgekube.node.pods.lifecycle import Happening, IllegalTransition, Stage, move
from edgekube.node.pods.names import Dns, dns_for, hosts_file, kernel_hostname, parse_resolv_conf
from edgekube.node.pods.resources import (
    cgroup_parent,
    linux_resources,
    oom_score,
    pod_resources,
    qos_class,
    resource_value,
)
from edgekube.node.pods.security import container_security, sandbox_security
from edgekube.node.pods.tally import Tally
from edgekube.node.registration import Vitals, allocatable, conditions, describe, same_but_heartbeat
from edgekube.node.runtime import packing
from edgekube.node.runtime.containerd import ContainerdConfig, render, restricted_oom_scores
from edgekube.node.runtime.cri import Image, Version
from tests.unit.node.podmaking import make_pod

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
APP = {"name": "app", "image": "app:1"}
GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"), ("$(A)", "1"), ("x$(A)y$(B)", "x1y2"), ("$$(A)", "$(A)"), ("$(NO)", "$(NO)"), ("$A", "$A"), ("$", "$"),
        ("$$", "$"), ("$(A", "$(A"), ("$$$(A)", "$1"), ("$($(A)", "$($(A)"), ("a$", "a$"),
    ],
)  # fmt: skip
def test_references_expand(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}.get) == wanted


def test_an_environment_is_built_in_order_and_overridden_by_what_comes_later() -> None:
    container = {
        **APP,
        "envFrom": [{"configMapRef": {"name": "m"}, "prefix": "P_"}, {"secretRef": {"name": "gone", "optional": True}}],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "P_X", "value": "over-$(P_X)"},
            {"name": "B", "value": "$(A)$(LATER)$(DB_SERVICE_HOST)"},
            {"name": "LATER", "value": "no"},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "OPT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": True}}},
            {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
    }
    pod = make_pod(container)
    service = Service(
        metadata=ObjectMeta(name="db", namespace="shop"),
        spec=ServiceSpec(cluster_ip="10.9.9.9", ports=[ServicePort(port=5432, name="pg", protocol="TCP")]),
    )
    around = Surroundings(
        config_maps={"m": ConfigMap(data={"X": "x", "bad=key": "y"})},
        secrets={"s": Secret(data={"k": b"v"}), "gone": None},
        services=[service],
    )
    made = environment(pod, pod.spec.containers[0], around)
    assert made["P_X"] == "over-x"
    assert made["B"] == "1$(LATER)10.9.9.9"
    assert (made["S"], made["NS"], "OPT" in made, "P_bad=key" in made) == ("v", "shop", False, False)
    assert {k: v for k, v in made.items() if k.startswith("DB_")} == {
        "DB_SERVICE_HOST": "10.9.9.9", "DB_SERVICE_PORT": "5432", "DB_SERVICE_PORT_PG": "5432", "DB_PORT": "tcp://10.9.9.9:5432",
        "DB_PORT_5432_TCP": "tcp://10.9.9.9:5432", "DB_PORT_5432_TCP_PROTO": "tcp", "DB_PORT_5432_TCP_PORT": "5432",
        "DB_PORT_5432_TCP_ADDR": "10.9.9.9",
    }  # fmt: skip
    assert referred(pod) == ({"m"}, {"gone", "s"})
    declined = make_pod(container, enableServiceLinks=False)
    assert "DB_PORT" not in environment(declined, declined.spec.containers[0], around)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"configMapKeyRef": {"name": "m", "key": "k"}}, "couldn't find key k in ConfigMap shop/m"),
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
    ],
)
def test_a_reference_to_nothing_is_told_in_the_kubelets_words(source: dict[str, object], wanted: str) -> None:
    pod = make_pod({**APP, "env": [{"name": "A", "valueFrom": source}]})
    with pytest.raises(Unresolved, match=wanted):
        environment(pod, pod.spec.containers[0], Surroundings(config_maps={"m": ConfigMap()}))


def test_fields_of_a_pod() -> None:
    pod = make_pod(
        APP,
        metadata={"labels": {"b": 'q"', "a": "1"}},
        status={"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd::9"}]},
    )
    assert field_value(pod, "metadata.labels['a']") == "1"
    assert field_value(pod, "metadata.labels") == 'a="1"\nb="q\\""'
    assert field_value(pod, "status.podIPs") == "10.0.0.9,fd::9"
    with pytest.raises(Unresolved):
        field_value(pod, "spec.nothing")


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"limits": {"memory": "1Gi"}}, "Burstable"),
    ],
)
def test_quality_of_service(resources: dict[str, object], wanted: str) -> None:
    pod = make_pod({**APP, "resources": resources})
    assert qos_class(pod) == wanted
    parent = {
        "Guaranteed": "/kubepods/podu1",
        "Burstable": "/kubepods/burstable/podu1",
        "BestEffort": "/kubepods/besteffort/podu1",
    }
    assert cgroup_parent(pod) == parent[wanted]


def test_the_kernel_is_told_what_was_asked_for() -> None:
    pod = make_pod(
        {
            **APP,
            "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "1Gi"}},
        }
    )
    container = pod.spec.containers[0]
    assert linux_resources(pod, container, memory_capacity=4 * GIB, cgroup_v2=False) == {
        "cpu_shares": 102, "cpu_period": 100000, "cpu_quota": 25000, "memory_limit_in_bytes": 64 << 20, "oom_score_adj": 750,
    }  # fmt: skip
    assert linux_resources(pod, container, memory_capacity=GIB, cgroup_v2=True)["unified"] == {"memory.oom.group": "1"}
    assert pod_resources(pod) == {"cpu_shares": 102, "cpu_quota": 25000, "memory": 64 << 20}
    assert resource_value(container, "limits.memory", "1Mi", {}) == "64"
    assert resource_value(container, "limits.cpu", "", {}) == "1"
    plain = make_pod(APP)
    assert oom_score(plain, plain.spec.containers[0], GIB) == 1000
    assert resource_value(plain.spec.containers[0], "limits.cpu", "1m", {"cpu": "2"}) == "2000"
    assert pod_resources(plain) == {"cpu_shares": 2}


def test_security_goes_from_the_pod_to_its_containers() -> None:
    pod = make_pod(
        {
            **APP,
            "securityContext": {
                "runAsUser": 5,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
            },
        },
        securityContext={
            "runAsUser": 1,
            "runAsGroup": 2,
            "fsGroup": 3,
            "supplementalGroups": [4],
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        hostNetwork=True,
        shareProcessNamespace=True,
    )
    made = container_security(pod, pod.spec.containers[0], None)
    assert made["run_as_user"] == {"value": 5}
    assert made["run_as_group"] == {"value": 2}
    assert made["supplemental_groups"] == [4, 3]
    assert made["no_new_privs"] is True
    assert made["capabilities"] == {"add_capabilities": ["NET_RAW"], "drop_capabilities": ["ALL"]}
    assert made["namespace_options"] == {"network": 2, "pid": 0, "ipc": 0}
    assert made["seccomp"] == {"profile_type": 0}
    assert sandbox_security(pod)["run_as_user"] == {"value": 1}


def test_non_root_is_kept_or_refused() -> None:
    root = Image("i", (), (), 0, False, None, "")
    named = Image("i", (), (), 0, False, None, "web")
    pod = make_pod(APP, securityContext={"runAsNonRoot": True})
    with pytest.raises(Unresolved, match="image will run as root"):
        container_security(pod, pod.spec.containers[0], root)
    with pytest.raises(Unresolved, match=r"non-numeric user \(web\)"):
        container_security(pod, pod.spec.containers[0], named)


def test_hosts_and_host_names() -> None:
    pod = make_pod(APP, hostname="h", subdomain="sub", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    text = hosts_file(pod, ["10.0.0.5"], "cluster.local", "")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.0.0.5\th.sub.shop.svc.cluster.local\th\n" in text
    assert text.endswith("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n")
    assert kernel_hostname(make_pod(APP, metadata={"name": "x" * 70}), "cluster.local") == "x" * 63
    assert (
        kernel_hostname(make_pod(APP, hostname="h", subdomain="s", setHostnameAsFQDN=True), "c.l") == "h.s.shop.svc.c.l"
    )


HOST = Dns(("9.9.9.9",), ("lan",), ("timeout:2",))


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, Dns(("10.43.0.10",), ("shop.svc.c.l", "svc.c.l", "c.l", "lan"), ("ndots:5",))),
        ({"hostNetwork": True}, HOST),
        ({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True}, Dns(("10.43.0.10",), ("shop.svc.c.l", "svc.c.l", "c.l", "lan"), ("ndots:5",))),
        ({"dnsPolicy": "Default"}, HOST),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}},
         Dns(("1.1.1.1",), ("x",), ("ndots:2",))),
        ({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]}},
         Dns(("10.43.0.10",), ("shop.svc.c.l", "svc.c.l", "c.l", "lan"), ("ndots:1", "edns0"))),
    ],
)  # fmt: skip
def test_resolv_conf_by_policy(spec: dict[str, object], wanted: Dns) -> None:
    assert dns_for(make_pod(APP, **spec), host=HOST, cluster_servers=("10.43.0.10",), cluster_domain="c.l") == wanted


def test_the_hosts_resolv_conf_is_read() -> None:
    text = "# c\nnameserver 1.1.1.1 # x\nsearch a b.\noptions ndots:1 rotate\nnameserver fd::1\n"
    assert parse_resolv_conf(text) == Dns(("1.1.1.1", "fd::1"), ("a", "b"), ("ndots:1", "rotate"))


def test_probe_verdicts_turn_after_so_many_in_a_row() -> None:
    probe, tally, verdicts = Probe(success_threshold=2, failure_threshold=3), Tally(), []
    for passed in (True, True, False, False, True, False, False, False, True, True):
        tally = tally.note(passed, probe)
        verdicts.append(tally.verdict)
    assert verdicts == [None, True, True, True, True, True, True, False, False, True]


def test_a_pods_life_never_goes_back() -> None:
    assert move(Stage.SYNC, Happening.FINISHED) is Stage.TERMINATING
    assert move(Stage.TERMINATING, Happening.STOPPED) is Stage.TERMINATED
    assert move(Stage.TERMINATED, Happening.DELETED) is Stage.TERMINATED
    with pytest.raises(IllegalTransition):
        move(Stage.SYNC, Happening.STOPPED)


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("nginx", "nginx:latest"),
        ("nginx:1", "nginx:1"),
        ("r:5000/x", "r:5000/x:latest"),
        ("x@sha256:ab", "x@sha256:ab"),
    ],
)
def test_images_get_the_latest_tag(image: str, wanted: str) -> None:
    assert with_tag(image) == wanted


def test_what_is_no_image_is_refused() -> None:
    for bad in ("", " x", "a b", "-x"):
        with pytest.raises(ValueError, match="invalid reference format"):
            with_tag(bad)


def test_registry_logins_are_found_by_host_and_path() -> None:
    auth = base64.b64encode(b"me:pw").decode()
    secret = Secret(
        data={
            ".dockerconfigjson": json.dumps(
                {
                    "auths": {
                        "https://index.docker.io/v1/": {"auth": auth},
                        "reg.io/team": {"username": "t", "password": "p"},
                        "reg.io": {"auth": auth},
                    }
                }
            ).encode()
        }
    )
    assert registry_of("nginx:1") == ("docker.io", "nginx:1")
    assert [c.username for c in credentials_for("nginx:1", [secret])] == ["me"]
    assert [c.username for c in credentials_for("reg.io/team/x:1", [secret])] == ["t", "me"]
    assert credentials_for("other.io/x", [secret, Secret(data={".dockercfg": b"broken"})]) == []


LINES = (
    b"2026-01-02T03:04:05.000000001Z stdout F one\n"
    b"2026-01-02T03:04:06.000000001Z stderr P tw\n"
    b"2026-01-02T03:04:06.000000002Z stderr F o\n"
    b"2026-01-02T03:04:07.000000001Z stdout F three\n"
)


async def collect(path: Path, **options: object) -> bytes:
    return b"".join([piece async for piece in logs.read_log(path, LogOptions(**options), NOW, lambda: False)])  # type: ignore[arg-type]


async def test_logs_are_read_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(LINES)
    assert await collect(path) == b"one\ntwo\nthree\n"
    assert await collect(path, tail_lines=2) == b"two\nthree\n"
    assert await collect(path, tail_lines=0) == b""
    assert await collect(path, tail_lines=9) == b"one\ntwo\nthree\n"
    assert await collect(path, timestamps=True, tail_lines=1) == b"2026-01-02T03:04:07.000000001Z three\n"
    assert await collect(path, since_time="2026-01-02T03:04:06Z", limit_bytes=5) == b"two\nt"
    assert await collect(path, stream="Stderr") == b"two\n"
    assert logs.last_lines(path, 1, 100) == "three\n"


def test_log_rotation_keeps_so_many(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for stamp in range(6):
        path.write_text(str(stamp))
        assert logs.rotate(path, 3, f"2026010{stamp}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.log.20260104", "0.log.20260105"]


def test_images_go_oldest_use_first_and_pinned_ones_stay() -> None:
    def image(name: str, size: int, *, pinned: bool = False) -> Image:
        return Image(name, (f"{name}:1",), (), size, pinned, None, "")

    images = [image("a", 10), image("b", 10), image("c", 10, pinned=True), image("d", 10), image("e", 10)]
    used = {"a": 500.0, "b": 100.0, "c": 0.0, "d": 300.0, "e": 950.0}
    assert [i.id for i in garbage.choose(images, {"d"}, used, {"x"}, 15, 1000.0)] == ["b", "a"]
    assert [i.id for i in garbage.choose(images, set(), used, {"b:1"}, 5, 1000.0)] == ["d"]


MACHINE = Machine(4, 8 * GIB, 100 * GIB, 32768, "m", "s", "b", "6.1", "Debian", "arm64", "box", 0)
CONFIG = NodeConfig(
    node_name="n1", node_ip="192.0.2.1", data_dir=Path("/nowhere"), reserved={"memory": "1Gi", "cpu": "500m"}
)


def test_a_node_describes_itself() -> None:
    made = describe(CONFIG, MACHINE, Version("containerd", "1.6.20"), Vitals(), [], NodeStatus(), NOW)
    assert [(c.type, c.status, c.reason) for c in made.conditions] == [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"), ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"), ("Ready", "True", "KubeletReady"),
    ]  # fmt: skip
    assert (made.capacity["cpu"], made.capacity["memory"], made.capacity["pods"]) == ("4", "8Gi", "110")
    assert made.node_info.container_runtime_version == "containerd://1.6.20"
    assert allocatable(CONFIG, MACHINE)["cpu"] == "3500m"
    again = describe(CONFIG, MACHINE, Version("containerd", "1.6.20"), Vitals(), [], made, NOW.replace(hour=5))
    assert same_but_heartbeat(made, again)
    broken = conditions(Vitals(runtime_trouble="r", network_trouble="n"), made.conditions, NOW)
    assert (broken[-1].status, broken[-1].reason, broken[-1].message) == ("False", "KubeletNotReady", "[r, n]")


def test_containerd_is_configured_for_the_machine() -> None:
    config = ContainerdConfig(root=Path("/r"), state=Path("/s"), cni_conf_dir="/c", cni_bin_dir="/b")
    text = render(config, snapshotter="native", restrict_oom=True)
    assert "restrict_oom_score_adj = true" in text
    assert 'address = "/s/containerd.sock"' in text
    assert f'sandbox_image = "{packing.PAUSE_IMAGE}"' in text
    assert restricted_oom_scores("Name:\tx\nCapEff:\t0000000000000000\n")
    assert not restricted_oom_scores("CapEff:\t000001ffffffffff\n")


@pytest.mark.parametrize(("machine", "elf_machine"), [("x86_64", 62), ("aarch64", 183), ("armv7l", 40)])
def test_the_pause_program_is_a_small_static_executable(machine: str, elf_machine: int) -> None:
    program = packing.pause_program(machine)
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == elf_machine
    assert len(program) < 300
    assert packing.pause_image(machine) == packing.pause_image(machine)


def test_who_is_evicted_when_the_machine_runs_short() -> None:
    def candidate(uid: str, used: int, request: str = "0", priority: int = 0) -> eviction.Candidate:
        container = {**APP, "resources": {"requests": {"memory": request}}}
        return eviction.Candidate(make_pod(container, priority=priority, metadata={"uid": uid, "name": uid}), used)

    modest = candidate("modest", 10, "1Ki")
    greedy = candidate("greedy", 5000, "1Ki")
    worse = candidate("worse", 9000, "1Ki", priority=5)
    vital = candidate("vital", 1 << 30, priority=2_000_000_000)
    assert eviction.choose([vital, modest, worse, greedy]) is greedy
    assert eviction.choose([modest, worse]) is worse
    assert eviction.choose([modest]) is modest
    assert eviction.choose([vital]) is None
    assert eviction.shortage(1 << 40, 100, 50) is None
    assert eviction.shortage(1 << 40, 100, 4) == eviction.Shortage("ephemeral-storage", 5, 4)
    short = eviction.shortage(50 << 20, 100, 50)
    assert short is not None
    assert eviction.words(short, candidate("p", 2048, "1Ki")) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        "Container app was using 2Ki, request is 1Ki, has larger consumption of memory. "
    )


def test_cgroups_of_pods_that_are_no_more_are_swept(tmp_path: Path) -> None:
    for name in (
        "cpu/kubepods/podgone/inner",
        "cpu/kubepods/burstable/podgone",
        "cpu/kubepods/besteffort/podhere",
        "memory/kubepods/podnew",
    ):
        (tmp_path / name).mkdir(parents=True)
    kept = tmp_path / "memory/kubepods/podnew"
    later = kept.stat().st_mtime + 3600
    os.utime(kept, (later, later))
    assert cgroups.PodCgroups(tmp_path).sweep({"here"}, later + 1) == 2
    assert sorted(p.name for p in tmp_path.rglob("pod*")) == ["podhere", "podnew"]
