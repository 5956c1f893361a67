"""How much of which quota one object uses: the evaluators of pods, services, claims and plain counts.

Pure. Source: kubernetes pkg/quota/v1/evaluator/core and k8s.io/apiserver pkg/quota/v1/generic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgekube.api.kind import Kind
from edgekube.server.admission.limit_ranges import total

Usage = dict[str, str]
# Core resources that are also counted under their bare name.
COUNTED = frozenset(
    {"configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services"}
)
BARE_REQUESTS = ("cpu", "memory", "ephemeral-storage")
MUST_BE_GIVEN = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
FINISHED = ("Succeeded", "Failed")


def count_name(kind: Kind[Any]) -> str:
    """ "count/deployments.apps"."""
    return f"count/{kind.plural}.{kind.group}" if kind.group else f"count/{kind.plural}"


def of(kind: Kind[Any], item: Any) -> Usage:
    """Everything one object counts as."""
    used = {count_name(kind): "1"}
    if kind.group:
        return used
    if kind.plural == "pods":
        return used | _pod(item)
    if kind.plural in COUNTED:
        used[kind.plural] = "1"
    if kind.plural == "services":
        used |= _service(item.spec)
    elif kind.plural == "persistentvolumeclaims":
        used |= _claim(item)
    return used


def _pod(pod: Any) -> Usage:
    if pod.status.phase in FINISHED:
        return {}
    used = {"pods": "1"}
    for name, value in total(pod.spec, "requests").items():
        used[f"requests.{name}"] = value
        if name in BARE_REQUESTS or name.startswith("hugepages-"):
            used[name] = value
    for name, value in total(pod.spec, "limits").items():
        used[f"limits.{name}"] = value
    return used


def _service(spec: Any) -> Usage:
    if spec.type == "NodePort":
        return {"services.nodeports": str(len(spec.ports))}
    if spec.type == "LoadBalancer":
        given = spec.allocate_load_balancer_node_ports is not False
        ports = len(spec.ports) if given else sum(bool(port.node_port) for port in spec.ports)
        return {"services.loadbalancers": "1", "services.nodeports": str(ports)}
    return {}


def _claim(claim: Any) -> Usage:
    storage = claim.spec.resources.requests.get("storage", "0")
    used = {"requests.storage": storage}
    if claim.spec.storage_class_name:
        start = claim.spec.storage_class_name + CLASS_SUFFIX
        used |= {f"{start}requests.storage": storage, f"{start}persistentvolumeclaims": "1"}
    return used


def concerns(quota: Any, kind: Kind[Any]) -> bool:
    """Whether objects of a kind can change what this quota measures."""
    return concerns_names(quota.spec.hard, kind)


def concerns_names(names: Iterable[str], kind: Kind[Any]) -> bool:
    """Whether one of these measures has to do with a kind."""
    mine = count_name(kind)
    for name in names:
        if name == mine:
            return True
        if kind.group or name.startswith("count/"):
            continue
        if name == kind.plural or (kind.plural == "services" and name.startswith("services.")):
            return True
        claims = name == "requests.storage" or CLASS_SUFFIX in name
        if kind.plural == "persistentvolumeclaims" and claims:
            return True
        if kind.plural == "pods" and not claims and name not in COUNTED and not name.startswith("services."):
            return True
    return False


def matches(quota: Any, kind: Kind[Any], item: Any) -> bool:
    """Whether a quota's scopes include an object. Only pods have scopes, and claims one."""
    expressions: list[tuple[str, str, list[str]]] = [(scope, "Exists", []) for scope in quota.spec.scopes]
    if quota.spec.scope_selector is not None:
        expressions += [
            (one.scope_name, one.operator, one.values) for one in quota.spec.scope_selector.match_expressions
        ]
    if not expressions:
        return True
    if (kind.group, kind.plural) == ("", "persistentvolumeclaims"):
        return all(_claim_in_scope(item, *expression) for expression in expressions)
    if kind.group or kind.plural != "pods":
        return False
    return all(_in_scope(item, *expression) for expression in expressions)


def _chosen(name: str, operator: str, values: list[str]) -> bool:
    """Whether a class (or "") is one that a scope's expression asks for."""
    return {
        "In": name in values,
        "NotIn": name not in values,
        "Exists": bool(name),
        "DoesNotExist": not name,
    }.get(operator, False)


def _claim_in_scope(claim: Any, scope: str, operator: str, values: list[str]) -> bool:
    """A claim is in the scope of every class it has, had or asks for."""
    if scope != "VolumeAttributesClass":
        return False
    status = claim.status
    asked = status.modify_volume_status.target_volume_attributes_class_name if status.modify_volume_status else ""
    given = {claim.spec.volume_attributes_class_name or "", status.current_volume_attributes_class_name or "", asked}
    return any(_chosen(name, operator, values) for name in (given - {""} or {""}))


def _in_scope(pod: Any, scope: str, operator: str, values: list[str]) -> bool:
    spec = pod.spec
    if scope == "PriorityClass":
        return _chosen(spec.priority_class_name, operator, values)
    best_effort = not any(
        one.resources.requests or one.resources.limits for one in (*(spec.containers or ()), *spec.init_containers)
    )
    facts = {
        "Terminating": spec.active_deadline_seconds is not None,
        "NotTerminating": spec.active_deadline_seconds is None,
        "BestEffort": best_effort,
        "NotBestEffort": not best_effort,
        "CrossNamespacePodAffinity": _reaches_out(spec.affinity),
    }
    return facts.get(scope, False)


def _reaches_out(affinity: Any) -> bool:
    """Whether a pod is placed by pods of other namespaces."""
    terms: list[Any] = []
    for side in (affinity.pod_affinity, affinity.pod_anti_affinity) if affinity is not None else ():
        if side is not None:
            terms += side.required_during_scheduling_ignored_during_execution
            weighted = side.preferred_during_scheduling_ignored_during_execution
            terms += [one.pod_affinity_term for one in weighted]
    return any(term.namespaces or term.namespace_selector is not None for term in terms)


def unspecified(quota: Any, kind: Kind[Any], item: Any) -> str:
    """What containers must say because the quota measures it, in words; "" when nothing is missing."""
    if kind.group or kind.plural != "pods":
        return ""
    found = []
    for name in sorted(set(quota.spec.hard) & set(MUST_BE_GIVEN)):
        which, _, resource = name.rpartition(".")
        lacking = sorted(
            one.name
            for one in (*(item.spec.containers or ()), *item.spec.init_containers)
            if resource not in _amounts(one, which or "requests")
        )
        if lacking:
            found.append(f"{name} for: {','.join(lacking)}")
    return "; ".join(found)


def _amounts(container: Any, which: str) -> Mapping[str, str]:
    amounts: Mapping[str, str] = getattr(container.resources, which)
    return amounts
