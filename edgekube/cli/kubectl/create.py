"""`create`: objects from files, and the group its generators (`create deployment NAME ...`) hang on."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.changing import Change, changing_options, each
from edgekube.cli.kubectl.session import CommandFailed, Session, VerbGroup, connection_options, full_name, path_of
from edgekube.cli.kubectl.targets import Target, from_files
from edgekube.errors import ApiError

ALIASES = {
    "cj": "cronjob", "cm": "configmap", "deploy": "deployment", "ing": "ingress", "ns": "namespace", "pc": "priorityclass",
    "pdb": "poddisruptionbudget", "resourcequota": "quota", "sa": "serviceaccount", "svc": "service",
}  # fmt: skip


class Generators(VerbGroup):
    """The generators, imported when one is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the generators."""
        from edgekube.cli.kubectl.creators import GENERATORS

        return sorted(GENERATORS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The generator of a name or of its short name."""
        from edgekube.cli.kubectl.creators import GENERATORS

        return GENERATORS.get(ALIASES.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The generator, or kubectl's words for one that is not there."""
        if self.get_command(ctx, args[0]) is None:
            raise CommandFailed(f"Unexpected args: [{args[0]}]\nSee 'kubectl create -h' for help and examples")
        return super().resolve_command(ctx, args)


@click.group("create", cls=Generators, invoke_without_command=True)
@click.option("--filename", "-f", multiple=True, metavar="FILE", help="Files to use to create the resources.")
@click.option("--recursive", "-R", is_flag=True, help="Process the directory used in -f recursively.")
@changing_options
@connection_options
def COMMAND(filename: tuple[str, ...], recursive: bool, **options: Any) -> int:
    """Create a resource from a file or from stdin.

    \b
    edgekube create -f web.yaml
    edgekube create namespace shop
    edgekube create deployment web --image=nginx --replicas=2
    """
    if click.get_current_context().invoked_subcommand:
        return 0
    if not filename:
        raise CommandFailed("must specify one of -f and -k")
    session, change = Session.of(options), Change.of(options, "kubectl-create")
    query = {**change.query, "fieldValidation": "Strict"}

    def act(target: Target) -> None:
        made = target.document or {}
        if not change.local:
            try:
                made = session.request("POST", path_of(target.resource, target.namespace), query=query, body=made)
            except ApiError as error:
                error.message = f'error when creating "{filename[0]}": {error.message}'
                raise
        change.show(target.resource, made, "created")

    return each(from_files(session, filename, recursive=recursive), act)


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
