"""`edgekube node`: what is done to nodes as members of the cluster, from the server's side."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import click

from edgekube.api.certificates import KEYS_NAME, KEYS_NAMESPACE
from edgekube.cli.kubectl.drain import evict_all, pods_of, sort_out
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options
from edgekube.errors import EnvironmentError_, NotFound

NODES = "/api/v1/nodes"
KEYS = f"/api/v1/namespaces/{KEYS_NAMESPACE}/configmaps/{KEYS_NAME}"
MERGE = "application/merge-patch+json"
#: How a node that is to go is drained, in `kubectl drain`'s own options.
ALL_GO = {
    "ignore_daemonsets": True,
    "delete_emptydir_data": True,
    "force": True,
    "grace_period": -1,
    "disable_eviction": False,
}


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
        _drain(session, name, timeout)
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


def _drain(session: Session, name: str, limit_s: float) -> None:
    """Cordon, evict what can run elsewhere, and wait until it is gone. What forbids `kubectl drain` goes with its node here."""
    session.request("PATCH", f"{NODES}/{name}", body={"spec": {"unschedulable": True}}, content_type=MERGE)
    say = partial(click.echo, err=True)
    say(f"node {name} cordoned")
    found = sort_out(pods_of(session, name), ALL_GO)
    try:
        evict_all(session, found.evicted, ALL_GO, "none", time.monotonic() + limit_s, say)
    except CommandFailed as error:
        raise EnvironmentError_(f"{error}; nothing was removed. The node stays cordoned") from error
