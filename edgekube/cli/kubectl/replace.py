"""`replace`: put what files say in the place of what the server has; --force deletes and creates."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl.changing import Change, changing_options, each, where
from edgekube.cli.kubectl.delete import wait_gone
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options, path_of
from edgekube.cli.kubectl.targets import Target, from_files
from edgekube.errors import NotFound


@click.command("replace")
@click.option("--filename", "-f", multiple=True, metavar="FILE", help="Files to replace the resources with.")
@click.option("--recursive", "-R", is_flag=True, help="Process the directory used in -f recursively.")
@click.option("--force", is_flag=True, help="Delete the resource and create it again.")
@click.option("--subresource", default="", metavar="NAME", help="Replace this subresource: status, scale.")
@changing_options
@connection_options
def COMMAND(filename: tuple[str, ...], recursive: bool, force: bool, subresource: str, **options: Any) -> int:
    """Replace a resource by file name or stdin.

    \b
    edgekube replace -f web.yaml
    edgekube get configmap web -o yaml | sed s/blue/green/ | edgekube replace -f -
    """
    if not filename:
        raise CommandFailed("must specify one of -f and -k")
    session, change = Session.of(options), Change.of(options, "kubectl-replace")
    query = {**change.query, "fieldValidation": "Strict"}

    def act(target: Target) -> None:
        made, verb = dict(target.document or {}), "replaced"
        if not change.local:
            if force:
                _remove(session, target)
                made["metadata"] = {k: v for k, v in made["metadata"].items() if k not in ("resourceVersion", "uid")}
                made = session.request("POST", path_of(target.resource, target.namespace), query=query, body=made)
            else:
                made = session.request("PUT", where(target, subresource), query=query, body=made)
        change.show(target.resource, made, verb)

    return each(from_files(session, filename, recursive=recursive), act)


def _remove(session: Session, target: Target) -> None:
    try:
        answer = session.request("DELETE", where(target), body={"gracePeriodSeconds": 0})
    except NotFound:
        return
    wait_gone(session, target, (answer.get("details") or {}).get("uid"))
