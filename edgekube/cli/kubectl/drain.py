"""`drain`: cordon nodes and evict their pods, respecting disruption budgets.

Which pods go, which stay and which forbid draining is `sort_out`, a pure function; the words are kubectl's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from edgekube.cli.kubectl.cordon import mark, nodes
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options, duration_s, full_name
from edgekube.cli.kubectl.targets import Target
from edgekube.errors import ApiError, NotFound

LOOK_AGAIN_S = 1.0
REFUSED_AGAIN_S = 5.0
MIRROR = "kubernetes.io/config.mirror"
MANAGERS = ("ReplicaSet", "ReplicationController", "StatefulSet", "Job", "DaemonSet")


@dataclass(slots=True)
class Sorted:
    """Pods to evict, warnings about pods that stay or will be lost, and what forbids draining, by complaint."""

    evicted: list[dict[str, Any]] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    refusals: dict[str, list[str]] = field(default_factory=dict)


@click.command("drain")
@click.argument("names", nargs=-1, metavar="NODE")
@click.option("--selector", "-l", default="", metavar="QUERY", help="Label selector of the nodes.")
@click.option("--pod-selector", default="", metavar="QUERY", help="Label selector to filter pods on the node.")
@click.option("--ignore-daemonsets", is_flag=True, help="Ignore DaemonSet-managed pods.")
@click.option("--delete-emptydir-data", is_flag=True, help="Continue even if pods use emptyDir volumes.")
@click.option("--force", is_flag=True, help="Continue even if there are pods that no controller manages.")
@click.option(
    "--grace-period", type=int, default=-1, help="Seconds given to each pod to terminate; -1 is the pod's own."
)
@click.option("--timeout", default="0s", metavar="DURATION", help="How long to wait before giving up; 0 is for ever.")
@click.option("--disable-eviction", is_flag=True, help="Delete pods instead of evicting them.")
@click.option(
    "--dry-run", type=click.Choice(["none", "server", "client"]), is_flag=False, flag_value="client", default="none",
    help="Only say what would be done.",
)  # fmt: skip
@connection_options
def COMMAND(names: tuple[str, ...], selector: str, dry_run: str, **options: Any) -> int:
    """Drain node in preparation for maintenance.

    \b
    edgekube drain gw1 --ignore-daemonsets
    edgekube drain gw1 --ignore-daemonsets --delete-emptydir-data --timeout=5m
    """
    from edgekube.cli.kubectl.changing import Change

    session = Session.of(options)
    limit_s = duration_s(options["timeout"])
    targets = nodes(session, names, selector, "drain")
    if any(target.document is None for target in targets):
        return 1
    suffix = {"none": "", "server": " (server dry run)", "client": " (dry run)"}[dry_run]
    for target in targets:
        mark(session, target, Change(dry_run=dry_run, manager="kubectl-drain"), cordoned=True)
    status = 0
    for target in targets:
        found = sort_out(pods_of(session, target.name, options["pod_selector"]), options)
        if found.refusals:
            complaints = ", ".join(f"{why}: {', '.join(pods)}" for why, pods in found.refusals.items())
            click.echo(
                f"error: unable to drain node {target.name!r} due to error: cannot delete {complaints}, continuing command...".replace(
                    "'", '"'
                ),
                err=True,
            )
            click.echo(f"There are pending nodes to be drained:\n {target.name}\ncannot delete {complaints}", err=True)
            status = 1
            continue
        for why, pods in found.warnings.items():
            click.echo(f"Warning: {why}: {', '.join(pods)}", err=True)
        evict_all(session, found.evicted, options, dry_run, time.monotonic() + limit_s if limit_s else float("inf"))
        click.echo(f"{full_name(target.resource)}/{target.name} drained{suffix}")
    return status


def pods_of(session: Session, node: str, selector: str = "") -> list[dict[str, Any]]:
    """Everything that is placed on a node."""
    query = {"fieldSelector": f"spec.nodeName={node}"} | ({"labelSelector": selector} if selector else {})
    found: list[dict[str, Any]] = session.request("GET", "/api/v1/pods", query=query).get("items") or []
    return found


def sort_out(pods: list[dict[str, Any]], options: dict[str, Any]) -> Sorted:
    """What draining means for each pod of a node; `options` are those of the command."""
    result = Sorted()
    for pod in pods:
        meta, name = pod["metadata"], f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if MIRROR in (meta.get("annotations") or {}):
            continue
        finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        manager = next((owner["kind"] for owner in meta.get("ownerReferences") or () if owner.get("controller")), "")
        if manager == "DaemonSet" and not finished:
            if options["ignore_daemonsets"]:
                result.warnings.setdefault("ignoring DaemonSet-managed Pods", []).append(name)
            else:
                why = "DaemonSet-managed Pods (use --ignore-daemonsets to ignore)"
                result.refusals.setdefault(why, []).append(name)
            continue
        local = any("emptyDir" in volume for volume in pod["spec"].get("volumes") or ())
        if local and not finished and not options["delete_emptydir_data"]:
            why = "Pods with local storage (use --delete-emptydir-data to override)"
            result.refusals.setdefault(why, []).append(name)
            continue
        if not manager and not finished:
            if not options["force"]:
                why = "Pods that declare no controller (use --force to override)"
                result.refusals.setdefault(why, []).append(name)
                continue
            result.warnings.setdefault("deleting Pods that declare no controller", []).append(name)
        result.evicted.append(pod)
    return result


def evict_all(
    session: Session, pods: list[dict[str, Any]], options: dict[str, Any], dry_run: str, deadline: float,
    say: Callable[[str], None] = click.echo,
) -> None:  # fmt: skip
    """Evict pods one after the other, then wait until all are gone. Raises CommandFailed when time is up."""
    resource = session.resolve_kind("v1", "Pod")
    if dry_run != "none":
        for pod in pods:
            said = "deleted" if options["disable_eviction"] else "evicted"
            suffix = " (server dry run)" if dry_run == "server" else " (dry run)"
            say(f"pod/{pod['metadata']['name']} {said}{suffix}")
        return
    targets = []
    for pod in pods:
        meta = pod["metadata"]
        target = Target(resource, meta["name"], meta["namespace"], pod)
        say(f"{'deleting' if options['disable_eviction'] else 'evicting'} pod {target.namespace}/{target.name}")
        _evict(session, target, options, deadline)
        targets.append(target)
    for target in targets:
        while _still_there(session, target):
            if time.monotonic() > deadline:
                raise CommandFailed(f"timed out waiting for pod {target.namespace}/{target.name} to terminate")
            time.sleep(LOOK_AGAIN_S)
        say(f"pod/{target.name} {'deleted' if options['disable_eviction'] else 'evicted'}")


def _evict(session: Session, target: Target, options: dict[str, Any], deadline: float) -> None:
    path = f"/api/v1/namespaces/{target.namespace}/pods/{target.name}"
    grace = {"gracePeriodSeconds": options["grace_period"]} if options["grace_period"] >= 0 else {}
    while True:
        try:
            if options["disable_eviction"]:
                session.request("DELETE", path, body={"kind": "DeleteOptions", "apiVersion": "v1", **grace})
            else:
                body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": target.name}}
                session.request("POST", f"{path}/eviction", body={**body, "deleteOptions": grace})
            return
        except NotFound:
            return
        except ApiError as error:
            if error.code != 429:
                raise
            if time.monotonic() > deadline:
                raise CommandFailed(f"error when evicting pods/{target.name!r}: {error.message}") from None
            click.echo(
                f'error when evicting pods/"{target.name}" -n "{target.namespace}" (will retry after 5s): {error.message}',
                err=True,
            )
            time.sleep(REFUSED_AGAIN_S)


def _still_there(session: Session, target: Target) -> bool:
    try:
        found = session.request("GET", f"/api/v1/namespaces/{target.namespace}/pods/{target.name}")
    except NotFound:
        return False
    return bool(found["metadata"]["uid"] == (target.document or {})["metadata"]["uid"])
