"""Secrets of type kubernetes.io/service-account-token: filled with a token, the CA and the namespace; gone with their account.

Nothing makes such Secrets by itself any more, but charts and people still do. Works through a client with full rights.
Source: k8s.io/kubernetes pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

import logging
from functools import partial

import trio
from msgspec.structs import replace

from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client
from edgekube.errors import ApiError
from edgekube.kinds.core import secret as secrets
from edgekube.kinds.core import serviceaccount as accounts
from edgekube.kinds.core.secret import Secret
from edgekube.kinds.core.serviceaccount import ServiceAccount
from edgekube.server.auth.serviceaccounts import ServiceAccountTokens

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"

log = logging.getLogger("edgekube.token-secrets")


async def keep_token_secrets(
    client: Client,
    tokens: ServiceAccountTokens,
    ca: bytes,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Fill and remove them as they and their accounts come and go. Never ends. `ca` is PEM."""
    found: Cache[Secret] = Cache()
    homes: Cache[ServiceAccount] = Cache()
    touched = trio.Event()

    def touch(*_: object) -> None:
        touched.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(follow, client, accounts.KIND, homes, on_change=touch))
        await nursery.start(partial(follow, client, secrets.KIND, found, on_change=touch, fields=f"type={TYPE}"))
        task_status.started()
        while True:
            await touched.wait()
            touched = trio.Event()
            for one in found.list():
                await _settle(client, tokens, ca, one, homes)


async def _settle(
    client: Client, tokens: ServiceAccountTokens, ca: bytes, one: Secret, homes: Cache[ServiceAccount]
) -> None:
    metadata = one.metadata
    home = homes.get(metadata.namespace, metadata.annotations.get(NAME, ""))
    uid = metadata.annotations.get(UID, "")
    try:
        if home is None or (uid and uid != home.metadata.uid):
            await _remove(client, one, home)
        elif (better := _filled(tokens, ca, one, home)) is not None:
            await client.update(secrets.KIND, better)
    except ApiError as error:  # the change that made it so wakes us again
        log.debug("%s/%s: later: %s", metadata.namespace, metadata.name, error)


async def _remove(client: Client, one: Secret, home: ServiceAccount | None) -> None:
    metadata = one.metadata
    if home is None:  # the cache may only be late: ask
        try:
            await client.get(accounts.KIND, metadata.annotations.get(NAME, ""), metadata.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
        else:
            return
    await client.delete(
        secrets.KIND, metadata.name, metadata.namespace, uid=metadata.uid, revision=metadata.resource_version
    )


def _filled(tokens: ServiceAccountTokens, ca: bytes, one: Secret, home: ServiceAccount) -> Secret | None:
    """The Secret with all it should hold, None when it does."""
    namespace = one.metadata.namespace
    data = {**one.data, "ca.crt": ca, "namespace": namespace.encode()}
    if not data.get("token"):
        made = tokens.legacy(namespace, home.metadata.name, home.metadata.uid, one.metadata.name)
        data["token"] = made.encode()
    annotations = {**one.metadata.annotations, UID: home.metadata.uid}
    if data == one.data and annotations == one.metadata.annotations:
        return None
    return replace(one, data=data, metadata=replace(one.metadata, annotations=annotations))
