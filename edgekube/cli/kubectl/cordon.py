"""`cordon`, and what it shares with `uncordon` and `drain`: whether a node takes new pods."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl.changing import STRATEGIC, Change, complain, where
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options, full_name
from edgekube.cli.kubectl.targets import Target
from edgekube.errors import ApiError

DRY_RUN = click.Choice(["none", "server", "client"])


@click.command("cordon")
@click.argument("names", nargs=-1, metavar="NODE")
@click.option("--selector", "-l", default="", metavar="QUERY", help="Label selector to filter on.")
@click.option("--dry-run", type=DRY_RUN, is_flag=False, flag_value="client", default="none", help="Only say it.")
@connection_options
def COMMAND(names: tuple[str, ...], selector: str, dry_run: str, **options: Any) -> int:
    """Mark node as unschedulable.

    \b
    edgekube cordon gw1
    """
    return set_schedulable(names, selector, dry_run, options, cordoned=True)


def set_schedulable(
    names: tuple[str, ...], selector: str, dry_run: str, options: dict[str, Any], *, cordoned: bool
) -> int:
    """Cordon or uncordon nodes and say so; the exit status."""
    session = Session.of(options)
    change = Change(dry_run=dry_run, manager="kubectl-cordon" if cordoned else "kubectl-uncordon")
    status = 0
    for target in nodes(session, names, selector, "cordon" if cordoned else "uncordon"):
        if target.document is None:
            status = 1
            continue
        mark(session, target, change, cordoned=cordoned)
    return status


def nodes(session: Session, names: tuple[str, ...], selector: str, verb: str) -> list[Target]:
    """The nodes meant; one that is not there is complained about and has no document."""
    if not names and not selector:
        raise CommandFailed(_usage(verb))
    if names and selector:
        raise CommandFailed("error: cannot specify both a node name and a --selector option")
    resource = session.resolve_kind("v1", "Node")
    if selector:
        items = session.request("GET", "/api/v1/nodes", query={"labelSelector": selector}).get("items") or []
        return [Target(resource, item["metadata"]["name"], "", item) for item in items]
    targets = []
    for name in names:
        target = Target(resource, name.removeprefix("node/").removeprefix("nodes/"))
        try:
            targets.append(Target(resource, target.name, "", session.request("GET", where(target))))
        except ApiError as error:
            complain(error)
            targets.append(target)
    return targets


def _usage(verb: str) -> str:
    return f"USAGE: {verb} NODE [flags]\nSee 'kubectl {verb} -h' for help and examples"


def mark(session: Session, target: Target, change: Change, *, cordoned: bool) -> None:
    """Set one node's `unschedulable`, and say so."""
    word = "cordoned" if cordoned else "uncordoned"
    name = f"{full_name(target.resource)}/{target.name}"
    suffix = {"none": "", "server": " (server dry run)", "client": " (dry run)"}[change.dry_run]
    if bool(((target.document or {}).get("spec") or {}).get("unschedulable")) == cordoned:
        click.echo(f"{name} already {word}{suffix}")
        return
    if not change.local:
        body = {"spec": {"unschedulable": cordoned or None}}
        session.request("PATCH", where(target), query=change.query, body=body, content_type=STRATEGIC)
    click.echo(f"{name} {word}{suffix}")
