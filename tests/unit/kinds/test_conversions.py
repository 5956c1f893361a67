"""Kinds that are stored as another version: the way there and back loses nothing."""

import json

from edgekube.kinds.autoscaling import conversion
from edgekube.kinds.autoscaling.horizontalpodautoscaler import KIND as V2
from edgekube.kinds.autoscaling.horizontalpodautoscaler_v1 import KIND as V1
from edgekube.kinds.core.event import KIND as CORE_EVENT
from edgekube.kinds.events.event import KIND as EVENT
from edgekube.kinds.events.event import stored_form

TARGET = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
METRICS = [
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
    {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "30"}}},
    {
        "type": "Pods",
        "pods": {
            "metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "1500m"},
        },
    },
    {
        "type": "Object",
        "object": {
            "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
            "target": {"type": "Value", "value": "2"},
            "metric": {"name": "r"},
        },
    },
    {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 70},
            "container": "c",
        },
    },
]
AUTOSCALER = {
    "kind": "HorizontalPodAutoscaler",
    "apiVersion": "autoscaling/v2",
    "metadata": {"name": "h", "annotations": {"mine": "x"}},
    "spec": {
        "scaleTargetRef": TARGET,
        "minReplicas": 2,
        "maxReplicas": 3,
        "metrics": METRICS,
        "behavior": {
            "scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}], "selectPolicy": "Min"}
        },
    },
    "status": {
        "currentReplicas": 1,
        "desiredReplicas": 2,
        "currentMetrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "current": {"averageUtilization": 55, "averageValue": "10m"}},
            }
        ],
        "conditions": [{"type": "AbleToScale", "status": "True", "reason": "Fine"}],
    },
}


def test_an_autoscaler_read_as_v1_and_written_back_is_the_same():
    as_v1 = V1.from_stored(AUTOSCALER)
    back = V2.from_dict(V1.to_stored(V1.to_dict(V1.from_dict(as_v1))))
    assert back == V2.from_dict(AUTOSCALER)


def test_v1_says_its_cpu_target_itself_and_the_rest_in_annotations():
    as_v1 = V1.from_stored(AUTOSCALER)
    assert as_v1["spec"]["targetCPUUtilizationPercentage"] == 60
    assert as_v1["status"]["currentCPUUtilizationPercentage"] == 55
    annotations = as_v1["metadata"]["annotations"]
    assert annotations["mine"] == "x"
    assert [metric["type"] for metric in json.loads(annotations[conversion.METRICS])] == [
        "Resource", "External", "Pods", "Object", "ContainerResource",
    ]  # fmt: skip
    assert json.loads(annotations[conversion.BEHAVIOR])["ScaleDown"]["SelectPolicy"] == "Min"


def test_an_external_metric_is_annotated_as_upstream_writes_it():
    external = {**AUTOSCALER, "spec": {"metrics": [METRICS[2]]}, "status": {}}
    assert V1.from_stored(external)["metadata"]["annotations"][conversion.METRICS] == (
        '[{"type":"External","external":{"metricName":"q","targetValue":"30"}}]'
    )


def test_v1_without_a_target_means_eighty_percent():
    stored = V1.to_stored({"kind": "HorizontalPodAutoscaler", "metadata": {}, "spec": {"scaleTargetRef": TARGET}})
    assert stored["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]


def test_a_broken_annotation_is_dropped():
    document = {"metadata": {"annotations": {conversion.METRICS: "{", conversion.BEHAVIOR: "1"}}, "spec": {}}
    stored = V1.to_stored(document)
    assert "annotations" not in stored["metadata"]
    assert "behavior" not in stored["spec"]


def test_an_event_goes_to_core_and_back():
    document = {
        "kind": "Event",
        "apiVersion": "events.k8s.io/v1",
        "metadata": {"name": "e"},
        "eventTime": "2024-01-02T03:04:05.000000Z",
        "reportingController": "c",
        "reportingInstance": "i",
        "regarding": {"kind": "Pod"},
        "note": "n",
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
        "deprecatedCount": 3,
    }
    stored = EVENT.to_stored(document)
    assert stored["apiVersion"] == "v1"
    assert (stored["message"], stored["count"], stored["reportingComponent"]) == ("n", 3, "c")
    assert CORE_EVENT.to_dict(CORE_EVENT.from_dict(stored)) == stored
    assert EVENT.from_stored(stored) == document


def test_a_core_event_without_a_reporter_has_none_in_the_other_group():
    stored = CORE_EVENT.to_dict(CORE_EVENT.from_dict({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}}))
    assert "reportingController" not in EVENT.from_stored(stored)
    assert "reportingInstance" not in EVENT.from_stored(stored)


def test_an_event_has_one_stored_form_as_document_and_as_object():
    document = {
        "kind": "Event",
        "apiVersion": "events.k8s.io/v1",
        "metadata": {"name": "e", "namespace": "n"},
        "eventTime": "2024-01-02T03:04:05.000000Z",
        "series": {"count": 3, "lastObservedTime": "2024-01-02T03:04:06.000000Z"},
        "reportingController": "c",
        "reportingInstance": "i",
        "action": "A",
        "reason": "R",
        "regarding": {"kind": "Pod"},
        "related": {"kind": "Node"},
        "note": "n",
        "type": "Normal",
        "deprecatedSource": {"component": "s"},
        "deprecatedFirstTimestamp": "2024-01-02T03:04:05Z",
        "deprecatedLastTimestamp": "2024-01-02T03:04:06Z",
        "deprecatedCount": 3,
    }
    made = CORE_EVENT.to_dict(stored_form(EVENT.from_dict(document)))
    assert {**made, "kind": "Event", "apiVersion": "v1"} == EVENT.to_stored(document)


def test_both_versions_name_the_same_place_in_the_store():
    assert V1.resource == V2.resource == "autoscaling/horizontalpodautoscalers"
    assert EVENT.resource == CORE_EVENT.resource == "/events"
