"""Defaults and first states of pods, and how long their deletion takes."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.api.meta import Time
from edgekube.kinds.core.pod import KIND, Pod
from edgekube.kinds.core.pod_defaults import pull_policy
from edgekube.kinds.core.pod_resources import qos_class


def made(spec: dict[str, Any], **meta: Any) -> Pod:
    """A pod after defaulting and preparation."""
    item = KIND.from_dict({"metadata": {"name": "p"} | meta, "spec": spec})
    KIND.default(item)
    item.metadata.creation_timestamp = Time("2026-01-01T00:00:00Z")
    KIND.prepare_create(item)
    return item


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("registry.example:5000/a/b", "Always"),
        ("registry.example:5000/a/b:v1", "IfNotPresent"),
        ("nginx@sha256:" + "a" * 64, "IfNotPresent"),
        ("nginx:latest@sha256:" + "a" * 64, "Always"),
        ("Not An Image", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_images_without_a_fixed_tag_are_pulled_always(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


@pytest.mark.parametrize(
    ("containers", "name"),
    [
        ([{}], "BestEffort"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
        ([{"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
    ],
)
def test_the_quality_of_service_follows_from_cpu_and_memory(containers: list[dict[str, Any]], name: str) -> None:
    spec = {"containers": [{"name": f"c{at}", "image": "i:1", "resources": one} for at, one in enumerate(containers)]}
    item = made(spec)
    assert item.status.qos_class == name == qos_class(item.spec)


def test_pod_level_limits_become_requests_and_cover_the_containers() -> None:
    item = made(
        {
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "containers": [
                {"name": "a", "image": "i:1", "resources": {"requests": {"cpu": "500m"}}},
                {"name": "b", "image": "i:1", "resources": {"requests": {"cpu": "250m"}}},
            ],
        }
    )
    assert item.spec.resources is not None
    assert item.spec.resources.requests == {"cpu": "750m", "memory": "1Gi"}


def test_both_names_of_the_service_account_say_the_same() -> None:
    item = made({"containers": [], "serviceAccount": "old"})
    assert (item.spec.service_account_name, item.spec.service_account) == ("old", "old")


def test_ports_on_the_hosts_network_are_host_ports() -> None:
    item = made({"hostNetwork": True, "containers": [{"name": "a", "image": "i:1", "ports": [{"containerPort": 80}]}]})
    assert [(port.host_port, port.protocol) for port in (item.spec.containers or [])[0].ports] == [(80, "TCP")]


def test_match_label_keys_are_spelt_out_from_the_pods_own_labels() -> None:
    item = made(
        {
            "containers": [],
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {},
                 "matchLabelKeys": ["hash", "missing"]}
            ],
        },
        labels={"hash": "abc"},
    )  # fmt: skip
    selector = item.spec.topology_spread_constraints[0].label_selector
    assert selector is not None
    assert [(one.key, one.operator, one.values) for one in selector.match_expressions] == [("hash", "In", ["abc"])]
    assert not [one for one in KIND.rules(item) if "matchLabelKeys" in one.field]


def test_a_gated_pod_says_that_it_is() -> None:
    item = made({"containers": [], "schedulingGates": [{"name": "x.io/a"}]})
    assert [(one.type, one.reason) for one in item.status.conditions] == [("PodScheduled", "SchedulingGated")]


@pytest.mark.parametrize(
    ("spec", "phase", "seconds"),
    [
        ({"nodeName": "n"}, "Running", 30),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 5}, "Running", 5),
        ({"nodeName": "n", "terminationGracePeriodSeconds": -5}, "Running", 1),
        ({"nodeName": "n"}, "Succeeded", 0),
        ({}, "Pending", 0),
    ],
)
def test_only_a_pod_that_runs_takes_time_to_go(spec: dict[str, Any], phase: str, seconds: int) -> None:
    item = made({"containers": []} | spec)
    item.status.phase = phase
    assert KIND.grace_s is not None
    assert KIND.grace_s(item) == seconds


def test_a_report_without_the_class_keeps_it() -> None:
    item = KIND.from_dict({"spec": {"containers": []}, "status": {"phase": "Running", "podIP": "10.0.0.1"}})
    KIND.default(item)
    assert item.status.qos_class == "BestEffort"
    assert [one.ip for one in item.status.pod_ips] == ["10.0.0.1"]
