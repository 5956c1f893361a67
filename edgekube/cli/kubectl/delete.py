"""`delete`: by file, by name, by selector or all; waits until the objects are gone, as kubectl does."""

from __future__ import annotations

import time
from typing import Any

import click

from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options, full_name, path_of
from edgekube.cli.kubectl.targets import Target, from_files, from_words
from edgekube.errors import ApiError, NotFound

LOOK_AGAIN_S = 0.1


@click.command("delete")
@click.argument("words", nargs=-1, metavar="([-f FILE] | TYPE [(NAME | -l label | --all)])")
@click.option("--filename", "-f", multiple=True, metavar="FILE", help="Files that name the resources to delete.")
@click.option("--recursive", "-R", is_flag=True, help="Process the directory used in -f recursively.")
@click.option("--selector", "-l", default="", metavar="QUERY", help="Label selector to filter on.")
@click.option("--all", "everything", is_flag=True, help="Delete all resources in the namespace.")
@click.option("--all-namespaces", "-A", is_flag=True, help="Across all namespaces.")
@click.option("--grace-period", type=int, default=-1, help="Seconds given to the resource to terminate gracefully.")
@click.option("--force", is_flag=True, help="Immediately remove resources from the API.")
@click.option("--now", is_flag=True, help="Signal for immediate shutdown (grace period 1).")
@click.option("--ignore-not-found", is_flag=True, help='Treat "not found" as success.')
@click.option("--wait/--no-wait", default=True, help="Wait for resources to be gone before returning.")
@click.option(
    "--cascade",
    type=click.Choice(["background", "orphan", "foreground"]),
    default="background",
    help="What happens to dependents.",
)
@click.option("--output", "-o", default="", metavar="FORMAT", help="name.")
@connection_options
def COMMAND(words: tuple[str, ...], filename: tuple[str, ...], **options: Any) -> int:
    """Delete resources by file names, stdin, resources and names, or by resources and label selector.

    \b
    edgekube delete -f web.yaml
    edgekube delete pod web --now
    """
    session = Session.of(options)
    if filename:
        targets = from_files(session, filename, recursive=options["recursive"])
    else:
        targets = _named(session, from_words(session, words), options)
    grace = 0 if options["force"] and options["grace_period"] < 0 else 1 if options["now"] else options["grace_period"]
    body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
    body["propagationPolicy"] = options["cascade"].capitalize()
    if grace >= 0:
        body["gracePeriodSeconds"] = grace
    if options["force"]:
        click.echo(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
            "The resource may continue to run on the cluster indefinitely.",
            err=True,
        )
    status, doomed = 0, []
    for target in targets:
        try:
            answer = session.request("DELETE", path_of(target.resource, target.namespace, target.name), body=body)
        except ApiError as error:
            if isinstance(error, NotFound) and options["ignore_not_found"]:
                continue
            click.echo(f"Error from server ({error.reason}): {error.message}", err=True)
            status = 1
            continue
        _say(target, options)
        uid = (answer.get("details") or {}).get("uid") or (answer.get("metadata") or {}).get("uid")
        doomed.append((target, uid))
    if options["wait"] and not options["force"]:
        for target, uid in doomed:
            wait_gone(session, target, uid)
    if not targets and not status:
        click.echo("No resources found", err=True)
    return status


def _say(target: Target, options: dict[str, Any]) -> None:
    if options["output"] == "name":
        click.echo(f"{full_name(target.resource)}/{target.name}")
        return
    forced = " force" if options["force"] else ""
    where = f" from {target.namespace} namespace" if target.namespace else ""
    click.echo(f'{full_name(target.resource)} "{target.name}"{forced and " force"} deleted{where}')


def _named(session: Session, targets: list[Target], options: dict[str, Any]) -> list[Target]:
    named = [target for target in targets if target.name]
    for target in targets:
        if target.name:
            continue
        if not (options["selector"] or options["everything"]):
            raise CommandFailed("resource(s) were provided, but no name was specified")
        where = "" if options["all_namespaces"] else target.namespace
        query = {"labelSelector": options["selector"]} if options["selector"] else {}
        for item in session.request("GET", path_of(target.resource, where), query=query).get("items") or ():
            meta = item["metadata"]
            named.append(Target(target.resource, meta["name"], meta.get("namespace", "")))
    return named


def wait_gone(session: Session, target: Target, uid: str | None) -> None:
    """Poll until the object is gone or another one has its name."""
    path = path_of(target.resource, target.namespace, target.name)
    while True:
        try:
            found = session.request("GET", path)
        except NotFound:
            return
        if uid and found["metadata"]["uid"] != uid:
            return
        time.sleep(LOOK_AGAIN_S)
