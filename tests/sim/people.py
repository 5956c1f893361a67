"""Those who use the cluster: people who ask for things and remember what they were promised, and auditors who watch and compare.

A person is alone in their namespaces, so what was acknowledged last is what has to be there in the end (`unmet` says what is not).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from edgekube.errors import AlreadyExists, ApiError, ConnectionFailed, Gone, NotFound
from edgekube.store.interface import Key
from tests.sim.promises import Promises
from tests.sim.world import KINDS, World, insist

Document = dict[str, Any]


def template(app: str, image: str, **spec: Any) -> Document:
    """A pod template."""
    container = {"name": "main", "image": image, "resources": {"requests": {"cpu": "100m"}}}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **spec}}


def deployment(name: str, chance: random.Random) -> Document:
    """Some Deployment."""
    surge, missing = chance.choice([(1, 0), (0, 1), (2, 1), ("25%", "25%")])
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": missing}}
    spec = {"replicas": chance.randrange(1, 5), "selector": {"matchLabels": {"app": name}}, "strategy": strategy}
    return {"metadata": {"name": name}, "spec": {**spec, "template": template(name, "web:1")}}


def stateful_set(name: str, chance: random.Random) -> Document:
    """Some StatefulSet."""
    policy = chance.choice(["OrderedReady", "Parallel"])
    spec = {"replicas": chance.randrange(1, 4), "selector": {"matchLabels": {"app": name}}, "serviceName": name}
    return {
        "metadata": {"name": name},
        "spec": {**spec, "podManagementPolicy": policy, "template": template(name, "db:1")},
    }


def daemon_set(name: str, _: random.Random) -> Document:
    """A DaemonSet."""
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template(name, "agent:1")}
    return {"metadata": {"name": name}, "spec": spec}


def job(name: str, chance: random.Random) -> Document:
    """Some Job."""
    completions = chance.randrange(1, 5)
    policy = chance.choice(["Never", "OnFailure"])
    spec = {"completions": completions, "parallelism": chance.randrange(1, completions + 1), "backoffLimit": 1000}
    return {"metadata": {"name": name}, "spec": {**spec, "template": template(name, "work:1", restartPolicy=policy)}}


def service(name: str, chance: random.Random) -> Document:
    """A Service in front of an app, which may not be there (yet)."""
    ports = [{"port": 80, "targetPort": 8080}]
    return {"metadata": {"name": name}, "spec": {"selector": {"app": f"app-{chance.randrange(4)}"}, "ports": ports}}


def config_map(name: str, chance: random.Random) -> Document:
    """A ConfigMap with something in it."""
    return {"metadata": {"name": name}, "data": {"value": str(chance.random())}}


MAKERS: dict[str, Callable[[str, random.Random], Document]] = {
    "deployments": deployment,
    "statefulsets": stateful_set,
    "daemonsets": daemon_set,
    "jobs": job,
    "services": service,
    "configmaps": config_map,
}
NAMES = {
    "deployments": "app",
    "statefulsets": "db",
    "daemonsets": "agent",
    "jobs": "work",
    "services": "svc",
    "configmaps": "map",
}
SHARES = {"deployments": 6, "statefulsets": 2, "daemonsets": 1, "jobs": 4, "services": 3, "configmaps": 4}


class Person:
    """Asks for things, changes their mind, and remembers: `wishes[namespace][plural][name]` is what was last acknowledged."""

    def __init__(self, world: World, number: int) -> None:
        self._world, self._number = world, number
        self._client = world.client(f"person-{number}")
        self._chance = random.Random(world.chance.random())
        self._spaces = 0
        self.wishes: dict[str, dict[str, dict[str, Document]]] = {}
        self.gone: set[str] = set()

    async def live(self, until_s: float) -> None:
        """Use the cluster until a moment of virtual time."""
        await self._new_space()
        while trio.current_time() < until_s:
            await trio.sleep_until(min(until_s, trio.current_time() + self._chance.random() * self._world.pause_s))
            if self._chance.random() < 0.03:
                await self._leave_space()
            space = self._chance.choice(sorted(self.wishes))
            plural = self._chance.choices(list(SHARES), list(SHARES.values()))[0]
            name = f"{NAMES[plural]}-{self._chance.randrange(4 if plural == 'deployments' else 2)}"
            if name not in self.wishes[space][plural]:
                await self._create(space, plural, name)
            elif plural == "jobs" or self._chance.random() < 0.2:
                await self._delete(space, plural, name)
            else:
                await self._change(space, plural, name)

    def _say(self, what: str) -> None:
        self._world.promises.tell(f"person-{self._number} {what}")

    async def _new_space(self) -> None:
        self._spaces += 1
        space = f"space-{self._number}-{self._spaces}"
        await self._make("namespaces", "", {"metadata": {"name": space}})
        self.wishes[space] = {plural: {} for plural in MAKERS}

    async def _leave_space(self) -> None:
        space = self._chance.choice(sorted(self.wishes))
        del self.wishes[space]
        self.gone.add(space)
        self._say(f"leaves {space}")
        await self._unmake("namespaces", "", space)
        await self._new_space()

    async def _create(self, space: str, plural: str, name: str) -> None:
        document = MAKERS[plural](name, self._chance)
        self._say(f"creates {plural} {space}/{name}")
        await self._make(plural, space, document)
        self.wishes[space][plural][name] = document

    async def _make(self, plural: str, space: str, document: Document) -> None:
        kind, name = KINDS[plural], document["metadata"]["name"]

        async def attempt() -> None:
            try:
                await self._client.create(kind, kind.from_dict(document), space)
            except AlreadyExists:  # an attempt before this one, or one of this name that still goes
                found = await self._client.get(kind, name, space)
                if found.metadata.deletion_timestamp is not None:
                    raise

        while True:
            try:
                return await insist(attempt)
            except NotFound:
                await trio.sleep(1)  # the one that was going has gone

    async def _delete(self, space: str, plural: str, name: str) -> None:
        self._say(f"deletes {plural} {space}/{name}")
        del self.wishes[space][plural][name]
        await self._unmake(plural, space, name)

    async def _unmake(self, plural: str, space: str, name: str) -> None:
        policy = self._chance.choice(["Background", "Foreground"])
        try:
            await insist(partial(self._client.delete, KINDS[plural], name, space, propagation=policy))
        except NotFound:
            return  # an attempt before this one

    async def _change(self, space: str, plural: str, name: str) -> None:
        wish = self.wishes[space][plural][name]
        if plural == "configmaps":
            patch: Document = {"data": {"value": str(self._chance.random())}}
        elif plural == "services":
            patch = {"spec": {"selector": {"app": f"app-{self._chance.randrange(4)}"}}}
        elif plural == "daemonsets" or self._chance.random() < 0.5:
            containers = [
                {**wish["spec"]["template"]["spec"]["containers"][0], "image": f"web:{self._chance.randrange(100)}"}
            ]
            patch = {"spec": {"template": {"spec": {"containers": containers}}}}
        else:
            patch = {"spec": {"replicas": self._chance.randrange(0, 6)}}
        self._say(f"changes {plural} {space}/{name}: {patch}")
        await insist(partial(self._client.patch, KINDS[plural], name, space, patch))
        self.wishes[space][plural][name] = merged(wish, patch)

    # -- in the end ----------------------------------------------------------------------------------------------------

    async def unmet(self, nodes: int) -> list[str]:
        """What was asked for and is not there, or is there and was not asked for."""
        found: list[str] = []
        for space in sorted(self.gone):
            found += [f"{space} is still there: {key}" for key in self._world.keys_in(space)]
        for space, wishes in self.wishes.items():
            seen = Seen(*[await self._list(plural, space) for plural in ("pods", "endpointslices")])
            for plural, wished in wishes.items():
                real = {item["metadata"]["name"]: item for item in await self._list(plural, space)}
                surplus = real.keys() - wished.keys() - {"kube-root-ca.crt"}
                found += [f"{plural} {space}/{name} is still there" for name in sorted(surplus)]
                for name, wish in wished.items():
                    lacks = (
                        [f"is not there, only {sorted(real)}"]
                        if name not in real
                        else lacking(plural, wish, real[name], seen, nodes)
                    )
                    found += [f"{plural} {space}/{name} {what}" for what in lacks]
            known = {
                item["metadata"]["uid"]
                for plural in ("replicasets", *MAKERS)
                for item in await self._list(plural, space)
            }
            found += [f"pod {pod['metadata']['name']} has no owner" for pod in seen.pods if not owners(pod) <= known]
        return found

    async def _list(self, plural: str, space: str) -> list[Document]:
        kind = KINDS[plural]
        return [kind.to_dict(item) for item in (await self._client.list(kind, space)).items]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a namespace holds, for comparing."""

    pods: list[Document]
    slices: list[Document]

    def of(self, app: str) -> list[Document]:
        """The pods of an app that are not done."""
        done = ("Succeeded", "Failed")
        labelled = [pod for pod in self.pods if pod["metadata"].get("labels", {}).get("app") == app]
        return [pod for pod in labelled if pod["status"].get("phase") not in done]


