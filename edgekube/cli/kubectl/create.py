"""`create`: objects from files; namespaces and config maps by name."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.session import Session, connection_options, full_name, path_of
from edgekube.cli.kubectl.targets import from_files
from edgekube.errors import ApiError, UsageError


@click.command("create")
@click.argument("words", nargs=-1, metavar="[namespace NAME]")
@click.option("--filename", "-f", multiple=True, metavar="FILE", help="Files to use to create the resources.")
@click.option("--recursive", "-R", is_flag=True, help="Process the directory used in -f recursively.")
@click.option(
    "--dry-run", type=click.Choice(["none", "server", "client"]), default="none", help="Only say what would be done."
)
@click.option("--output", "-o", default="", metavar="FORMAT", help="yaml, json, name.")
@connection_options
def COMMAND(
    words: tuple[str, ...], filename: tuple[str, ...], recursive: bool, dry_run: str, output: str, **where: Any
) -> int:
    """Create a resource from a file or from stdin.

    \b
    edgekube create -f web.yaml
    edgekube create namespace shop
    """
    session = Session(**where)
    if words:
        if len(words) != 2 or words[0] not in ("namespace", "ns"):
            raise UsageError(f"unknown command {' '.join(words)!r}: use -f FILE, or namespace NAME")
        session.request(
            "POST",
            "/api/v1/namespaces",
            query=_query(dry_run),
            body={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": words[1]}},
        )
        click.echo(f"namespace/{words[1]} created{suffix(dry_run)}")
        return 0
    status = 0
    for target in from_files(session, filename, recursive=recursive):
        try:
            if dry_run == "client":
                made = target.document or {}
            else:
                path = path_of(target.resource, target.namespace)
                made = session.request("POST", path, query=_query(dry_run), body=target.document)
        except ApiError as error:
            click.echo(
                f'Error from server ({error.reason}): error when creating "{filename[0]}": {error.message}', err=True
            )
            status = 1
            continue
        report(target.resource, made, "created" + suffix(dry_run), output)
    return status


def _query(dry_run: str) -> dict[str, Any]:
    query = {"fieldManager": "kubectl-create", "fieldValidation": "Strict"}
    return query | ({"dryRun": "All"} if dry_run == "server" else {})


def suffix(dry_run: str) -> str:
    """What kubectl appends to an answer that did not happen."""
    return {"none": "", "server": " (server dry run)", "client": " (dry run)"}[dry_run]


def report(resource: dict[str, Any], made: dict[str, Any], verb: str, output: str) -> None:
    """One line about an object, or the object itself."""
    name = f"{full_name(resource)}/{made.get('metadata', {}).get('name', '')}"
    whole = printing.printer(output)
    if whole:
        made.get("metadata", {}).pop("managedFields", None)
        click.echo(whole(made), nl=False)
    else:
        click.echo(name if output == "name" else f"{name} {verb}")
