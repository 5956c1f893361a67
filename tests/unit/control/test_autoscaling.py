"""HorizontalPodAutoscalers: proposals as a table, and their words without a metrics API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from edgekube.control.controllers.podautoscaler import Scale, Seen, reconcile
from edgekube.kinds.autoscaling import horizontalpodautoscaler as scaler_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.reconcile.plan import Call

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def seen(target: dict[str, Any], current: int, used: list[int], *, least: int = 1, most: int = 10) -> Seen:
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    spec = {
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": [metric],
        "scaleTargetRef": {"kind": "Deployment", "name": "w"},
    }
    scaler = scaler_kind.KIND.from_dict({"metadata": {"name": "h", "namespace": "d"}, "spec": spec})
    container = {"name": "c", "resources": {"requests": {"cpu": "100m"}}}
    pods = [
        pod_kind.KIND.from_dict(
            {"metadata": {"name": f"p{n}"}, "spec": {"containers": [container]}, "status": {"phase": "Running"}}
        )
        for n in range(len(used))
    ]
    usage = {f"p{number}": {"cpu": milli} for number, milli in enumerate(used)}
    scale = Scale("/scale", {"spec": {"replicas": current}}, current, "app=w")
    return Seen(scaler, NOW, scale=scale, pods=pods, usage=usage)


HALF = {"type": "Utilization", "averageUtilization": 50}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (seen(HALF, 2, [50, 50]), None),
        (seen(HALF, 2, [54, 54]), None),  # within the tolerance
        (seen(HALF, 2, [100, 100]), 4),
        (seen(HALF, 4, [10, 10, 10, 10]), 1),
        (seen(HALF, 4, [10, 10, 10, 10], least=2), 2),
        (seen(HALF, 4, [100] * 4, most=5), 5),
        (seen(HALF, 1, [1000]), 5),  # no faster than four more
        (seen({"type": "AverageValue", "averageValue": "50m"}, 2, [75, 75]), 3),
        (seen(HALF, 12, [50] * 12), 10),
        (seen(HALF, 0, []), None),
    ],
)
def test_the_number_of_pods_follows_their_usage(asked: Seen, wanted: int | None) -> None:
    calls = [action for action in reconcile(asked).actions if isinstance(action, Call)]
    assert [call.body["spec"]["replicas"] for call in calls if call.body] == ([] if wanted is None else [wanted])


async def test_without_a_metrics_api_the_conditions_say_so(autojump_clock: Any, cluster: Any) -> None:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    await cluster.create("deployments", {"metadata": {"name": "w"}, "spec": spec})
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}
    scaler = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [metric]}}
    kind = scaler_kind.KIND
    await cluster.client.create(kind, kind.from_dict(scaler), "default")

    async def told() -> Any:
        found = await cluster.client.get(kind, "h", "default")
        return {c.type: c for c in found.status.conditions} if len(found.status.conditions) == 2 else None

    conditions = await cluster.until(told)
    assert (conditions["AbleToScale"].status, conditions["AbleToScale"].reason) == ("True", "SucceededGetScale")
    assert conditions["ScalingActive"].message == (
        "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: "
        "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
    )
