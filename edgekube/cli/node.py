"""`edgekube node`: what is done to nodes as members of the cluster, from the server's side."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from edgekube.api.certificates import KEYS_NAME, KEYS_NAMESPACE
from edgekube.cli.kubectl.session import Session, connection_options
from edgekube.errors import ApiError, EnvironmentError_, NotFound, TooManyRequests

NODES = "/api/v1/nodes"
KEYS = f"/api/v1/namespaces/{KEYS_NAMESPACE}/configmaps/{KEYS_NAME}"
MERGE = "application/merge-patch+json"
MIRROR = "kubernetes.io/config.mirror"
EVICT_AGAIN_S = 5.0  # upstream's pause after a budget said no
LOOK_AGAIN_S = 0.5


@click.group("node")
def COMMAND() -> None:
    """Take nodes out of the cluster.

    \b
    edgekube node remove gw2
    edgekube node remove gw2 --drain
    """


@COMMAND.command("remove")
@click.argument("name")
@click.option("--drain", is_flag=True, help="Move its pods elsewhere first, as their disruption budgets allow.")
@click.option("--timeout", default=300, show_default=True, metavar="SECONDS", help="How long draining may take.")
@connection_options
def remove(name: str, drain: bool, timeout: int, **where: Any) -> int:
    """Remove a node: its certificate is worth nothing from now on, and it comes back only with a fresh token.

    \b
    edgekube node remove gw2 --drain
    """
    session = Session(**where)
    found = _get(session, f"{NODES}/{name}")
    if found is None and not _holds_key(session, name):
        raise EnvironmentError_(f"there is no node {name}")
    if drain and found is not None:
        _drain(session, name, time.monotonic() + timeout)
    try:
        session.request("PATCH", KEYS, body={"data": {name: None}}, content_type=MERGE)
    except NotFound:
        pass  # no machine ever joined with a token
    if found is not None:
        try:
            session.request("DELETE", f"{NODES}/{name}")
        except NotFound:
            pass
    click.echo(f"node {name} removed")
    return 0


def _holds_key(session: Session, name: str) -> bool:
    keys = _get(session, KEYS) or {}
    return name in (keys.get("data") or {})


def _get(session: Session, path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = session.request("GET", path)
    except NotFound:
        return None
    return found


def _drain(session: Session, name: str, deadline: float) -> None:
    """Cordon, evict what can run elsewhere, and wait until it is gone."""
    session.request("PATCH", f"{NODES}/{name}", body={"spec": {"unschedulable": True}}, content_type=MERGE)
    click.echo(f"node {name} cordoned", err=True)
    leaving = [pod for pod in _pods(session, name) if is_evictable(pod)]
    for pod in leaving:
        _evict(session, pod, deadline)
    uids = {pod["metadata"]["uid"] for pod in leaving}
    _until(
        lambda: not any(pod["metadata"]["uid"] in uids for pod in _pods(session, name)), deadline,
        "pods did not end in time; nothing was removed. The node stays cordoned",
    )  # fmt: skip


def is_evictable(pod: dict[str, Any]) -> bool:
    """Pods of the node itself (static ones) and of daemon sets stay until the node goes, as with `kubectl drain`."""
    metadata = pod["metadata"]
    if MIRROR in (metadata.get("annotations") or {}):
        return False
    return not any(
        owner.get("controller") and owner.get("kind") == "DaemonSet" for owner in metadata.get("ownerReferences") or ()
    )


def _pods(session: Session, node: str) -> list[dict[str, Any]]:
    found = session.request("GET", "/api/v1/pods", query={"fieldSelector": f"spec.nodeName={node}"})
    return list(found.get("items") or ())


def _evict(session: Session, pod: dict[str, Any], deadline: float) -> None:
    metadata = pod["metadata"]
    place = {"name": metadata["name"], "namespace": metadata["namespace"]}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": place}
    told = False
    while True:
        try:
            session.request("POST", f"/api/v1/namespaces/{place['namespace']}/pods/{place['name']}/eviction", body=body)
            click.echo(f"pod {place['namespace']}/{place['name']} evicted", err=True)
            return
        except NotFound:
            return
        except TooManyRequests as error:
            if not told:
                click.echo(f"pod {place['namespace']}/{place['name']} must wait: {error.message}", err=True)
                told = True
        except ApiError as error:
            raise EnvironmentError_(
                f"pod {place['namespace']}/{place['name']} cannot be evicted: {error.message}"
            ) from error
        if time.monotonic() > deadline:
            raise EnvironmentError_(
                f"a disruption budget keeps pod {place['namespace']}/{place['name']}; nothing was removed. The node stays cordoned"
            )
        time.sleep(EVICT_AGAIN_S)


def _until(done: Callable[[], bool], deadline: float, otherwise: str) -> None:
    while not done():
        if time.monotonic() > deadline:
            raise EnvironmentError_(otherwise)
        time.sleep(LOOK_AGAIN_S)
