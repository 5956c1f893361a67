"""metrics.k8s.io/v1beta1: nodes and pods with what they use, for `kubectl top`, dashboards and the autoscaler.

Served by ourselves from what the nodes say (`server.usage`); whoever installs metrics-server takes the group over with its APIService.
The group appears with the first node that can be asked: a server without any has nothing to say. Shapes and words are
metrics-server's (sigs.k8s.io/metrics-server pkg/api).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekube import errors
from edgekube.api.kind import Kind
from edgekube.api.meta import ObjectMeta, Quantity, format_time
from edgekube.api.quantity import canonical
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.metrics import nodemetrics, podmetrics
from edgekube.kinds.metrics.nodemetrics import NodeMetrics
from edgekube.kinds.metrics.podmetrics import ContainerMetrics, PodMetrics
from edgekube.net.nodegate import NodeGate
from edgekube.server.context import LOOPBACK, Context
from edgekube.server.listing import Page
from edgekube.server.options import ListOptions
from edgekube.server.registry import Registry
from edgekube.server.usage import Figure, Usage
from edgekube.store.interface import Key

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
API_SERVICE: dict[str, Any] = {
    "metadata": {
        "name": f"{VERSION}.{GROUP}",
        "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"},
    },
    "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100},
}
READER: dict[str, Any] = {
    "metadata": {
        "name": "system:aggregated-metrics-reader",
        "labels": {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true" for role in ("view", "edit", "admin")},
    },
    "rules": [{"apiGroups": [GROUP], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}],
}


class MetricsApi:
    """Both resources over one store and the nodes' gates."""

    def __init__(self, registry: Registry, gates: Mapping[str, NodeGate]) -> None:
        self._registry, self._gates = registry, gates
        self._usage = Usage(gates, registry.clock)
        self._shown = False

    async def appear(self) -> None:
        """Serve the group from now on."""
        if self._shown:
            return
        self._shown = True
        for kind, source in ((nodemetrics.KIND, _Nodes), (podmetrics.KIND, _Pods)):
            self._registry.computed.setdefault(GROUP, {})[kind.plural] = source(self._registry, self._usage)
            self._registry.kinds.add(kind)
        for group, plural, document in (
            ("apiregistration.k8s.io", "apiservices", API_SERVICE),
            ("rbac.authorization.k8s.io", "clusterroles", READER),
        ):
            target = self._registry.kinds.find(group, "v1", plural)
            if target is None or self._registry.lister.row(target, "", document["metadata"]["name"]) is not None:
                continue
            context = Context(user=LOOPBACK, field_manager="kube-apiserver", field_validation="Ignore")
            try:
                await self._registry.create(target, "", document, context)
            except errors.AlreadyExists:
                continue


class _Source:
    """One resource; see `registry.Computed`."""

    kind: Kind[Any]

    def __init__(self, registry: Registry, usage: Usage) -> None:
        self._registry, self._usage = registry, usage

    def _page(self, items: Sequence[Any], options: ListOptions) -> Page:
        selector = self._registry.lister.selector(self.kind, options)
        found = []
        for item in sorted(items, key=lambda item: (item.metadata.namespace, item.metadata.name)):
            value = self.kind.to_json(item)
            if selector.matches(Key(self.kind.resource, item.metadata.namespace, item.metadata.name), 0, value):
                found.append(value)
        return Page(found, self._registry.store.revision)

    def _meta(self, source: ObjectMeta) -> ObjectMeta:
        return ObjectMeta(
            name=source.name,
            namespace=source.namespace,
            labels=source.labels,
            creation_timestamp=self._registry.writer.now(),
        )


class _Nodes(_Source):
    kind = nodemetrics.KIND

    async def get(self, namespace: str, name: str) -> bytes:
        node = self._registry.cluster.find(node_kind.KIND, "", name)
        if node is not None:
            await self._usage.bring_up_to_date([name])
            made = self._made(node)
            if made is not None:
                return self.kind.to_json(made)
        raise errors.NotFound(f'nodemetrics.{GROUP} "{name}" not found', name=name, group=GROUP, kind="nodemetrics")

    async def list(self, namespace: str, options: ListOptions) -> Page:
        nodes = self._registry.cluster.all(node_kind.KIND)
        await self._usage.bring_up_to_date(node.metadata.name for node in nodes)
        return self._page([made for node in nodes if (made := self._made(node)) is not None], options)

    def _made(self, node: Any) -> NodeMetrics | None:
        told = self._usage.node(node.metadata.name)
        if told is None:
            return None
        figure, at = told
        return NodeMetrics(
            kind=self.kind.name,
            api_version=self.kind.api_version,
            metadata=self._meta(node.metadata),
            timestamp=format_time(at),
            window=_window(figure.window_s),
            usage=_amounts(figure),
        )


class _Pods(_Source):
    kind = podmetrics.KIND

    async def get(self, namespace: str, name: str) -> bytes:
        pod = self._registry.cluster.find(pod_kind.KIND, namespace, name)
        full = f"{namespace}/{name}"
        if pod is None:
            raise errors.NotFound(f'pods "{full}" not found', name=full, kind="pods")
        await self._usage.bring_up_to_date([pod.spec.node_name])
        made = self._made(pod)
        if made is None:
            raise errors.NotFound(f'podmetrics.{GROUP} "{full}" not found', name=full, group=GROUP, kind="podmetrics")
        return self.kind.to_json(made)

    async def list(self, namespace: str, options: ListOptions) -> Page:
        labels, only = options.labels, options.fields.exact("metadata.name")
        pods = [
            pod
            for pod in self._registry.cluster.all(pod_kind.KIND, namespace)
            if pod.status.phase == "Running"
            and only in (None, pod.metadata.name)
            and (labels.everything or labels.matches(pod.metadata.labels))
        ]
        await self._usage.bring_up_to_date(pod.spec.node_name for pod in pods)
        return self._page([made for pod in pods if (made := self._made(pod)) is not None], options)

    def _made(self, pod: Any) -> PodMetrics | None:
        told = self._usage.pod(pod.spec.node_name, pod.metadata.namespace, pod.metadata.name)
        if told is None:
            return None
        figures, at = told
        containers = [ContainerMetrics(name=name, usage=_amounts(figure)) for name, figure in sorted(figures.items())]
        return PodMetrics(
            kind=self.kind.name,
            api_version=self.kind.api_version,
            metadata=self._meta(pod.metadata),
            timestamp=format_time(at),
            window=_window(max(figure.window_s for figure in figures.values())),
            containers=containers,
        )


def _amounts(figure: Figure) -> dict[str, Quantity]:
    """CPU in nanocores, memory in Ki, as metrics-server writes them."""
    return {"cpu": Quantity(canonical(f"{figure.cpu}n")), "memory": Quantity(canonical(f"{figure.memory // 1024}Ki"))}


def _window(seconds: float) -> str:
    """As Go writes a duration of milliseconds."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    shown = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(minutes)}m{shown}" if minutes else shown
