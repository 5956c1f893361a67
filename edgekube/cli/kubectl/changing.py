"""What verbs that change objects share: which objects are meant, dry runs, what is said about a change.

A verb yields its objects with `chosen`, sends with `Change.query`, and reports with `Change.show`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import click

from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.session import CommandFailed, Session, full_name, path_of
from edgekube.cli.kubectl.targets import Target, from_files, from_words
from edgekube.errors import ApiError, UsageError

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a change is made and shown: --dry-run, --output and --field-manager."""

    dry_run: str = "none"
    output: str = ""
    manager: str = "kubectl"
    managed_fields: bool = False

    @classmethod
    def of(cls, options: dict[str, Any], manager: str) -> Change:
        """From a command's options, which are taken out; `manager` is the name used when none was given."""
        output = options.pop("output")
        printing.printer(output)
        return cls(
            dry_run=options.pop("dry_run"),
            output=output,
            manager=options.pop("field_manager") or manager,
            managed_fields=options.pop("show_managed_fields"),
        )

    @property
    def query(self) -> dict[str, Any]:
        """The query parameters of the request that makes the change."""
        return {"fieldManager": self.manager} | ({"dryRun": "All"} if self.dry_run == "server" else {})

    @property
    def local(self) -> bool:
        """Whether nothing is sent."""
        return self.dry_run == "client"

    def show(self, resource: dict[str, Any], made: dict[str, Any], verb: str) -> None:
        """One line about an object, or the object itself."""
        name = f"{full_name(resource)}/{(made.get('metadata') or {}).get('name', '')}"
        whole = printing.printer(self.output)
        if whole:
            if not self.managed_fields:
                made.get("metadata", {}).pop("managedFields", None)
            click.echo(whole(made), nl=False)
        elif self.output == "name":
            click.echo(name)
        else:
            suffix = {"none": "", "server": " (server dry run)", "client": " (dry run)"}[self.dry_run]
            click.echo(f"{name} {verb}{suffix}")


def changing_options(command: Any) -> Any:
    """--dry-run, --output and --field-manager; `Change.of` reads them."""
    for option in (
        click.option("--show-managed-fields", is_flag=True, help="Keep managedFields in yaml and json."),
        click.option("--field-manager", default="", metavar="NAME", help="Name used to track field ownership."),
        click.option("--output", "-o", default="", metavar="FORMAT", help="json, yaml, name, jsonpath=..."),
        click.option(
            "--dry-run",
            type=click.Choice(["none", "server", "client"]),
            is_flag=False,
            flag_value="client",
            default="none",
            help="Only say what would be done.",
        ),
    ):
        command = option(command)
    return command


def choosing_options(command: Any) -> Any:
    """--filename, --recursive, --selector, --field-selector, --all, --all-namespaces; `chosen` reads them."""
    for option in (
        click.option("--all-namespaces", "-A", is_flag=True, help="Across all namespaces."),
        click.option("--all", "everything", is_flag=True, help="All resources of the type in the namespace."),
        click.option("--field-selector", default="", metavar="QUERY", help="Field selector to filter on."),
        click.option("--selector", "-l", default="", metavar="QUERY", help="Label selector to filter on."),
        click.option("--recursive", "-R", is_flag=True, help="Process the directory used in -f recursively."),
        click.option("--filename", "-f", multiple=True, metavar="FILE", help="Files that identify the resources."),
    ):
        command = option(command)
    return command


def chosen(session: Session, words: tuple[str, ...], options: dict[str, Any]) -> Iterator[Target]:
    """The objects words, files and selectors mean, each with what the server has as its document.

    Raises ApiError for the first that is not there.
    """
    if options.get("filename"):
        targets = from_files(session, options["filename"], recursive=bool(options.get("recursive")))
    elif words:
        targets = from_words(session, words)
    else:
        raise UsageError("one or more resources must be specified as <resource> <name> or <resource>/<name>")
    for target in targets:
        if target.name:
            yield replace(target, document=session.request("GET", where(target)))
            continue
        selectors = {"labelSelector": options.get("selector"), "fieldSelector": options.get("field_selector")}
        query = {name: text for name, text in selectors.items() if text}
        if not (query or options.get("everything") or options.get("all_namespaces")):
            raise CommandFailed("resource(s) were provided, but no name was specified")
        namespace = "" if options.get("all_namespaces") else target.namespace
        found = session.request("GET", path_of(target.resource, namespace), query=query)
        for item in found.get("items") or ():
            meta = item["metadata"]
            document = {"apiVersion": found["apiVersion"], "kind": target.resource["kind"], **item}
            yield Target(target.resource, meta["name"], meta.get("namespace", ""), document)


def where(target: Target, subresource: str = "") -> str:
    """The URL path of a target."""
    return path_of(target.resource, target.namespace, target.name, subresource)


def each(targets: Iterable[Target], act: Callable[[Target], None]) -> int:
    """Act on every target; what fails is said and the others go on. The exit status."""
    status = 0
    try:
        for target in targets:
            try:
                act(target)
            except ApiError as error:
                complain(error)
                status = 1
            except CommandFailed as error:
                click.echo(f"error: {error}", err=True)
                status = 1
    except ApiError as error:
        complain(error)
        status = 1
    return status


def complain(error: ApiError) -> None:
    """A server's refusal as kubectl shows it."""
    reason = f" ({error.reason})" if error.reason else ""
    click.echo(f"Error from server{reason}: {error.message}", err=True)


def named(resource: dict[str, Any]) -> str:
    """ "deployments.apps", "pods": how kubectl names a resource in its complaints."""
    return f"{resource['plural']}.{resource['group']}" if resource["group"] else str(resource["plural"])