def lacking(plural: str, wish: Document, real: Document, seen: Seen, nodes: int) -> Iterator[str]:
    """In what an object differs from what was asked for."""
    name, spec, status = wish["metadata"]["name"], wish.get("spec", {}), real.get("status", {})
    if plural == "configmaps":
        if real["data"] != wish["data"]:
            yield f"holds {real['data']}, not {wish['data']}"
    elif plural == "services":
        ready = {pod["status"]["podIP"] for pod in seen.of(spec["selector"]["app"]) if is_ready(pod)}
        shown = {address for one in seen.slices for address in ready_addresses(one, name)}
        if ready != shown:
            yield f"leads to {sorted(shown)}, ready are {sorted(ready)}"
    elif plural == "jobs":
        if not any(one["type"] == "Complete" and one["status"] == "True" for one in status.get("conditions", [])):
            yield f"is not complete: {status}"
    else:
        wanted = nodes if plural == "daemonsets" else spec["replicas"]
        image = spec["template"]["spec"]["containers"][0]["image"]
        there = seen.of(name)
        good = [pod for pod in there if is_ready(pod) and pod["spec"]["containers"][0]["image"] == image]
        if len(there) != wanted or len(good) != wanted:
            yield f"has {len(there)} pods, {len(good)} of them good, not {wanted}: {status}"
        if real["metadata"]["generation"] != status.get("observedGeneration"):
            yield "was not looked at since its last change"
        counts = [status.get(key, 0) for key in ("readyReplicas", "updatedReplicas")]
        if plural == "daemonsets":
            counts = [status.get(key, 0) for key in ("numberReady", "updatedNumberScheduled")]
        if counts != [wanted, wanted]:
            yield f"says {counts}, not {wanted}"


