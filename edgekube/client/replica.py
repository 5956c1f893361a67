"""The API as an agent has it: the server's answers while there is a way to it, and else what was last seen of them.

A `Replica` is a `client.interface.Client` around another. What is listed, watched and got is copied to disk, so that a node which
starts while cut off finds its pods and everything they refer to, and goes on watching from where the copy ends once the server is
back. Several who follow the same selection share one watch.

Of what is written while cut off nothing is queued here: every loop that writes says the latest again until it is through. Just the
status of pods is kept beside the copy and shown to who follows them on this node (its revision is `is_local`), because local
services are made from it and a pod that ended must not run again after a reboot. Tokens are handed out again, expired or not: a pod
needs the file to start, and only a server could refuse what is in it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio

from edgekube.api.kind import Keeping, Kind
from edgekube.api.meta import Object
from edgekube.api.patching import merge_patch
from edgekube.client.interface import Client, Event, Listing
from edgekube.client.replica_feed import Feed
from edgekube.client.replica_link import Link, is_away
from edgekube.client.replica_rows import SEALED, Rows, Selection, is_local, number
from edgekube.clock import Clock
from edgekube.errors import ApiError, ConnectionFailed, NotFound, StoreCorrupt
from edgekube.store.interface import Key
from edgekube.store.offload import Offloader, ThreadOffloader
from edgekube.store.sealing import AesGcmSealer, load_sealer
from edgekube.store.sqlite import SqliteStore, open_store

T = TypeVar("T", bound=Object)

FLUSH_S = 15.0
SWEEP_S = 600.0  # what nobody followed for this long, while the server could be asked, is given up
STEADY_S = 1.0
AGAIN_S = 1.0
MERGE = "application/merge-patch+json"
KEPT_STATUS = "/pods"
NOT_KEPT = frozenset({"/events", "events.k8s.io/events"})

log = logging.getLogger("edgekube.replica")

Probe = Callable[[Client], Awaitable[object]]

__all__ = ["Replica", "is_local", "open_replica"]


class Replica:
    """See the module's opening; made by `open_replica`."""

    def __init__(self, remote: Client, rows: Rows, link: Link, nursery: trio.Nursery, own: Selection) -> None:
        self._remote, self._rows, self._link, self._nursery = remote, rows, link, nursery
        self._own = own  # this node's object: kept whoever asks for it
        self._feeds: dict[Selection, Feed] = {}
        self._kinds: dict[str, Kind[Any]] = {}
        self._used_at: dict[Selection, float] = {}

    # ---- the line

    @property
    def online(self) -> bool:
        """Whether the server can be reached, as far as is known."""
        return self._link.online

    async def wait_online(self) -> None:
        """Until the server can be reached."""
        await self._link.wait_online()

    async def wait_offline(self) -> None:
        """Until it cannot."""
        await self._link.wait_offline()

    def look(self) -> None:
        """Somebody saw a sign that the line broke, or is back: find out now."""
        self._link.look()

    # ---- reading

    async def get(self, kind: Kind[T], name: str, namespace: str = "") -> T:
        """The object now, or as last seen. Raises NotFound, ConnectionFailed when nothing is known of it."""
        if not _is_kept(kind):
            return await self._link.ask(lambda: self._remote.get(kind, name, namespace))
        self._kinds[kind.resource] = kind
        try:
            item = await self._link.ask(lambda: self._remote.get(kind, name, namespace))
        except NotFound:
            await self._rows.drop(Key(kind.resource, namespace, name))
            raise
        except (ApiError, ConnectionFailed) as error:
            if not is_away(error):
                raise
            if (known := self._rows.get(kind, namespace, name)) is not None:
                return known
            if self._rows.decided(kind.resource, namespace, name):
                words = f'{kind.plural} "{name}" not found'
                raise NotFound(words, name=name, group=kind.group, kind=kind.plural) from None
            raise
        await self._rows.learn(kind, item)
        return item

    async def list(self, kind: Kind[T], namespace: str = "", *, labels: str = "", fields: str = "") -> Listing[T]:
        """All that match, now or as last seen; while somebody else here follows the same, without asking the server."""
        if not _is_kept(kind):
            return await self._link.ask(lambda: self._remote.list(kind, namespace, labels=labels, fields=fields))
        self._kinds[kind.resource] = kind
        selection = Selection(kind.resource, namespace, labels, fields)
        self._used_at[selection] = trio.current_time()
        if selection in self._feeds:
            await trio.lowlevel.checkpoint()
            return self._as_seen(kind, selection)
        try:
            listing = await self._link.ask(lambda: self._remote.list(kind, namespace, labels=labels, fields=fields))
        except (ApiError, ConnectionFailed) as error:
            if not is_away(error) or selection not in self._rows.revisions:
                raise
            return self._as_seen(kind, selection)
        await self._rows.replace(kind, selection, listing.items, listing.revision)
        return listing

    def _as_seen(self, kind: Kind[T], selection: Selection) -> Listing[T]:
        return Listing(self._rows.list(kind, selection), str(self._rows.revisions.get(selection, 0)))

    @asynccontextmanager
    async def watch(
        self, kind: Kind[T], namespace: str = "", *, after: str, labels: str = "", fields: str = ""
    ) -> AsyncIterator[AsyncIterator[Event[T]]]:
        """Events after a revision. While cut off it just waits, and goes on where it was. Raises Gone."""
        if not _is_kept(kind):
            async with self._remote.watch(kind, namespace, after=after, labels=labels, fields=fields) as events:
                yield events
            return
        selection = Selection(kind.resource, namespace, labels, fields)
        feed = self._feeds.get(selection)
        if feed is None:
            feed = self._feeds[selection] = Feed(selection, number(after))
            self._kinds[kind.resource] = kind
            self._nursery.start_soon(self._pump, kind, feed)
        reader = feed.join(number(after))
        try:
            yield reader
        finally:
            feed.leave(reader)
            self._used_at[selection] = trio.current_time()
            if not feed.is_read:
                feed.scope.cancel()
                if self._feeds.get(selection) is feed:
                    del self._feeds[selection]

    async def _pump(self, kind: Kind[Any], feed: Feed) -> None:
        """Feed it until nobody reads; over breaks of the line it is resumed."""
        with feed.scope:
            try:
                while feed.is_read:
                    await self._link.wait_online()
                    await self._follow(kind, feed)
            except ApiError as error:
                feed.end(error)
            finally:
                if self._feeds.get(feed.selection) is feed:
                    del self._feeds[feed.selection]

    async def _follow(self, kind: Kind[Any], feed: Feed) -> None:
        """One watch of the server, until it ends or the line does. Raises what the server says."""
        begun, selection = trio.current_time(), feed.selection
        try:
            with self._link.while_up():
                watching = self._remote.watch(
                    kind,
                    selection.namespace,
                    after=str(feed.revision),
                    labels=selection.labels,
                    fields=selection.fields,
                )
                async with watching as events:
                    async for event in events:
                        await self._rows.take(kind, selection, event.type, event.object)
                        feed.give(event)
        except (ApiError, ConnectionFailed) as error:
            if not is_away(error):
                raise
            self._link.look()
        if trio.current_time() - begun < STEADY_S:
            await trio.sleep(AGAIN_S)

    # ---- writing

    async def create(self, kind: Kind[T], item: T, namespace: str = "") -> T:
        """The object as stored."""
        return await self._wrote(kind, await self._link.ask(lambda: self._remote.create(kind, item, namespace)))

    async def update(self, kind: Kind[T], item: T, *, subresource: str = "") -> T:
        """PUT. A pod's status that cannot be sent is shown to this node's followers, and raises ConnectionFailed all the same."""
        key = Rows.key(kind, item)
        sent = item
        if is_local(item.metadata.resource_version):  # what the server has of it is what we were shown last
            metadata = msgspec.structs.replace(item.metadata, resource_version=self._rows.revision_of(key))
            sent = msgspec.structs.replace(item, metadata=metadata)
        try:
            made = await self._link.ask(lambda: self._remote.update(kind, sent, subresource=subresource))
        except (ApiError, ConnectionFailed) as error:
            if is_away(error) and subresource == "status" and kind.resource == KEPT_STATUS:
                await self._say(kind, item)
            raise
        return await self._wrote(kind, made, said=subresource == "status")

    async def patch(
        self,
        kind: Kind[T],
        name: str,
        namespace: str,
        patch: dict[str, Any] | Sequence[dict[str, Any]],
        *,
        content_type: str = MERGE,
        subresource: str = "",
        manager: str = "",
        force: bool = False,
    ) -> T:
        """Any patch type; of a pod's status (a merge) as `update`."""
        try:
            made = await self._link.ask(
                lambda: self._remote.patch(
                    kind,
                    name,
                    namespace,
                    patch,
                    content_type=content_type,
                    subresource=subresource,
                    manager=manager,
                    force=force,
                )
            )
        except (ApiError, ConnectionFailed) as error:
            known = self._rows.get(kind, namespace, name) if kind.resource == KEPT_STATUS else None
            says = subresource == "status" and content_type == MERGE and isinstance(patch, dict)
            if is_away(error) and says and known is not None:
                assert isinstance(patch, dict)
                wanted = patch.get("metadata", {}).get("uid", known.metadata.uid)
                if wanted == known.metadata.uid:
                    await self._say(
                        kind, kind.from_dict(merge_patch(kind.to_dict(known), {"status": patch.get("status")}))
                    )
            raise
        return await self._wrote(kind, made, said=subresource == "status")

    async def _say(self, kind: Kind[T], item: T) -> None:
        if not await self._rows.say(kind, item):
            return
        for feed in self._feeds.values():
            if feed.selection.holds(kind, item):
                shown = self._rows.get(kind, item.metadata.namespace, item.metadata.name)
                if shown is not None:
                    feed.give_local(shown)

    async def _wrote(self, kind: Kind[T], item: T, *, said: bool = False) -> T:
        if said:
            await self._rows.unsay(Rows.key(kind, item))
        if _is_kept(kind) and any(selection.holds(kind, item) for selection in self._rows.revisions):
            await self._rows.learn(kind, item)
        return item

    async def delete(
        self,
        kind: Kind[T],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        revision: str = "",
        grace_s: int | None = None,
        propagation: str = "",
    ) -> None:
        """Begin (and mostly finish) a deletion."""
        await self._link.ask(
            lambda: self._remote.delete(
                kind, name, namespace, uid=uid, revision=revision, grace_s=grace_s, propagation=propagation
            )
        )

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any other request. A token that was given before is given again while the server cannot be asked."""
        asked = _token_asked_for(method, path, body)
        if asked is None:
            return await self._link.ask(lambda: self._remote.call(method, path, body))
        name, namespace, uid = asked
        try:
            answer = await self._link.ask(lambda: self._remote.call(method, path, body))
        except (ApiError, ConnectionFailed) as error:
            if is_away(error) and (known := self._rows.token(name, namespace)) is not None:
                return known
            raise
        await self._rows.keep_token(name, namespace, uid, answer)
        return answer

    # ---- keeping it small

    async def sweep(self) -> None:
        """For ever: give up what nobody follows any more. Time spent cut off does not count."""
        opened_at = trio.current_time()
        while True:
            await trio.sleep(SWEEP_S)
            if not self.online:
                await self._link.wait_online()
                opened_at = trio.current_time()
                continue
            now = trio.current_time()
            unused = [
                one
                for one in self._rows.revisions
                if one not in self._feeds
                and one != self._own
                and now - max(opened_at, self._used_at.get(one, 0.0)) >= SWEEP_S
            ]
            if unused:
                await self._rows.forget(unused, self._kinds)
                for one in unused:
                    self._used_at.pop(one, None)


@asynccontextmanager
async def open_replica(
    path: Path,
    remote: Client,
    clock: Clock,
    *,
    node_name: str = "",
    cluster: str = "",
    probe: Probe | None = None,
    offloader: Callable[[str], Offloader] = ThreadOffloader,
) -> AsyncIterator[Replica]:
    """A copy in the file `path` around `remote`, with its key beside it.

    `cluster` (any text that names it, as the hash of its CA) keeps a copy of another one from being used; `probe` asks for a sign
    of life. A file that is damaged beyond repair is set aside: a copy can be made again. Raises StoreLocked, StoreError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    asks = probe or (lambda client: client.call("GET", "/livez"))
    async with _open_store(path, offloader) as store:
        rows = Rows(store)
        await rows.open(cluster)
        link = Link(lambda: asks(remote), clock)
        async with trio.open_nursery() as nursery:
            replica = Replica(remote, rows, link, nursery, Selection("/nodes", "", "", f"metadata.name={node_name}"))
            nursery.start_soon(link.keep)
            nursery.start_soon(replica.sweep)
            try:
                yield replica
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await rows.close()


