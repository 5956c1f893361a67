"""What a fresh server has before anybody asks: system namespaces, priority classes, the `kubernetes` service and the like.

Everything is created where it is missing and left alone where it is there; only the addresses of the `kubernetes` service follow
where this server is reached. Default cluster roles are the authoriser's. Source: kubernetes pkg/controlplane (instance.go,
controller/), pkg/registry/*/rest (post-start hooks) and k8s.io/apiserver pkg/apis/flowcontrol/bootstrap.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from edgekube import errors
from edgekube.kinds.catalog import built_in
from edgekube.server.bodies import Document
from edgekube.server.context import LOOPBACK, Context
from edgekube.server.registry import Registry
from edgekube.server.writing import Target

if TYPE_CHECKING:
    from edgekube.server.apiserver import Settings

NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")
PRIORITY_CLASSES = (
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    ("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster."),
)
MANAGER = "edgekube"
# Which group a client prefers where two have a resource of one name, and which version of a group.
GROUP_PRIORITIES = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "resource.k8s.io": 15900,
}
VERSION_PRIORITIES = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}
VERSION_PRIORITY = 15


async def ensure(registry: Registry, settings: Settings) -> None:
    """Create what is missing."""
    for name in NAMESPACES:
        await _present(registry, "", "v1", "namespaces", {"metadata": {"name": name}})
    for name, value, words in PRIORITY_CLASSES:
        document = {"metadata": {"name": name}, "value": value, "description": words}
        await _present(registry, "scheduling.k8s.io", "v1", "priorityclasses", document)
    await _service_network(registry, settings)
    await _kubernetes_service(registry, settings)
    for plural, documents in (("prioritylevelconfigurations", _levels()), ("flowschemas", _schemas())):
        for document in documents:
            await _present(registry, "flowcontrol.apiserver.k8s.io", "v1", plural, document)
    for document in _api_services():
        await _present(registry, "apiregistration.k8s.io", "v1", "apiservices", document)


def _context() -> Context:
    return Context(user=LOOPBACK, field_manager=MANAGER, field_validation="Ignore")


async def _present(
    registry: Registry, group: str, version: str, plural: str, document: Document, namespace: str = ""
) -> bool:
    """Create an object where there is none; returns whether it was created."""
    kind = registry.kinds.find(group, version, plural)
    if kind is None or registry.lister.row(kind, namespace, document["metadata"]["name"]) is not None:
        return False
    try:
        await registry.create(kind, namespace, document, _context())
    except errors.AlreadyExists:
        return False
    return True


async def _service_network(registry: Registry, settings: Settings) -> None:
    document = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": [settings.service_cidr]}}
    await _present(registry, "networking.k8s.io", "v1", "servicecidrs", document)
    kind = registry.kinds.find("networking.k8s.io", "v1", "servicecidrs")
    if kind is None:
        return
    found = registry.cluster.find(kind, "", "kubernetes")
    if found is None or found.status.conditions:
        return
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "",
        "message": "Kubernetes Service CIDR is ready",
        "lastTransitionTime": registry.writer.now(),
    }
    await _follow(registry, kind, "", "kubernetes", {"status": {"conditions": [ready]}}, "status")


async def _follow(
    registry: Registry, kind: Any, namespace: str, name: str, changes: Document, subresource: str = ""
) -> None:
    """Make an object's members what they should be now."""

    async def transform(live: Any) -> Document:
        document: Document = kind.to_dict(live.item)
        return document | changes

    target = Target(kind=kind, namespace=namespace, name=name, subresource=subresource)
    await registry.writer.update(target, transform, _context(), may_create=False)


async def _kubernetes_service(registry: Registry, settings: Settings) -> None:
    """The API server as pods see it, and where it really is."""
    network = ipaddress.ip_network(settings.service_cidr)
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": settings.port}
    address = str(network.network_address + 1)
    spec = {"clusterIP": address, "clusterIPs": [address], "ports": [port], "type": "ClusterIP"}
    document = {"metadata": {"name": "kubernetes", "labels": labels}, "spec": spec}
    await _present(registry, "", "v1", "services", document, "default")
    if ipaddress.ip_address(settings.advertise_address).is_loopback:
        return  # a server for itself alone: no pod could reach it there
    served = [{"name": "https", "port": settings.port, "protocol": "TCP"}]
    subsets = [{"addresses": [{"ip": settings.advertise_address}], "ports": served}]
    skipped = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    endpoints = {"metadata": {"name": "kubernetes", "labels": skipped}, "subsets": subsets}
    slices = {
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv6" if ":" in settings.advertise_address else "IPv4",
        "endpoints": [{"addresses": [settings.advertise_address], "conditions": {"ready": True}}],
        "ports": served,
    }
    for group, plural, wanted in (("", "endpoints", endpoints), ("discovery.k8s.io", "endpointslices", slices)):
        if not await _present(registry, group, "v1", plural, wanted, "default"):
            kind = registry.kinds.find(group, "v1", plural)
            changes = {key: value for key, value in wanted.items() if key not in ("metadata", "addressType")}
            await _follow(registry, kind, "default", "kubernetes", changes)


