"""`api-resources`: what kinds of objects the server has."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl.changing import named
from edgekube.cli.kubectl.printing import columns
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options


@click.command("api-resources")
@click.option("--api-group", default=None, metavar="GROUP", help="Limit to resources in this API group.")
@click.option("--namespaced", type=bool, default=None, metavar="BOOL", help="Only namespaced (or not) resources.")
@click.option("--verbs", default="", metavar="VERBS", help="Limit to resources that support these verbs.")
@click.option("--categories", default="", metavar="NAMES", help="Limit to resources in these categories.")
@click.option("--sort-by", type=click.Choice(["", "name", "kind"]), default="", help="Sort the list by this field.")
@click.option("--no-headers", is_flag=True, help="Don't print headers.")
@click.option("--cached", is_flag=True, help="Accepted; answers are never cached.")
@click.option("--output", "-o", default="", metavar="FORMAT", help="wide or name.")
@connection_options
def COMMAND(output: str, no_headers: bool, sort_by: str, **options: Any) -> None:
    """Print the supported API resources on the server.

    \b
    edgekube api-resources --namespaced=true -o name
    edgekube api-resources --api-group=apps
    """
    if output not in ("", "wide", "name"):
        raise CommandFailed(f"--output {output} is not available")
    options.pop("cached")
    wanted = {name: options.pop(name) for name in ("api_group", "namespaced", "verbs", "categories")}
    found = preferred([entry for entry in Session.of(options).resources() if _fits(entry, wanted)])
    if sort_by:
        found.sort(key=lambda entry: entry["plural" if sort_by == "name" else "kind"])
    if output == "name":
        click.echo("".join(named(entry) + "\n" for entry in found), nl=False)
        return
    rows = [] if no_headers else [["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]]
    if output == "wide" and rows:
        rows[0] += ["VERBS", "CATEGORIES"]
    for entry in found:
        version = f"{entry['group']}/{entry['version']}" if entry["group"] else entry["version"]
        row = [entry["plural"], ",".join(entry["short"]), version, str(entry["namespaced"]).lower(), entry["kind"]]
        if output == "wide":
            row += [",".join(entry["verbs"]), ",".join(entry["categories"])]
        rows.append(row)
    click.echo(columns(rows), nl=False)


def preferred(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each resource in the first version its group names it in; the core group first, then groups by name."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        first.setdefault((entry["group"], entry["plural"]), entry)
    return sorted(first.values(), key=lambda entry: (entry["group"], entry["plural"]))


def _fits(entry: dict[str, Any], wanted: dict[str, Any]) -> bool:
    verbs = {word for word in wanted["verbs"].split(",") if word}
    categories = {word for word in wanted["categories"].split(",") if word}
    return (
        bool(entry["verbs"])
        and wanted["api_group"] in (None, entry["group"])
        and wanted["namespaced"] in (None, entry["namespaced"])
        and verbs <= set(entry["verbs"])
        and categories <= set(entry["categories"])
    )
