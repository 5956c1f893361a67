"""Manifests directory: what lies in files on the server is applied, and goes when its file goes.

A file is acted on once it has been the same for two looks, so that one that is still being copied is left alone. Objects are
applied server-side, namespaces and definitions first. What a file brought is remembered in a ConfigMap; what it no longer says
is deleted, but only after everything it does say was applied. A file that cannot be read as manifests changes nothing.
`NAME.skip` beside a file freezes it: neither applied nor pruned. A directory that is missing prunes nothing.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import trio

from edgekube.api import yamldoc
from edgekube.api.kind import Kind
from edgekube.api.meta import Object, ObjectMeta
from edgekube.control.config import Config
from edgekube.control.resources import Resource
from edgekube.errors import ApiError, ConnectionFailed, NotFound
from edgekube.kinds.core import configmap as configmap_kind
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.reconcile.drive import Service, Surroundings
from edgekube.reconcile.events import Speaker
from edgekube.reconcile.plan import Note, about

NAME = "manifests"
MANAGER = "edgekube-manifests"
RECORD_NAMESPACE, RECORD = "kube-system", "edgekube-manifests"
SUFFIXES = (".yaml", ".yml", ".json")
LOOK_S = 5.0
LONGEST_PAUSE_S = 300.0
LARGEST_FILE_BYTES = 16 * 1024 * 1024
FIRST = ("Namespace", "CustomResourceDefinition")
DOCUMENTS = re.compile(rb"(?m)^---(?:[ \t].*)?(?:\r?\n|\Z)")
APPLY = "application/apply-patch+yaml"

log = logging.getLogger("edgekube.manifests")
Fingerprint = tuple[int, int, int]  # inode, size, time of change in ns


class Reference(NamedTuple):
    """An object by type and name."""

    api_version: str
    kind: str
    namespace: str
    name: str


class Unreadable(Exception):
    """A file does not hold manifests; the text says why, for a person."""


@dataclass(frozen=True, slots=True)
class Look:
    """What lies in the directory: files that count, and those that are frozen."""

    files: Mapping[str, Fingerprint]
    skipped: frozenset[str]


@dataclass(slots=True)
class _State:
    before: Look | None = None
    applied: dict[str, Fingerprint] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)


def look(directory: Path) -> Look | None:
    """The directory now, None when it cannot be read."""
    files: dict[str, Fingerprint] = {}
    skipped = set()
    try:
        for path in directory.iterdir():
            if path.name.endswith(".skip"):
                skipped.add(path.name.removesuffix(".skip"))
            elif path.suffix in SUFFIXES and not path.name.startswith("."):
                told = path.stat()
                files[path.name] = (told.st_ino, told.st_size, told.st_mtime_ns)
    except OSError:
        return None
    return Look(files, frozenset(skipped))


def parse(data: bytes) -> list[dict[str, Any]]:
    """The objects of a file, lists unfolded, in the order they are to be applied. Raises Unreadable."""
    found: list[dict[str, Any]] = []
    for number, part in enumerate(DOCUMENTS.split(data)):
        try:
            document, _ = yamldoc.parse_yaml(part)
        except yamldoc.YamlError as error:
            raise Unreadable(f"document {number + 1}: {error}") from None
        if document is None:
            continue
        for item in document.get("items") or () if _is_list(document) else (document,):
            found.append(_checked(item, number + 1))
    return sorted(found, key=lambda item: FIRST.index(item["kind"]) if item["kind"] in FIRST else len(FIRST))


def _is_list(document: Any) -> bool:
    return isinstance(document, dict) and str(document.get("kind", "")).endswith("List") and "items" in document


def _checked(item: Any, number: int) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise Unreadable(f"document {number} is not an object")
    metadata = item.get("metadata")
    for name, value in (
        ("apiVersion", item.get("apiVersion")),
        ("kind", item.get("kind")),
        ("metadata.name", metadata.get("name") if isinstance(metadata, dict) else None),
    ):
        if not isinstance(value, str) or not value:
            raise Unreadable(f"document {number} has no {name}")
    return item


def surplus(recorded: Sequence[Reference], wanted: Sequence[Reference]) -> list[Reference]:
    """What a file brought and no longer says, last come first gone."""
    return [reference for reference in reversed(recorded) if reference not in set(wanted)]


def due(state: _State, now: Look, at: float) -> list[str]:
    """Files to apply: settled since the last look, not frozen, changed since they were applied or due to be tried again."""
    before = state.before.files if state.before is not None else {}
    return sorted(
        name
        for name, seen in now.files.items()
        if name not in now.skipped
        and before.get(name) == seen
        and (state.applied.get(name) != seen)
        and at >= state.due.get(name, 0.0)
    )


async def run(directory: Path, surroundings: Surroundings) -> None:
    """Look every few seconds, for ever."""
    keeper = _Keeper(directory, surroundings)
    while True:
        try:
            await keeper.step()
        except (ApiError, ConnectionFailed) as error:
            log.warning("manifests: %s", error)
        await trio.sleep(LOOK_S)


class _Keeper:
    """One directory's objects."""

    def __init__(self, directory: Path, surroundings: Surroundings) -> None:
        self._directory = directory
        self._client = surroundings.client
        self._surroundings = surroundings
        self._state = _State()
        self._kinds: dict[tuple[str, str], Kind[Object]] = {}

    async def step(self) -> None:
        """One look at the directory, and what follows from it."""
        now = look(self._directory)
        if now is None:
            return
        state = self._state
        work = due(state, now, trio.current_time())
        gone = state.before is None or set(state.before.files) - set(now.files) or set(state.applied) - set(now.files)
        if work or gone:
            record = await self._record()
            for name in work:
                await self._apply_file(name, now.files[name], record)
            if state.before is not None:
                for name in [name for name in self._recorded(record) if name not in {*now.files, *now.skipped}]:
                    await self._forget_file(name, record)
        state.before = now

    async def _apply_file(self, name: str, seen: Fingerprint, record: ConfigMap) -> None:
        before = self._recorded(record).get(name, [])
        applied: list[Reference] = []
        trouble = ""
        try:
            if seen[1] > LARGEST_FILE_BYTES:
                raise Unreadable(f"it is larger than {LARGEST_FILE_BYTES} bytes")
            documents = await trio.to_thread.run_sync(lambda: parse((self._directory / name).read_bytes()))
        except (Unreadable, OSError) as error:
            self._trouble(name, record, f"not applied: {error}")
            self._state.applied[name] = seen  # nothing to try again until the file changes
            return
        self._kinds.clear()
        for document in documents:
            try:
                applied.append(await self._apply(document))
            except (ApiError, ConnectionFailed) as error:
                where = f"{document['kind']} {document['metadata']['name']}"
                trouble = trouble or f"{where}: {error}"
        kept = [reference for reference in before if reference not in applied]
        if not trouble:
            for reference in surplus(before, applied):
                await self._delete(reference)
            kept = []
        await self._remember(record, name, [*kept, *applied])
        if trouble:
            self._trouble(name, record, trouble)
            failures = self._state.failures[name] = self._state.failures.get(name, 0) + 1
            self._state.due[name] = trio.current_time() + min(LONGEST_PAUSE_S, LOOK_S * 2.0 ** min(failures - 1, 10))
            return
        self._state.applied[name] = seen
        self._state.failures.pop(name, None)
        self._state.due.pop(name, None)
        self._state.told.pop(name, None)
        log.info("applied %s: %d objects", name, len(applied))

    async def _forget_file(self, name: str, record: ConfigMap) -> None:
        recorded = self._recorded(record)[name]
        for reference in surplus(recorded, []):
            await self._delete(reference)
        await self._remember(record, name, None)
        self._state.applied.pop(name, None)
        log.info("%s is gone: %d objects deleted", name, len(recorded))

    async def _apply(self, document: dict[str, Any]) -> Reference:
        kind = await self._kind(document["apiVersion"], document["kind"])
        metadata = document["metadata"]
        namespace = (metadata.get("namespace") or "default") if kind.namespaced else ""
        if namespace:
            document = {**document, "metadata": {**metadata, "namespace": namespace}}
        await self._client.patch(
            kind, metadata["name"], namespace, document, content_type=APPLY, manager=MANAGER, force=True
        )
        return Reference(document["apiVersion"], document["kind"], namespace, metadata["name"])

    async def _delete(self, reference: Reference) -> None:
        try:
            kind = await self._kind(reference.api_version, reference.kind)
            await self._client.delete(kind, reference.name, reference.namespace, propagation="Background")
        except NotFound:
            return

    async def _kind(self, api_version: str, name: str) -> Kind[Object]:
        """A kind as discovery knows it, metadata only. Raises NotFound with kubectl's words."""
        found = self._kinds.get((api_version, name))
        if found is not None:
            return found
        group, _, version = api_version.rpartition("/")
        words = f'no matches for kind "{name}" in version "{api_version}"'
        try:
            listed = await self._client.call("GET", f"/apis/{api_version}" if group else f"/api/{version}")
        except NotFound:
            raise NotFound(words) from None
        for entry in listed.get("resources") or ():
            if entry["kind"] == name and "/" not in entry["name"]:
                made = Resource(group, version, entry["name"], name, bool(entry.get("namespaced")), ()).bare()
                self._kinds[api_version, name] = made
                return made
        raise NotFound(words)

    # -- what every file brought -------------------------------------------------------------------------------------------

    async def _record(self) -> ConfigMap:
        try:
            return await self._client.get(configmap_kind.KIND, RECORD, RECORD_NAMESPACE)
        except NotFound:
            metadata = ObjectMeta(name=RECORD, namespace=RECORD_NAMESPACE)
            return await self._client.create(configmap_kind.KIND, ConfigMap(metadata=metadata), RECORD_NAMESPACE)

    @staticmethod
    def _recorded(record: ConfigMap) -> dict[str, list[Reference]]:
        return {name: [Reference(*entry) for entry in json.loads(text)] for name, text in record.data.items()}

    async def _remember(self, record: ConfigMap, name: str, references: Sequence[Reference] | None) -> None:
        text = None if references is None else json.dumps(references)
        if record.data.get(name) == text:
            return
        await self._client.patch(configmap_kind.KIND, RECORD, RECORD_NAMESPACE, {"data": {name: text}})
        if text is None:
            record.data.pop(name, None)
        else:
            record.data[name] = text

    def _trouble(self, name: str, record: ConfigMap, words: str) -> None:
        """Say it once: in the log, and as an event on the record."""
        if self._state.told.get(name) == words:
            return
        self._state.told[name] = words
        log.warning("%s: %s", name, words)
        note = Note(about(configmap_kind.KIND, record), "Warning", "ApplyManifestFailed", f"{name}: {words}")
        self._surroundings.recorder.tell(Speaker(MANAGER), note)


def controller(config: Config) -> Service:
    """The loop; without a directory it has nothing to do."""
    if config.manifests_dir is None:
        return Service(name=NAME, follows=(), run=_idle)
    return Service(name=NAME, follows=(), run=partial(run, config.manifests_dir))


async def _idle(_: Surroundings) -> None:
    await trio.sleep_forever()