@asynccontextmanager
async def _open_store(path: Path, offloader: Callable[[str], Offloader]) -> AsyncIterator[SqliteStore]:
    sealer = _sealer_of(path, path.with_suffix(".key"))
    async with AsyncExitStack() as stack:
        opening = partial(open_store, path, sealer=sealer, offloader=offloader, flush_s=FLUSH_S)
        try:
            store = await stack.enter_async_context(opening())
        except StoreCorrupt as error:
            _set_aside(path, str(error))
            store = await stack.enter_async_context(opening())
        yield store


def _sealer_of(path: Path, key_file: Path) -> AesGcmSealer:
    if path.exists() and not key_file.exists():
        _set_aside(path, "its key is gone")
    return load_sealer(key_file, SEALED)


def _set_aside(path: Path, why: str) -> None:
    log.error("the copy of the cluster in %s cannot be used and is begun anew: %s", path, why)
    path.replace(path.with_suffix(".damaged"))
    for rest in ("-wal", "-shm"):
        path.with_name(path.name + rest).unlink(missing_ok=True)


def _is_kept(kind: Kind[Any]) -> bool:
    return kind.keeping is not Keeping.MEMORY and kind.resource not in NOT_KEPT


def _token_asked_for(method: str, path: str, body: dict[str, Any] | None) -> tuple[str, str, str] | None:
    """(name to keep it under, namespace, uid of the pod) of a TokenRequest for a pod."""
    if method != "POST" or body is None or not path.endswith("/token") or "/serviceaccounts/" not in path:
        return None
    spec = body.get("spec", {})
    uid = (spec.get("boundObjectRef") or {}).get("uid", "")
    if not uid:
        return None
    wanted = json.dumps([path, uid, spec.get("audiences"), spec.get("expirationSeconds")])
    return hashlib.sha256(wanted.encode()).hexdigest()[:32], path.split("/namespaces/")[1].split("/")[0], uid
