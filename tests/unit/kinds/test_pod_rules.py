"""Rules of pods beyond those the recorded cases touch: what is fine, and what is refused where."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.kinds.core import pod_update_rules
from edgekube.kinds.core.pod import KIND, Pod

CONTAINER: dict[str, Any] = {"name": "app", "image": "nginx:1"}


def pod(spec: dict[str, Any] | None = None, **container: Any) -> Pod:
    """A pod as it comes out of defaulting; `container` changes its only container."""
    body = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"serviceAccountName": "default", "containers": [CONTAINER | container]} | (spec or {}),
    }
    item = KIND.from_dict(body)
    KIND.default(item)
    return item


def told(item: Pod) -> list[str]:
    """The broken rules as text, cut after the path and the first words."""
    return [str(one) for one in KIND.rules(item)]


def stored(item: Pod) -> Pod:
    """The same, as an update sees it."""
    item.metadata.resource_version = "7"
    return item


def test_an_ordinary_pod_with_everything_in_it_is_fine() -> None:
    item = pod(
        {
            "initContainers": [
                {"name": "proxy", "image": "p", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 1}}}
            ],
            "volumes": [
                {"name": "config", "configMap": {"name": "c", "items": [{"key": "a", "path": "b/c"}]}},
                {"name": "data", "persistentVolumeClaim": {"claimName": "d"}},
                {"name": "host", "hostPath": {"path": "/var/log", "type": "Directory"}},
            ],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["3"]}]},
                            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
                        ]
                    }
                }
            },
            "tolerations": [{"operator": "Exists"}],
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["::1"], "searches": ["a_b.c.", "."]},
            "securityContext": {"sysctls": [{"name": "net/ipv4/tcp_syncookies", "value": "1"}], "runAsUser": 0},
        },
        ports=[{"containerPort": 80, "name": "http"}],
        volumeMounts=[{"name": "config", "mountPath": "/c", "subPath": "b"}, {"name": "host", "mountPath": "/h"}],
        volumeDevices=[{"name": "data", "devicePath": "/dev/d"}],
        env=[
            {"name": "odd name", "value": "x"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app.io/x']"}}},
            {"name": "M", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        ],
        lifecycle={"preStop": {"sleep": {"seconds": 5}}},
        readinessProbe={"httpGet": {"port": "http"}, "successThreshold": 2},
        resources={"requests": {"cpu": "1", "hugepages-2Mi": "4Mi"}, "limits": {"cpu": "2", "hugepages-2Mi": "4Mi"}},
    )
    assert told(item) == []


@pytest.mark.parametrize(
    ("container", "field", "words"),
    [
        ({"name": ""}, "spec.containers[0].name", "Required value"),
        ({"image": " nginx"}, "spec.containers[0].image", "must not have leading or trailing whitespace"),
        ({"restartPolicy": "Nope"}, "spec.containers[0].restartPolicy", "Unsupported value"),
        ({"ports": [{"containerPort": 70000}]}, "spec.containers[0].ports[0].containerPort", "between 1 and 65535"),
        ({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}, "spec.containers[0].volumeMounts[0].name", "Not found"),
        (
            {"volumeDevices": [{"name": "x", "devicePath": "/x"}]},
            "spec.containers[0].volumeDevices[0].name",
            "Not found",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]},
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
            "field label not supported",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]},
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
            "Unsupported value",
        ),
        (
            {"env": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            "spec.containers[0].env[0].valueFrom",
            "may not be specified when `value` is not empty",
        ),
        ({"envFrom": [{}]}, "spec.containers[0].envFrom", "must specify one of: `configMapRef` or `secretRef`"),
        (
            {"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}},
            "spec.containers[0].lifecycle.preStop.sleep",
            "less than terminationGracePeriodSeconds (30)",
        ),
        (
            {"resources": {"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}}},
            "spec.containers[0].resources.limits[hugepages-2Mi]",
            "not positive integer multiple",
        ),
        (
            {"resources": {"claims": [{"name": "gpu"}]}},
            "spec.containers[0].resources.claims[0]",
            "must be one of the names in pod.spec.resourceClaims which is empty",
        ),
        (
            {"securityContext": {"allowPrivilegeEscalation": False, "privileged": True}},
            "spec.containers[0].securityContext",
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
        (
            {"securityContext": {"runAsUser": -1}},
            "spec.containers[0].securityContext.runAsUser",
            "must be between 0 and 2147483647",
        ),
        (
            {"securityContext": {"procMount": "Unmasked"}},
            "spec.containers[0].securityContext.procMount",
            "`hostUsers` must be false",
        ),
        (
            {"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]},
            "spec.containers[0].resizePolicy",
            "Unsupported value",
        ),
    ],
)
def test_a_container_that_breaks_a_rule_is_told_where(container: dict[str, Any], field: str, words: str) -> None:
    found = [one for one in KIND.rules(pod(**container)) if one.field == field]
    assert any(words in one.message for one in found), told(pod(**container))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"volumes": [{"name": "a"}, {"name": "a"}]}, "spec.volumes[1].name"),
        ({"volumes": [{"name": "a", "hostPath": {"path": "/a/../b"}}]}, "spec.volumes[0].hostPath.path"),
        ({"volumes": [{"name": "a", "nfs": {"server": "s", "path": "x"}}]}, "spec.volumes[0].nfs.path"),
        ({"volumes": [{"name": "a", "emptyDir": {}, "configMap": {"name": "c"}}]}, "spec.volumes[0].configMap"),
        (
            {"volumes": [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}]},
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds",
        ),
        ({"volumes": [{"name": "a", "csi": {"driver": ""}}]}, "spec.volumes[0].csi.driver"),
        ({"hostUsers": False, "hostPID": True}, "spec.hostPID"),
        ({"runtimeClassName": "Bad_"}, "spec.runtimeClassName"),
        ({"preemptionPolicy": "Always"}, "spec.preemptionPolicy"),
        ({"overhead": {"cpu": "-1"}}, "spec.overhead.limits[cpu]"),
        ({"ephemeralContainers": [{"name": "e", "image": "i"}]}, "spec.ephemeralContainers"),
        ({"dnsConfig": {"nameservers": ["1.1.1.1"] * 4}}, "spec.dnsConfig.nameservers"),
        ({"resourceClaims": [{"name": "a"}]}, "spec.resourceClaims[0]"),
        ({"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "nvidia.com/gpu": "1"}}}, "spec.resources.limits[nvidia.com/gpu]"),
        (
            {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 0, "podAffinityTerm": {"topologyKey": "zone"}}]}}},
            "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
        ),
        (
            {"topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2,
                 "labelSelector": {}}]},
            "spec.topologySpreadConstraints[0].minDomains",
        ),
        ({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}}, "spec.securityContext.windowsOptions"),
        ({"hostNetwork": True, "hostnameOverride": "a"}, "spec.hostnameOverride"),
    ],
)  # fmt: skip
def test_a_spec_that_breaks_a_rule_is_told_where(spec: dict[str, Any], field: str) -> None:
    assert field in [one.field for one in KIND.rules(pod(spec))], told(pod(spec))


def test_an_init_container_has_no_probes_unless_it_is_a_sidecar() -> None:
    probe = {"livenessProbe": {"tcpSocket": {"port": 1}}}
    plain = pod({"initContainers": [{"name": "i", "image": "i"} | probe]})
    sidecar = pod({"initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always"} | probe]})
    assert [one.field for one in KIND.rules(plain)] == ["spec.initContainers[0].livenessProbe"]
    assert told(sidecar) == []


def test_ephemeral_containers_are_refused_on_creation_and_accepted_later() -> None:
    item = pod({"ephemeralContainers": [{"name": "debug", "image": "b", "targetContainerName": "app"}]})
    assert [one.field for one in KIND.rules(item)] == ["spec.ephemeralContainers"]
    assert told(stored(item)) == []


def test_an_ephemeral_container_may_not_have_ports_and_must_target_a_known_container() -> None:
    item = stored(
        pod(
            {
                "ephemeralContainers": [
                    {"name": "d", "image": "b", "ports": [{"containerPort": 1}], "targetContainerName": "nobody"}
                ]
            }
        )
    )
    assert sorted(one.field for one in KIND.rules(item)) == [
        "spec.ephemeralContainers[0].ports",
        "spec.ephemeralContainers[0].targetContainerName",
    ]


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ({}, {"activeDeadlineSeconds": 5}, []),
        ({"activeDeadlineSeconds": 5}, {}, ["spec.activeDeadlineSeconds"]),
        ({}, {"tolerations": [{"key": "a", "operator": "Exists"}]}, []),
        ({"tolerations": [{"key": "a", "operator": "Exists"}]}, {}, ["spec.tolerations"]),
        ({"terminationGracePeriodSeconds": -1}, {"terminationGracePeriodSeconds": 1}, []),
        ({"terminationGracePeriodSeconds": 5}, {"terminationGracePeriodSeconds": 1}, ["spec"]),
        ({}, {"hostname": "h"}, ["spec"]),
        ({"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b", "c": "d"}}, ["spec"]),
        (
            {"schedulingGates": [{"name": "x.io/a"}], "nodeSelector": {"a": "b"}},
            {"schedulingGates": [{"name": "x.io/a"}], "nodeSelector": {"a": "b", "c": "d"}},
            [],
        ),
        (
            {"schedulingGates": [{"name": "x.io/a"}], "nodeSelector": {"a": "b"}},
            {"schedulingGates": [{"name": "x.io/a"}], "nodeSelector": {"a": "c"}},
            ["spec.nodeSelector"],
        ),
        ({"schedulingGates": [{"name": "x.io/a"}]}, {}, []),
    ],
)
def test_little_of_a_spec_may_change(before: dict[str, Any], after: dict[str, Any], fields: list[str]) -> None:
    assert [one.field for one in KIND.update_rules(pod(after), pod(before))] == fields


def test_an_image_may_change_and_containers_may_not_come_or_go() -> None:
    assert KIND.update_rules(pod(image="nginx:2"), pod()) == []
    two = pod({"containers": [CONTAINER, CONTAINER | {"name": "b"}]})
    assert [one.field for one in KIND.update_rules(two, pod())] == ["spec.containers"]


def test_a_resize_touches_cpu_and_memory_and_keeps_the_class() -> None:
    old = pod(resources={"requests": {"cpu": "100m", "memory": "1Mi"}})
    assert pod_update_rules.resize(pod(resources={"requests": {"cpu": "200m", "memory": "1Mi"}}), old) == []
    guaranteed = {"cpu": "200m", "memory": "1Mi"}
    broken = pod_update_rules.resize(pod(resources={"requests": guaranteed, "limits": guaranteed}), old)
    assert ["QOS Class" in one.message for one in broken] == [True]
    removed = pod_update_rules.resize(pod(resources={"requests": {"cpu": "200m"}}), old)
    assert [one.field for one in removed] == ["spec.containers[0].resources.requests"]


def test_a_container_that_ended_for_good_cannot_run_again() -> None:
    def reported(state: dict[str, Any]) -> Pod:
        item = pod({"restartPolicy": "Never"})
        document = KIND.to_dict(item)
        document["status"] = {
            "qosClass": "BestEffort",
            "containerStatuses": [
                {"name": "app", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
            ],
        }
        return KIND.from_dict(document)

    ended, running = reported({"terminated": {"exitCode": 1}}), reported({"running": {}})
    assert [one.field for one in KIND.status_rules(running, ended)] == ["status.containerStatuses[0].state"]
    assert KIND.status_rules(ended, running) == []


def test_two_addresses_are_of_two_families() -> None:
    def at(*addresses: str) -> Pod:
        document = KIND.to_dict(pod())
        document["status"] = {"podIP": addresses[0], "podIPs": [{"ip": one} for one in addresses]}
        return KIND.from_dict(document)

    assert KIND.status_rules(at("10.0.0.1", "fd00::1"), at("10.0.0.1")) == []
    assert [one.field for one in KIND.status_rules(at("10.0.0.1", "10.0.0.2"), at("10.0.0.1"))] == ["status.podIPs"]


def test_legal_but_odd_pods_come_with_warnings() -> None:
    item = pod(
        {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
            "containers": [
                CONTAINER
                | {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}]},
                {"name": "b", "image": "b", "resources": {"limits": {"memory": "1500m"}}},
            ],
        }
    )
    assert KIND.warnings(item, None) == [
        'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
        'spec.imagePullSecrets[1].name: duplicate name "a"',
        'spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply',
        'spec.containers[1].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer',
        'spec.containers[1].resources.requests[memory]: fractional byte value "1500m" is invalid, must be an integer',
    ]
