"""`scale`: set the number of replicas through the scale subresource."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl.changing import MERGE, Change, changing_options, choosing_options, chosen, each, where
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options
from edgekube.cli.kubectl.targets import Target
from edgekube.errors import NotFound


@click.command("scale")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME)")
@click.option("--replicas", type=int, default=-1, help="The new desired number of replicas. Required.")
@click.option("--current-replicas", type=int, default=-1, help="Precondition for current size.")
@click.option("--resource-version", default="", metavar="VERSION", help="Only if this is the current version.")
@click.option("--timeout", default="0", metavar="DURATION", help="Time to wait; accepted, and not waited for.")
@choosing_options
@changing_options
@connection_options
def COMMAND(words: tuple[str, ...], replicas: int, current_replicas: int, **options: Any) -> int:
    """Set a new size for a deployment, replica set, or replication controller.

    \b
    edgekube scale --replicas=3 deployment/web
    edgekube scale --current-replicas=2 --replicas=3 deployment/web
    """
    if replicas < 0:
        raise CommandFailed("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    session, change = Session.of(options), Change.of(options, "kubectl-scale")
    try:
        targets = list(chosen(session, words, options))
    except NotFound as error:
        raise CommandFailed(f"no objects passed to scale {error.message}") from None
    if not targets:
        raise CommandFailed("no objects passed to scale")

    def act(target: Target) -> None:
        have = ((target.document or {}).get("spec") or {}).get("replicas")
        if current_replicas >= 0 and have != current_replicas:
            raise CommandFailed(f"Expected replicas to be {current_replicas}, was {have}")
        made = target.document or {}
        if not change.local:
            patch: dict[str, Any] = {"spec": {"replicas": replicas}}
            if options["resource_version"]:
                patch["metadata"] = {"resourceVersion": options["resource_version"]}
            session.request("PATCH", where(target, "scale"), query=change.query, body=patch, content_type=MERGE)
            if change.output not in ("", "name"):
                made = session.request("GET", where(target))
        change.show(target.resource, made, "scaled")

    return each(targets, act)
