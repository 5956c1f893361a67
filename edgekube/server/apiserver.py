"""The API server, put together: one constructor for whoever has a store and knows who may do what.

Holds no sockets: `handle` is given to `net.listener.serving`, `verbs` to `client.local.LocalClient`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekube import errors
from edgekube.api.kind import Kind
from edgekube.clock import Clock, SystemClock
from edgekube.kinds.core import resourcequota
from edgekube.net.exchange import Exchange
from edgekube.server import bootstrap
from edgekube.server.admission import catalog
from edgekube.server.admission.interface import Step
from edgekube.server.admission.quotas import ResourceQuota
from edgekube.server.admission.webhook_tools import Webhooks
from edgekube.server.aggregation.aggregator import Aggregator
from edgekube.server.context import LOOPBACK, Authenticator, Authorizer, Context
from edgekube.server.customresources import CustomResources
from edgekube.server.documents import Documents
from edgekube.server.fairness import Fairness
from edgekube.server.health import Health
from edgekube.server.local import LocalVerbs
from edgekube.server.metrics import Metrics
from edgekube.server.reach import Reach
from edgekube.server.registry import Registry
from edgekube.server.resources import Connector, Resources, Subresource
from edgekube.server.routes import Routes
from edgekube.server.stored import Stored
from edgekube.server.subresources import built_in
from edgekube.server.writing import Target
from edgekube.store.interface import Store


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator chooses."""

    service_cidr: str = "10.43.0.0/16"
    node_ports: tuple[int, int] = (30000, 32767)
    advertise_address: str = "127.0.0.1"
    port: int = 6443
    openapi_directory: Path | None = None
    started_s: float = 0.0  # seconds since the epoch
    # documents by path, each a function to (media type, bytes): OpenID configuration and keys
    extra_documents: Mapping[str, Callable[[], tuple[str, bytes]]] = field(default_factory=dict)


class ApiServer:
    """All of it. Call `bootstrap()` once the store is open, before serving."""

    def __init__(
        self,
        store: Store,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        clock: Clock | None = None,
        settings: Settings | None = None,
        special: Mapping[str, Subresource] | None = None,
        connectors: Mapping[str, Connector] | None = None,
        admission: Sequence[Step] | None = None,
        kinds: Iterable[Kind[Any]] | None = None,
    ) -> None:
        """`special`: handlers of create-only resources and subresources beside the built-in ones, keyed "group/plural[/sub]"
        ("/serviceaccounts/token"); `connectors`: those that take over the connection ("/pods/exec")."""
        clock, self.settings = clock or SystemClock(), settings or Settings()
        steps = catalog.built_in(clock, self.settings) if admission is None else admission
        self.reach = Reach()
        webhooks = Webhooks(store, clock, authorizer, self.reach)
        steps = (*steps, *catalog.last(clock, authorizer, webhooks))
        self.registry = Registry(store, clock, admission=steps, kinds=kinds)
        webhooks.kinds = self.registry.kinds.all
        for step in steps:
            if isinstance(step, ResourceQuota):
                step.report, step.kinds = self._report_quota, self.registry.kinds.all
        self.custom = CustomResources(self.registry, self.reach)
        self.health, self.metrics = Health(), Metrics(self.settings.started_s)
        self.documents = Documents(
            self.registry.kinds,
            self.health,
            self.metrics,
            server_address=f"{self.settings.advertise_address}:{self.settings.port}",
            openapi_directory=self.settings.openapi_directory,
            extra=dict(self.settings.extra_documents),
        )
        self.resources = Resources(
            self.registry, {**built_in(self.registry, authorizer), **(special or {})}, connectors or {}
        )
        self.routes = Routes(
            self.resources, self.documents, self.metrics, clock, authenticator=authenticator, authorizer=authorizer
        )
        self.aggregation = Aggregator(self.registry, self.reach, clock)
        self.documents.aggregator = self.routes.aggregator = self.aggregation
        self.routes.fairness = Fairness(store)
        for family in (*self.routes.fairness.families(), *webhooks.families()):
            self.metrics.add(family)
        self.verbs = LocalVerbs(self.registry, self.routes)
        self._watch_health()

    def _watch_health(self) -> None:
        def store() -> str | None:
            return self.registry.store.trouble

        self.health.add("etcd", store)
        watches, store_now = self.registry.watcher, self.registry.store
        self.metrics.gauge("apiserver_longrunning_requests", "Open watches.", lambda: float(watches.open_watches))
        self.metrics.gauge("edgekube_store_revision", "The newest revision.", lambda: float(store_now.revision))

    async def _report_quota(self, namespace: str, name: str, hard: dict[str, str], used: dict[str, str]) -> None:
        """Write what is used into a quota's status."""

        async def transform(live: Stored[Any] | None) -> dict[str, Any]:
            assert live is not None
            return resourcequota.KIND.to_dict(live.item) | {"status": {"hard": hard, "used": used}}

        target = Target(kind=resourcequota.KIND, namespace=namespace, name=name, subresource="status")
        context = Context(user=LOOPBACK, field_manager="kube-controller-manager", field_validation="Ignore")
        try:
            await self.registry.writer.update(target, transform, context, may_create=False)
        except (errors.NotFound, errors.Conflict):
            return  # the quota went, or the next write counts again

    async def bootstrap(self) -> None:
        """Make what a fresh server has (namespaces, priority classes, the `kubernetes` service...) wherever it is missing."""
        await bootstrap.ensure(self.registry, self.settings)
        self.custom.load()

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request: a `net.exchange.Handler`."""
        await self.routes.handle(exchange)