def _api_services() -> list[Document]:
    """What this server serves itself, as objects. Source: kubernetes cmd/kube-apiserver/app/aggregator.go."""
    made = []
    for group, version in dict.fromkeys((kind.group, kind.version) for kind in built_in()):
        if group not in GROUP_PRIORITIES:
            continue
        spec = {
            "group": group,
            "version": version,
            "groupPriorityMinimum": GROUP_PRIORITIES[group],
            "versionPriority": VERSION_PRIORITIES.get((group, version), VERSION_PRIORITY),
        }
        labels = {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
        made.append({"metadata": {"name": f"{version}.{group}", "labels": labels}, "spec": spec})
    return made


def _levels() -> list[Document]:
    """Source: apiserver flowcontrol bootstrap default.go."""

    def limited(name: str, shares: int, percent: int | None, queuing: tuple[int, int, int] | None) -> Document:
        limit: Document = {"type": "Reject"}
        if queuing is not None:
            queues, hand, length = queuing
            limit = {
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length},
            }
        body: Document = {"nominalConcurrencyShares": shares, "limitResponse": limit}
        if percent is not None:
            body["lendablePercent"] = percent
        return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": body}}

    exempt = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
    return [
        {"metadata": {"name": "exempt"}, "spec": exempt},
        limited("system", 30, 33, (64, 6, 50)),
        limited("node-high", 40, 25, (64, 6, 50)),
        limited("leader-election", 10, 0, (16, 4, 50)),
        limited("workload-high", 40, 50, (128, 6, 50)),
        limited("workload-low", 100, 90, (128, 6, 50)),
        limited("global-default", 20, 50, (128, 6, 50)),
        limited("catch-all", 5, 0, None),
    ]


def _subjects(users: tuple[str, ...], groups: tuple[str, ...], accounts: tuple[tuple[str, str], ...]) -> list[Document]:
    made: list[Document] = [{"kind": "User", "user": {"name": name}} for name in users]
    made += [{"kind": "Group", "group": {"name": name}} for name in groups]
    made += [
        {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}
        for namespace, name in accounts
    ]
    return made


EVERYTHING: list[Document] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
]
ANY_PATH: list[Document] = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]


def _schema(
    name: str, level: str, precedence: int, subjects: list[Document], method: str | None, **rules: list[Document]
) -> Document:
    spec: Document = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [{"subjects": subjects, **rules}],
    }
    if method:
        spec["distinguisherMethod"] = {"type": method}
    return {"metadata": {"name": name}, "spec": spec}


def _on(verbs: list[str], group: str, resources: list[str], *, cluster: bool = False) -> list[Document]:
    rule: Document = {"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]}
    return [rule | ({"clusterScope": True} if cluster else {})]


def _schemas() -> list[Document]:
    """Source: apiserver flowcontrol bootstrap default.go."""
    everyone = _subjects((), ("system:unauthenticated", "system:authenticated"), ())
    nodes, masters = _subjects((), ("system:nodes",), ()), _subjects((), ("system:masters",), ())
    managers = ("system:kube-controller-manager", "system:kube-scheduler")
    leaders = _subjects(managers, (), (("kube-system", "*"),))
    writes = ["get", "create", "update"]
    leases = _on(writes, "coordination.k8s.io", ["leases"])
    health: list[Document] = [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz"]}]
    node_rules = _on(["*"], "", ["nodes", "nodes/status"], cluster=True) + _on(["*"], "coordination.k8s.io", ["leases"])
    all_rules = {"resourceRules": EVERYTHING, "nonResourceRules": ANY_PATH}
    return [
        _schema("exempt", "exempt", 1, masters, None, **all_rules),
        _schema("probes", "exempt", 2, everyone, None, nonResourceRules=health),
        _schema("system-leader-election", "leader-election", 100, leaders, "ByUser", resourceRules=leases),
        _schema(
            "endpoint-controller",
            "workload-high",
            150,
            _subjects(
                managers[:1],
                (),
                (("kube-system", "endpoint-controller"), ("kube-system", "endpointslicemirroring-controller")),
            ),
            "ByUser",
            resourceRules=_on(writes, "", ["endpoints"]),
        ),
        _schema(
            "workload-leader-election",
            "leader-election",
            200,
            _subjects((), ("system:serviceaccounts",), ()),
            "ByUser",
            resourceRules=leases,
        ),
        _schema("system-node-high", "node-high", 400, nodes, "ByUser", resourceRules=node_rules),
        _schema("system-nodes", "system", 500, nodes, "ByUser", **all_rules),
        _schema(
            "kube-controller-manager", "workload-high", 800, _subjects(managers[:1], (), ()), "ByNamespace", **all_rules
        ),
        _schema("kube-scheduler", "workload-high", 800, _subjects(managers[1:], (), ()), "ByNamespace", **all_rules),
        _schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            _subjects((), (), (("kube-system", "*"),)),
            "ByNamespace",
            **all_rules,
        ),
        _schema(
            "service-accounts",
            "workload-low",
            9000,
            _subjects((), ("system:serviceaccounts",), ()),
            "ByUser",
            **all_rules,
        ),
        _schema("global-default", "global-default", 9900, everyone, "ByUser", **all_rules),
        _schema("catch-all", "catch-all", 10000, everyone, "ByUser", **all_rules),
    ]
