"""What is known about rollouts without asking a server: how far one is, which revisions there are, what a change needs.

Pure functions over decoded workloads; the words are those of kubectl's status viewers and history viewers.
"""

from __future__ import annotations

import json
from typing import Any

REVISION = "deployment.kubernetes.io/revision"
CAUSE = "kubernetes.io/change-cause"
RESTARTED = "kubectl.kubernetes.io/restartedAt"


class Broken(Exception):
    """A rollout that will not end; the message is kubectl's."""


def progress(item: dict[str, Any]) -> tuple[str, bool]:
    """What kubectl says about a rollout, and whether it is done. Raises Broken; KeyError for a kind without rollouts."""
    return {"Deployment": _deployment, "DaemonSet": _daemon_set, "StatefulSet": _stateful_set}[item["kind"]](item)


def _behind(item: dict[str, Any]) -> bool:
    seen = (item.get("status") or {}).get("observedGeneration") or 0
    return bool((item["metadata"].get("generation") or 0) > seen)


def _deployment(item: dict[str, Any]) -> tuple[str, bool]:
    name, spec, status = item["metadata"]["name"], item["spec"], item.get("status") or {}
    if _behind(item):
        return "Waiting for deployment spec update to be observed...\n", False
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    if (conditions.get("Progressing") or {}).get("reason") == "ProgressDeadlineExceeded":
        raise Broken(f'deployment "{name}" exceeded its progress deadline')
    wanted, updated = spec.get("replicas", 1), status.get("updatedReplicas") or 0
    total, available = status.get("replicas") or 0, status.get("availableReplicas") or 0
    waiting = f'Waiting for deployment "{name}" rollout to finish:'
    if updated < wanted:
        return f"{waiting} {updated} out of {wanted} new replicas have been updated...\n", False
    if total > updated:
        return f"{waiting} {total - updated} old replicas are pending termination...\n", False
    if available < updated:
        return f"{waiting} {available} of {updated} updated replicas are available...\n", False
    return f'deployment "{name}" successfully rolled out\n', True


def _daemon_set(item: dict[str, Any]) -> tuple[str, bool]:
    name, status = item["metadata"]["name"], item.get("status") or {}
    _only_rolling(item)
    if _behind(item):
        return "Waiting for daemon set spec update to be observed...\n", False
    wanted, updated = status.get("desiredNumberScheduled") or 0, status.get("updatedNumberScheduled") or 0
    available = status.get("numberAvailable") or 0
    waiting = f'Waiting for daemon set "{name}" rollout to finish:'
    if updated < wanted:
        return f"{waiting} {updated} out of {wanted} new pods have been updated...\n", False
    if available < wanted:
        return f"{waiting} {available} of {wanted} updated pods are available...\n", False
    return f'daemon set "{name}" successfully rolled out\n', True


def _stateful_set(item: dict[str, Any]) -> tuple[str, bool]:
    spec, status = item["spec"], item.get("status") or {}
    strategy = _only_rolling(item)
    if _behind(item):
        return "Waiting for statefulset spec update to be observed...\n", False
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas") or 0
    if ready < wanted:
        return f"Waiting for {wanted - ready} pods to be ready...\n", False
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    updated = status.get("updatedReplicas") or 0
    if partition:
        if updated < wanted - partition:
            return (
                f"Waiting for partitioned roll out to finish: {updated} out of {wanted - partition} "
                "new pods have been updated...\n"
            ), False
        return f"partitioned roll out complete: {updated} new pods have been updated...\n", True
    revision = status.get("updateRevision", "")
    if revision != status.get("currentRevision", ""):
        return f"waiting for statefulset rolling update to complete {updated} pods at revision {revision}...\n", False
    current = status.get("currentReplicas") or 0
    return f"statefulset rolling update complete {current} pods at revision {revision}...\n", True


def _only_rolling(item: dict[str, Any]) -> dict[str, Any]:
    strategy: dict[str, Any] = item["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        raise Broken("rollout status is only available for RollingUpdate strategy type")
    return strategy


def revisions(item: dict[str, Any], children: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Replica sets or controller revisions of a workload, by revision, oldest first."""
    uid = item["metadata"]["uid"]
    found = {}
    for child in children:
        owners = child["metadata"].get("ownerReferences") or ()
        if any(owner.get("controller") and owner["uid"] == uid for owner in owners):
            found[revision_of(child)] = child
    return dict(sorted(found.items()))


def revision_of(child: dict[str, Any]) -> int:
    """The revision number a replica set or controller revision stands for."""
    text = child.get("revision") or (child["metadata"].get("annotations") or {}).get(REVISION) or 0
    return int(text)


def template_of(child: dict[str, Any]) -> dict[str, Any]:
    """The pod template of a revision."""
    if "revision" in child:
        template: dict[str, Any] = dict(child["data"]["spec"]["template"])
        template.pop("$patch", None)
        return template
    return json.loads(json.dumps(child["spec"]["template"]))  # type: ignore[no-any-return]


def history_text(name: str, found: dict[int, dict[str, Any]]) -> str:
    """The table `rollout history` prints for one workload, blank line included."""
    lines = [f"{name} ", "REVISION  CHANGE-CAUSE"]
    for number, child in found.items():
        cause = (child["metadata"].get("annotations") or {}).get(CAUSE) or "<none>"
        lines.append(f"{number:<10}{cause}")
    return "\n".join(lines) + "\n\n"


def without_hash(template: dict[str, Any]) -> dict[str, Any]:
    """A replica set's template as the deployment had it."""
    meta = template.get("metadata") or {}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != "pod-template-hash"}
    return {**template, "metadata": {**meta, "labels": labels}}
