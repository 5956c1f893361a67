"""`get`: one object, several, or lists; as a table, or as yaml, json, names, jsonpath, custom-columns; once or watched."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.session import TABLE, CommandFailed, Session, connection_options, full_name, path_of
from edgekube.cli.kubectl.targets import Target, from_files, from_words
from edgekube.errors import ApiError


@click.command("get")
@click.argument("words", nargs=-1, metavar="(TYPE[.VERSION][.GROUP] [NAME | -l label] | TYPE/NAME ...)")
@click.option(
    "--output", "-o", default="", metavar="FORMAT", help="wide, yaml, json, name, jsonpath=..., custom-columns=..."
)
@click.option("--all-namespaces", "-A", is_flag=True, help="List the requested object(s) across all namespaces.")
@click.option("--selector", "-l", default="", metavar="QUERY", help="Label selector to filter on.")
@click.option("--field-selector", default="", metavar="QUERY", help="Field selector to filter on.")
@click.option("--filename", "-f", multiple=True, metavar="FILE", help="Files that identify the resources.")
@click.option("--recursive", "-R", is_flag=True, help="Process the directory used in -f recursively.")
@click.option("--watch", "-w", is_flag=True, help="After listing the requested object(s), watch for changes.")
@click.option("--watch-only", is_flag=True, help="Watch for changes without listing first.")
@click.option("--show-labels", is_flag=True, help="Show all labels as the last column.")
@click.option("--no-headers", is_flag=True, help="Don't print headers.")
@click.option("--sort-by", default="", metavar="JSONPATH", help="Sort the list by this field.")
@click.option("--ignore-not-found", is_flag=True, help="If the object does not exist, exit with status 0.")
@click.option("--show-managed-fields", is_flag=True, help="Keep managedFields in yaml and json.")
@connection_options
def COMMAND(words: tuple[str, ...], **options: Any) -> int:
    """Display one or many resources.

    \b
    edgekube get pods -A -o wide
    edgekube get deployment/web -o yaml
    edgekube get pods -l app=web -o jsonpath='{.items[*].status.podIP}'
    """
    session = Session.of(options)
    if options["filename"]:
        targets = from_files(session, options["filename"], recursive=options["recursive"])
    else:
        targets = from_words(session, words)
    if options["all_namespaces"]:
        if any(target.name for target in targets):
            raise CommandFailed("a resource cannot be retrieved by name across all namespaces")
        targets = [Target(target.resource, "", "") for target in targets]
    if options["watch"] or options["watch_only"]:
        return _watch(session, targets, options)
    whole = printing.printer(options["output"])
    if whole or options["output"] == "name":
        return _objects(session, targets, options, whole)
    return _tables(session, targets, options)


def _query(target: Target, options: dict[str, Any]) -> dict[str, Any]:
    query: dict[str, Any] = {}
    if options["selector"]:
        query["labelSelector"] = options["selector"]
    fields = options["field_selector"]
    if fields:
        query["fieldSelector"] = fields
    if not target.name:
        query["limit"] = 500
    return query


def _pages(session: Session, target: Target, options: dict[str, Any], accept: str) -> dict[str, Any]:
    """The whole answer, all pages of a list put together."""
    path, query = path_of(target.resource, target.namespace, target.name), _query(target, options)
    whole: dict[str, Any] = session.request("GET", path, query=query, accept=accept)
    members = "rows" if whole.get("kind") == "Table" else "items"
    more = (whole.get("metadata") or {}).get("continue")
    while more:
        page = session.request("GET", path, query={**query, "continue": more}, accept=accept)
        whole[members] = [*(whole.get(members) or []), *(page.get(members) or [])]
        more = (page.get("metadata") or {}).get("continue")
    return whole


def _tables(session: Session, targets: list[Target], options: dict[str, Any]) -> int:
    status, printed = 0, 0
    many = len({target.resource["plural"] for target in targets}) > 1
    merged: dict[str, dict[str, Any]] = {}
    for target in targets:
        try:
            found = _pages(session, target, options, TABLE)
        except ApiError as error:
            if error.code == 404 and options["ignore_not_found"]:
                continue
            click.echo(f"Error from server ({error.reason}): {error.message}", err=True)
            status = 1
            continue
        held = merged.setdefault(full_name(target.resource), {**found, "rows": []})
        held["rows"] += found.get("rows") or []
    for name, found in merged.items():
        if not found["rows"]:
            continue
        if options["sort_by"]:
            found["rows"].sort(key=lambda row: _sort_key(row.get("object") or {}, options["sort_by"]))
        if printed:
            click.echo()
        printed += len(found["rows"])
        text = printing.table(
            found,
            wide=options["output"] == "wide",
            headers=not options["no_headers"],
            namespaces=options["all_namespaces"] and bool((found["rows"][0]["object"]["metadata"]).get("namespace")),
            labels=options["show_labels"],
            prefix=name if many else "",
        )
        click.echo(text, nl=False)
    if not printed and not status and not options["ignore_not_found"]:
        namespaced = any(target.resource["namespaced"] for target in targets) and not options["all_namespaces"]
        where = f" in {session.namespace} namespace" if namespaced else ""
        click.echo(f"No resources found{where}." if where else "No resources found", err=True)
    return status


def _sort_key(item: dict[str, Any], path: str) -> tuple[int, Any]:
    found = printing.JsonPath("{" + path.strip("{}") + "}").find(item)
    return (0, found[0]) if found and isinstance(found[0], int | float) else (1, str(found[0]) if found else "")


def _objects(session: Session, targets: list[Target], options: dict[str, Any], whole: Any) -> int:
    items: list[dict[str, Any]] = []
    status = 0
    for target in targets:
        try:
            found = _pages(session, target, options, "application/json")
        except ApiError as error:
            if error.code == 404 and options["ignore_not_found"]:
                continue
            click.echo(f"Error from server ({error.reason}): {error.message}", err=True)
            status = 1
            continue
        if target.name:
            items.append(found)
        else:
            version, kind = found["apiVersion"], target.resource["kind"]
            items += [{"apiVersion": version, "kind": kind, **item} for item in found.get("items") or ()]
    if options["output"] == "name":
        for item in items:
            resource = session.resolve_kind(item["apiVersion"], item["kind"])
            click.echo(f"{full_name(resource)}/{item['metadata']['name']}")
        return status
    if not options["show_managed_fields"]:
        for item in items:
            item["metadata"].pop("managedFields", None)
    single = len(targets) == 1 and bool(targets[0].name)
    if single and not items:
        return status
    if options["sort_by"]:
        items.sort(key=lambda item: _sort_key(item, options["sort_by"]))
    document = (
        items[0]
        if single
        else {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}
    )
    click.echo(whole(document), nl=False)
    return status


def _watch(session: Session, targets: list[Target], options: dict[str, Any]) -> int:
    if len(targets) != 1:
        raise CommandFailed("you may only specify a single resource type")
    target = targets[0]
    whole = printing.printer(options["output"])
    accept = "application/json" if whole or options["output"] == "name" else TABLE
    if target.name:
        options = {**options, "field_selector": f"metadata.name={target.name}"}
    listed = Target(target.resource, "", target.namespace)
    first = _pages(session, listed, options, accept)
    headers = not options["no_headers"]
    if not options["watch_only"]:
        headers = _show(first, options, whole, headers) and headers
    query = {key: value for key, value in _query(listed, options).items() if key != "limit"} | {
        "watch": "true",
        "resourceVersion": first["metadata"]["resourceVersion"],
    }
    answer = session.send("GET", path_of(target.resource, target.namespace), query=query, accept=accept)
    for event in session.lines(answer):
        if event["type"] == "ERROR":
            raise ApiError.from_status(event["object"])
        if event["type"] != "BOOKMARK":
            headers = _show(event["object"], options, whole, headers) and headers
    return 0


def _show(document: dict[str, Any], options: dict[str, Any], whole: Any, headers: bool) -> bool:
    """Print one answer of a watch; whether headers are still to be printed."""
    if document.get("kind") == "Table":
        if not document.get("rows"):
            return headers
        wide = options["output"] == "wide"
        text = printing.table(document, wide=wide, headers=headers, namespaces=options["all_namespaces"])
        click.echo(text, nl=False)
        return False
    for item in document.get("items") if "items" in document else [document]:  # type: ignore[union-attr]
        item.get("metadata", {}).pop("managedFields", None)
        click.echo(whole(item) if whole else item["metadata"]["name"], nl=not whole)
    return headers
