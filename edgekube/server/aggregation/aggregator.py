"""Aggregation at work: which requests go elsewhere, whether those servers answer, and what they add to discovery and OpenAPI.

One loop checks every aggregated server when something about it changes, and every half minute besides; it also keeps an
APIService for each version that custom resources are served in, as upstream lists them. Without any aggregated server the loop
sleeps and requests pay one look-up. Source: kube-aggregator pkg/apiserver and pkg/controllers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import trio

from edgekube import errors
from edgekube.api.meta import DeleteOptions, Time, encode_scalar, format_time
from edgekube.clock import Clock
from edgekube.kinds.apiregistration.apiservice import APIServiceCondition
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.discovery import endpointslice as slice_kind
from edgekube.net.exchange import Exchange, Headers
from edgekube.server.admission.kept import Kept
from edgekube.server.aggregation import checks, discovery, openapi, passing
from edgekube.server.aggregation.remotes import AVAILABLE, KIND, Remote, Remotes, identity_headers, remotes
from edgekube.server.context import LOOPBACK, Context, User
from edgekube.server.paths import Asked
from edgekube.server.reach import Reach
from edgekube.server.registry import Registry
from edgekube.server.stored import Stored
from edgekube.server.writing import Target
from edgekube.store.interface import Compacted, Store

CHECK_AGAIN_S = 30.0
FAILED_AGAIN_S = 5.0
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
CUSTOM_GROUP_PRIORITY, CUSTOM_VERSION_PRIORITY = 1000, 100  # upstream's for custom resources
MANAGER = "kube-apiserver"

log = logging.getLogger(__name__)
Document = dict[str, Any]


class Aggregator:
    """One per server. `identity` are the files of the front proxy's certificate and key, given by whoever has them."""

    def __init__(self, registry: Registry, reach: Reach, clock: Clock) -> None:
        self._registry, self._reach, self._clock = registry, reach, clock
        self.identity: tuple[str, str] | None = None
        self.generation = 0  # grows with everything that shows in discovery
        self._kept: Kept[Remotes] = Kept(registry.store, KIND, self._made)
        self._now: Remotes = {}
        self._lists: dict[tuple[str, str], Document] = {}
        self._v3: dict[tuple[str, str], dict[str, str]] = {}
        self._changed = trio.Event()

    def _made(self, services: Sequence[Any]) -> Remotes:
        self._now = remotes(services, self.identity)
        self.generation += 1
        return self._now

    # Requests

    async def remote_for(self, asked: Asked) -> Remote | None:
        """Who answers a request instead of us: an APIService that names a service goes before what is built in."""
        known = await self._kept.now()
        if not known:
            return None
        group, version = asked.group, asked.version
        if not asked.is_resource:
            parts = asked.path.split("/")
            if len(parts) < 4 or parts[1] != "apis":
                return None
            group, version = parts[2], parts[3]
        return known.get((group, version))

    @property
    def anybody(self) -> bool:
        """Whether there is any other server, as far as the loop has seen."""
        return bool(self._now)

    async def pass_on(self, exchange: Exchange, remote: Remote, user: User, headers: Headers) -> int:
        """Answer with what the other server says."""
        return await passing.pass_on(exchange, remote, user, self._reach, self._registry.cluster, headers)

    # Documents

    async def refresh(self) -> None:
        """Before `merged` is asked: see the last writes."""
        await self._kept.now()

    def merged(self, document: Document | None, path: str, aggregated: str) -> Document | None:
        """A discovery document of ours with what is served elsewhere."""
        theirs = [one for key, one in self._now.items() if key[0]]
        if not theirs:
            return document
        if path == "/apis" and document is not None:
            if aggregated:
                return discovery.into_aggregated(document, theirs, self._lists)
            return discovery.into_list(document, theirs)
        parts = path.strip("/").split("/")
        if len(parts) == 2 and parts[0] == "apis":
            return discovery.into_group(document, parts[1], theirs)
        return document

    async def fetch(self, remote: Remote, path: str, accept: str = "application/json") -> Any:
        """A document of another server (`net.httpsclient.Reply`), None when it cannot be had."""
        try:
            with trio.fail_after(checks.CHECK_S):
                return await self._reach.call(
                    self._registry.cluster,
                    remote.to,
                    "GET",
                    tail=path,
                    headers=[("accept", accept), *identity_headers(checks.AGGREGATOR)],
                )
        except (errors.ConnectionFailed, trio.TooSlowError):
            return None

    def openapi_v3(self) -> dict[str, str]:
        """URLs of the v3 documents of other servers, by path ("apis/g/v")."""
        return {path: url for entries in self._v3.values() for path, url in entries.items()}

    async def openapi_v2(self) -> list[tuple[str, bytes]]:
        """(path, v2 document) of every server that has one."""
        found = []
        for remote in await self.available():
            reply = await self.fetch(remote, "/openapi/v2")
            if reply is not None and reply.status == 200:
                found.append((remote.path, reply.body))
        return found

    async def available(self) -> list[Remote]:
        """Those that can be asked now."""
        return [one for one in (await self._kept.now()).values() if one.available]

    # The loop

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep conditions and the list of local APIServices true. Never ends."""
        async with trio.open_nursery() as nursery:
            for kind in (KIND, service_kind.KIND, slice_kind.KIND, None):
                nursery.start_soon(self._notice, self._registry.store, kind)
            task_status.started()
            while True:
                self._changed = trio.Event()
                generation = self._registry.kinds.generation
                try:
                    await self._keep_local()
                    again_s = await self._check_all()
                except errors.EdgekubeError as problem:
                    log.warning("API services cannot be looked after: %s", problem)
                    again_s = FAILED_AGAIN_S
                if generation == self._registry.kinds.generation:
                    with trio.move_on_after(again_s):
                        await self._changed.wait()

    async def _notice(self, store: Store, kind: Any) -> None:
        """Say when something may have changed. Services and slices only count while there is somebody behind them."""
        resource = kind.resource if kind is not None else "apiextensions.k8s.io/customresourcedefinitions"
        always = kind is None or kind is KIND
        while True:
            try:
                async with store.watch(resource, after=store.revision) as changes:
                    async for _ in changes:
                        if always or self._now:
                            self._changed.set()
            except Compacted:
                self._changed.set()

    async def _check_all(self) -> float:
        """Check each; seconds until that is to be done again."""
        known = await self._kept.now()
        for key in [key for key in self._lists if key not in known]:
            self._lists.pop(key)
            self._v3.pop(key, None)
        fine = True
        for key, remote in known.items():
            told: checks.Told | None = checks.before_asking(remote, self._registry.cluster)
            if told is None:
                told, listed = await checks.ask(remote, self._reach, self._registry.cluster)
                if listed is not None:
                    await self._remember(key, remote, listed)
            fine = fine and told[0] == "True"
            await self._tell(remote, told)
        if not known:
            return math.inf
        return CHECK_AGAIN_S if fine else FAILED_AGAIN_S

    async def _remember(self, key: tuple[str, str], remote: Remote, listed: Document) -> None:
        """What a server that answers shows of itself."""
        reply = await self.fetch(remote, "/openapi/v3")
        shown = openapi.v3_entries(reply.body, remote.path[1:]) if reply is not None and reply.status == 200 else {}
        if (listed, shown) != (self._lists.get(key), self._v3.get(key)):
            self._lists[key], self._v3[key] = listed, shown
            self.generation += 1

    async def _tell(self, remote: Remote, told: checks.Told) -> None:
        present = self._registry.cluster.find(KIND, "", remote.name)
        if present is None or _says(present.status.conditions, told):
            return

        async def transform(live: Stored[Any] | None) -> Document:
            assert live is not None
            now = format_time(self._clock.now())
            conditions = _with(live.item.status.conditions, told, now)
            shown = [msgspec.to_builtins(one, enc_hook=encode_scalar) for one in conditions]
            return {**KIND.to_dict(live.item), "status": {"conditions": shown}}

        target = Target(kind=KIND, namespace="", name=remote.name, subresource="status")
        context = Context(user=LOOPBACK, field_manager=MANAGER, field_validation="Ignore")
        try:
            await self._registry.writer.update(target, transform, context, may_create=False)
        except (errors.NotFound, errors.Conflict):
            self._changed.set()

    async def _keep_local(self) -> None:
        """An APIService for every version that custom resources are served in, and none that is not."""
        registry = self._registry
        wanted = {f"{kind.version}.{kind.group}": kind for kind in registry.kinds.all() if kind.custom}
        context = Context(user=LOOPBACK, field_manager=MANAGER, field_validation="Ignore")
        for one in registry.cluster.all(KIND):
            name, labels = one.metadata.name, one.metadata.labels or {}
            if one.spec.service is None and labels.get(AUTOMANAGED) == "true" and name not in wanted:
                try:
                    await registry.delete(KIND, "", name, DeleteOptions(), context)
                except errors.NotFound:
                    continue
        for name, kind in wanted.items():
            if registry.cluster.find(KIND, "", name) is None:
                document = local_service(
                    kind.group, kind.version, CUSTOM_GROUP_PRIORITY, CUSTOM_VERSION_PRIORITY, "true"
                )
                try:
                    await registry.create(KIND, "", document, context)
                except errors.AlreadyExists:
                    continue


def local_service(group: str, version: str, group_priority: int, version_priority: int, managed: str) -> Document:
    """The APIService of a version that this server answers for itself."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: managed}},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": group_priority,
            "versionPriority": version_priority,
        },
    }


def _says(conditions: Sequence[APIServiceCondition], told: checks.Told) -> bool:
    return any((one.type, one.status, one.reason, one.message) == (AVAILABLE, *told) for one in conditions)


def _with(conditions: Sequence[APIServiceCondition], told: checks.Told, now: Time) -> list[APIServiceCondition]:
    was = next((one for one in conditions if one.type == AVAILABLE), None)
    since = was.last_transition_time if was is not None and was.status == told[0] else now
    made = APIServiceCondition(
        type=AVAILABLE, status=told[0], last_transition_time=since, reason=told[1], message=told[2]
    )
    return [*(one for one in conditions if one.type != AVAILABLE), made]