def is_ready(pod: Document) -> bool:
    """Whether a pod is there to stay, and ready."""
    conditions = pod["status"].get("conditions", [])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def ready_addresses(piece: Document, service: str) -> list[str]:
    """The ready addresses of one slice of a Service."""
    if piece["metadata"].get("labels", {}).get("kubernetes.io/service-name") != service:
        return []
    ready = [one for one in piece.get("endpoints") or [] if one.get("conditions", {}).get("ready")]
    return [address for one in ready for address in one["addresses"]]


def owners(item: Document) -> set[str]:
    """The uids of all owners."""
    return {one["uid"] for one in item["metadata"].get("ownerReferences", [])}


def merged(document: Document, patch: Document) -> Document:
    """A merge patch done to a document, lists replaced."""
    made = dict(document)
    for key, value in patch.items():
        made[key] = merged(made.get(key, {}), value) if isinstance(value, dict) else value
    return made


@dataclass(slots=True)
class Stretch:
    """What one watch showed without a break: everything above `after`, up to the last of `events`."""

    after: int
    events: list[tuple[int, str, Key]] = field(default_factory=list)


class Auditor:
    """Follows one kind over a bad line and writes down what is shown; `compare` holds it against what was published."""

    def __init__(self, world: World, plural: str) -> None:
        self._kind = KINDS[plural]
        self._client = world.client("auditor")
        self._stretches: list[Stretch] = []
        self._lists: list[tuple[int, dict[Key, int]]] = []

    async def run(self) -> None:
        """List, watch, resume where a watch broke off, list again when that is too long ago."""
        while True:
            try:
                listing = await self._client.list(self._kind)
                rows = {self._key(item): int(item.metadata.resource_version) for item in listing.items}
                self._lists.append((int(listing.revision), rows))
                revision = int(listing.revision)
                while True:
                    revision = await self._watch(revision)
                    await trio.sleep(0.5)
            except Gone:
                continue
            except (ApiError, ConnectionFailed):
                await trio.sleep(1)

    def _key(self, item: Any) -> Key:
        return Key(self._kind.resource, item.metadata.namespace, item.metadata.name)

    async def _watch(self, revision: int) -> int:
        stretch = Stretch(revision)
        self._stretches.append(stretch)
        try:
            async with self._client.watch(self._kind, after=str(revision)) as events:
                async for event in events:
                    at = int(event.object.metadata.resource_version)
                    if event.type == "BOOKMARK":
                        assert at >= revision, f"a bookmark went back from {revision} to {at}"
                    else:
                        stretch.events.append((at, event.type, self._key(event.object)))
                    revision = at
        except ConnectionFailed:
            pass
        return revision

    def compare(self, promises: Promises) -> None:
        """Each revision once, in order, none left out; lists as things stood."""
        history = promises.history[self._kind.resource]
        for stretch in self._stretches:
            last = stretch.events[-1][0] if stretch.events else stretch.after
            published = [(one.revision, one.type, one.key) for one in history if stretch.after < one.revision <= last]
            assert stretch.events == published, f"a watch of {self._kind.plural} after {stretch.after}"
        for revision, rows in self._lists:
            assert rows == promises.state_at(self._kind.resource, revision), (
                f"a list of {self._kind.plural} at {revision}"
            )

    @property
    def seen(self) -> int:
        """How many events it was shown."""
        return sum(len(stretch.events) for stretch in self._stretches)
