"""Deployments, StatefulSets, DaemonSets, jobs and their kin: strategies, what may change, what counts must satisfy."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.api.kind import Kind
from edgekube.kinds.apps.daemonset import KIND as DAEMON_SET
from edgekube.kinds.apps.daemonset import TEMPLATE_GENERATION
from edgekube.kinds.apps.deployment import KIND as DEPLOYMENT
from edgekube.kinds.apps.replicaset import KIND as REPLICA_SET
from edgekube.kinds.apps.statefulset import KIND as STATEFUL_SET
from edgekube.kinds.batch.cronjob import KIND as CRON_JOB
from edgekube.kinds.batch.job import KIND as JOB

TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
SELECTED: dict[str, Any] = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
JOB_TEMPLATE = {"spec": TEMPLATE["spec"] | {"restartPolicy": "Never"}}
UID = "11111111-1111-1111-1111-111111111111"


def made(kind: Kind[Any], spec: dict[str, Any], name: str = "w") -> Any:
    """A defaulted and prepared object."""
    item = kind.from_dict({"metadata": {"name": name, "namespace": "d"}, "spec": spec})
    kind.default(item)
    item.metadata.uid = UID
    kind.prepare_create(item)
    return item


def stored(kind: Kind[Any], spec: dict[str, Any]) -> Any:
    """As an update finds it."""
    item = made(kind, spec)
    item.metadata.resource_version = "7"
    return item


def fields(kind: Kind[Any], item: Any) -> list[str]:
    return [one.field for one in kind.rules(item)]


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET])
def test_a_workload_with_only_what_it_needs_is_fine(kind: Kind[Any]) -> None:
    assert fields(kind, made(kind, SELECTED)) == []


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET, DAEMON_SET])
def test_a_selector_stays(kind: Kind[Any]) -> None:
    template = TEMPLATE | {"metadata": {"labels": {"a": "b", "c": "d"}}}
    new = stored(kind, {"selector": {"matchLabels": {"c": "d"}}, "template": template})
    assert [one.field for one in kind.update_rules(new, stored(kind, SELECTED))] == ["spec.selector"]


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET])
def test_an_empty_selector_is_refused(kind: Kind[Any]) -> None:
    assert "spec.selector" in fields(kind, made(kind, {"selector": {}, "template": TEMPLATE}))
    assert "spec.selector" in fields(kind, made(kind, {"template": TEMPLATE}))


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, ["spec.updateStrategy.rollingUpdate.maxSurge"]),
        ({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, []),
        ({"rollingUpdate": {"maxUnavailable": 0}}, ["spec.updateStrategy.rollingUpdate.maxUnavailable"]),
        ({"rollingUpdate": {"maxUnavailable": "101%"}}, ["spec.updateStrategy.rollingUpdate.maxUnavailable"]),
        ({"type": "OnDelete"}, []),
    ],
)
def test_daemon_pods_are_replaced_before_or_after_not_both(strategy: dict[str, Any], expected: list[str]) -> None:
    assert fields(DAEMON_SET, made(DAEMON_SET, SELECTED | {"updateStrategy": strategy})) == expected


def test_templates_of_a_daemon_set_are_counted() -> None:
    old = stored(DAEMON_SET, SELECTED)
    assert old.metadata.annotations == {TEMPLATE_GENERATION: "1"}
    same, other = stored(DAEMON_SET, SELECTED), stored(DAEMON_SET, SELECTED)
    other.spec.template.spec.containers[0].image = "i:2"
    DAEMON_SET.prepare_update(same, old)
    DAEMON_SET.prepare_update(other, old)
    assert same.metadata.annotations[TEMPLATE_GENERATION] == "1"
    assert other.metadata.annotations[TEMPLATE_GENERATION] == "2"


def test_a_stateful_template_may_mount_the_claims_it_gets() -> None:
    spec = {
        "containers": [{"name": "c", "image": "i:1", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
    }
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    whole = SELECTED | {
        "template": TEMPLATE | {"spec": spec},
        "volumeClaimTemplates": [claim | {"metadata": {"name": "data"}}],
    }
    assert fields(STATEFUL_SET, made(STATEFUL_SET, whole)) == []
    other = whole | {"volumeClaimTemplates": [claim | {"metadata": {"name": "other"}}]}
    assert fields(STATEFUL_SET, made(STATEFUL_SET, other)) == ["spec.template.spec.containers[0].volumeMounts[0].name"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"replicas": 3, "minReadySeconds": 2, "revisionHistoryLimit": 1, "ordinals": {"start": 1}}, []),
        ({"updateStrategy": {"type": "OnDelete"}}, []),
        ({"serviceName": "other"}, ["spec"]),
        ({"podManagementPolicy": "Parallel"}, ["spec"]),
    ],
)
def test_little_of_a_stateful_set_may_change(change: dict[str, Any], expected: list[str]) -> None:
    new, old = stored(STATEFUL_SET, SELECTED | change), stored(STATEFUL_SET, SELECTED)
    assert [one.field for one in STATEFUL_SET.update_rules(new, old)] == expected


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET, STATEFUL_SET])
def test_no_part_is_greater_than_the_whole(kind: Kind[Any]) -> None:
    new, old = stored(kind, SELECTED), stored(kind, SELECTED)
    new.status.replicas, new.status.ready_replicas, new.status.available_replicas = 1, 2, -1
    assert {one.field for one in kind.status_rules(new, old)} == {"status.readyReplicas", "status.availableReplicas"}


def test_a_job_selects_its_pods_by_its_uid_and_is_labelled_alike() -> None:
    job = made(JOB, {"template": JOB_TEMPLATE})
    assert job.spec.selector.match_labels == {"batch.kubernetes.io/controller-uid": UID}
    assert job.metadata.labels == job.spec.template.metadata.labels
    assert fields(JOB, job) == []


def test_a_job_with_labels_of_its_own_keeps_just_those() -> None:
    item = JOB.from_dict({"metadata": {"name": "j", "labels": {"x": "y"}}, "spec": {"template": JOB_TEMPLATE}})
    JOB.default(item)
    item.metadata.uid = UID
    JOB.prepare_create(item)
    assert item.metadata.labels == {"x": "y"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"completionMode": "Indexed"}, []),
        ({"completionMode": "Indexed", "parallelism": 1}, ["spec.completions"]),
        ({"backoffLimitPerIndex": 1}, ["spec.backoffLimitPerIndex"]),
        ({"completionMode": "Indexed", "completions": 2, "maxFailedIndexes": 1}, ["spec.backoffLimitPerIndex"]),
        ({"successPolicy": {"rules": [{"succeededCount": 1}]}}, ["spec.successPolicy"]),
        (
            {"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{"succeededIndexes": "0-3"}]}},
            ["spec.successPolicy.rules[0].succeededIndexes"],
        ),
        ({"managedBy": "me"}, ["spec.managedBy"]),
        ({"managedBy": "example.com/me"}, []),
        (
            {"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3, 0]}}]}},
            ["spec.podFailurePolicy.rules[0].onExitCodes.values[1]", "spec.podFailurePolicy.rules[0].onExitCodes.values"],
        ),
        (
            {"podFailurePolicy": {"rules": [{"action": "FailIndex", "onPodConditions": [{"type": "A"}]}]}},
            ["spec.podFailurePolicy.rules[0].action"],
        ),
        ({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}, ["spec.podFailurePolicy.rules[0]"]),
        ({"ttlSecondsAfterFinished": -1}, ["spec.ttlSecondsAfterFinished"]),
    ],
)  # fmt: skip
def test_what_a_job_cannot_mean_is_refused(spec: dict[str, Any], expected: list[str]) -> None:
    assert fields(JOB, made(JOB, {"template": JOB_TEMPLATE} | spec)) == expected


def test_a_suspended_job_may_still_choose_its_nodes() -> None:
    old = stored(JOB, {"template": JOB_TEMPLATE, "suspend": True})
    new = stored(JOB, {"template": JOB_TEMPLATE, "suspend": True})
    new.spec.template.spec.node_selector = {"disk": "ssd"}
    assert JOB.update_rules(new, old) == []
    new.spec.template.spec.containers[0].image = "i:2"
    assert [one.field for one in JOB.update_rules(new, old)] == ["spec.template.spec"]


def test_an_indexed_job_is_scaled_by_both_counts_at_once() -> None:
    spec = {"template": JOB_TEMPLATE, "completionMode": "Indexed", "completions": 2, "parallelism": 2}
    old, new = stored(JOB, spec), stored(JOB, spec | {"completions": 3, "parallelism": 3})
    assert JOB.update_rules(new, old) == []
    only_one = stored(JOB, spec | {"completions": 3})
    assert [one.field for one in JOB.update_rules(only_one, old)] == ["spec.completions"]


def test_a_cron_job_leaves_selectors_to_its_jobs_and_room_in_its_name() -> None:
    spec = {"schedule": "@daily", "timeZone": "Europe/Berlin", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}
    assert fields(CRON_JOB, made(CRON_JOB, spec)) == []
    assert fields(CRON_JOB, made(CRON_JOB, spec, "n" * 53)) == ["metadata.name"]
    selecting = {"spec": {"template": JOB_TEMPLATE, "selector": {}, "manualSelector": True}}
    assert fields(CRON_JOB, made(CRON_JOB, spec | {"jobTemplate": selecting})) == [
        "spec.jobTemplate.spec.selector",
        "spec.jobTemplate.spec.manualSelector",
    ]


def test_tables_tell_how_far_a_job_is() -> None:
    job = made(JOB, {"template": JOB_TEMPLATE, "completions": 3})
    document = JOB.to_dict(job)
    document["status"] = {
        "succeeded": 1,
        "startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "FailureTarget", "status": "True"}, {"type": "Suspended", "status": "False"}],
    }
    seen = [column.value(JOB.from_dict(document), "2026-01-01T00:01:30Z") for column in JOB.columns[1:4]]
    assert seen == ["FailureTarget", "1/3", "90s"]
