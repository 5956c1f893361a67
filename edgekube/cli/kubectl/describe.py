"""`describe`: everything about an object in words, with its events last.

Every kind is shown the same way: its metadata as kubectl heads a description, then all other members as an indented outline
(kubectl's own fallback for kinds it does not know). Pods get their containers spelled out first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click

from edgekube.cli.kubectl.printing import columns
from edgekube.cli.kubectl.session import TABLE, Session, connection_options, path_of
from edgekube.cli.kubectl.targets import Target, from_files, from_words
from edgekube.errors import ApiError, NotFound


@click.command("describe")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE [NAME_PREFIX | -l label] | TYPE/NAME)")
@click.option("--filename", "-f", multiple=True, metavar="FILE", help="Files that name the resources to describe.")
@click.option("--recursive", "-R", is_flag=True, help="Process the directory used in -f recursively.")
@click.option("--selector", "-l", default="", metavar="QUERY", help="Label selector to filter on.")
@click.option("--all-namespaces", "-A", is_flag=True, help="Across all namespaces.")
@click.option("--show-events/--no-show-events", default=True, help="Display events related to the described object.")
@connection_options
def COMMAND(
    words: tuple[str, ...], filename: tuple[str, ...], recursive: bool, selector: str, all_namespaces: bool,
    show_events: bool, **where: Any,
) -> int:  # fmt: skip
    """Show details of a specific resource or group of resources.

    \b
    edgekube describe pod web
    edgekube describe nodes
    """
    session = Session(**where)
    targets = from_files(session, filename, recursive=recursive) if filename else from_words(session, words)
    status, first = 0, True
    for target in targets:
        try:
            found = list(_find(session, target, selector, all_namespaces))
        except ApiError as error:
            click.echo(f"Error from server ({error.reason}): {error.message}", err=True)
            status = 1
            continue
        for item in found:
            if not first:
                click.echo("\n")
            first = False
            click.echo("\n".join(describe(item, target.resource["kind"])))
            if show_events:
                click.echo(_events(session, item, target), nl=False)
    if first and not status:
        click.echo(
            "No resources found" + (f" in {session.namespace} namespace." if not all_namespaces else ""), err=True
        )
    return status


def _find(session: Session, target: Target, selector: str, everywhere: bool) -> Iterator[dict[str, Any]]:
    if target.name:
        try:
            yield session.request("GET", path_of(target.resource, target.namespace, target.name))
            return
        except NotFound as error:
            missing = error
    query = {"labelSelector": selector} if selector else {}
    where = "" if everywhere else target.namespace
    items = session.request("GET", path_of(target.resource, where), query=query).get("items") or []
    found = [item for item in items if item["metadata"]["name"].startswith(target.name)]
    if target.name and not found:
        raise missing
    yield from found


def describe(item: dict[str, Any], kind: str) -> list[str]:
    """The description's lines, without events."""
    meta = item.get("metadata") or {}
    lines = [_row("Name", meta.get("name", ""))]
    if meta.get("namespace"):
        lines.append(_row("Namespace", meta["namespace"]))
    lines += _mapping("Labels", meta.get("labels"), "=")
    lines += _mapping("Annotations", meta.get("annotations"), ": ")
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            lines.append(_row("Controlled By", f"{owner['kind']}/{owner['name']}"))
    if kind == "Pod":
        lines += _pod(item)
    rest = {key: value for key, value in item.items() if key not in ("metadata", "kind", "apiVersion")}
    if kind == "Secret":
        rest["data"] = {key: f"{len(value) * 3 // 4} bytes" for key, value in (item.get("data") or {}).items()}
    lines += list(outline(rest, 0))
    return lines


def _row(name: str, value: str) -> str:
    return f"{name + ':':<18}{value}"


def _mapping(name: str, pairs: dict[str, str] | None, joint: str) -> list[str]:
    shown = [f"{key}{joint}{value}" for key, value in sorted((pairs or {}).items()) if "last-applied" not in key]
    if not shown:
        return [_row(name, "<none>")]
    return [_row(name, shown[0]), *(" " * 18 + line for line in shown[1:])]


def _pod(pod: dict[str, Any]) -> list[str]:
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    lines = [
        _row("Node", f"{spec.get('nodeName') or '<none>'}" + (f"/{status['hostIP']}" if status.get("hostIP") else "")),
        _row("Status", status.get("phase", "")),
        _row("IP", status.get("podIP", "")),
    ]
    states = {found["name"]: found for found in status.get("containerStatuses") or ()}
    rows = [["CONTAINER", "IMAGE", "READY", "RESTARTS", "STATE"]]
    for container in spec.get("containers") or ():
        found = states.get(container["name"]) or {}
        state: tuple[str, Any] = next(iter((found.get("state") or {}).items()), ("unknown", {}))
        reason = (state[1] or {}).get("reason")
        rows.append(
            [
                container["name"],
                container.get("image", ""),
                str(found.get("ready", False)).lower(),
                str(found.get("restartCount", 0)),
                f"{state[0]}: {reason}" if reason else state[0],
            ]
        )
    return [*lines, *columns(rows).rstrip("\n").split("\n")]


def outline(value: Any, depth: int) -> Iterator[str]:
    """Members as indented lines, names in words ("podIP" -> "Pod IP")."""
    indent = "  " * depth
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list) and inner:
                yield f"{indent}{in_words(key)}:"
                yield from outline(inner, depth + 1)
            elif not isinstance(inner, dict | list):
                yield f"{indent}{in_words(key) + ':':<{max(1, 18 - len(indent))}}{_scalar(inner)}"
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, dict):
                lines = list(outline(inner, depth + 1))
                if lines:
                    yield f"{indent}- {lines[0].lstrip()}"
                    yield from lines[1:]
            else:
                yield f"{indent}- {_scalar(inner)}"


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_words(name: str) -> str:
    """A member's name as kubectl's generic describer shows it."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return parts[:1].upper() + parts[1:]


def _events(session: Session, item: dict[str, Any], target: Target) -> str:
    meta = item["metadata"]
    query = {
        "fieldSelector": f"involvedObject.name={meta['name']},involvedObject.uid={meta.get('uid', '')}",
        "limit": 500,
    }
    where = target.namespace or "default"
    found = session.request("GET", f"/api/v1/namespaces/{where}/events", query=query, accept=TABLE)
    rows = found.get("rows") or []
    if not rows:
        return _row("Events", "<none>") + "\n"
    names = [column["name"] for column in found["columnDefinitions"]]
    wanted = [names.index(name) for name in ("Type", "Reason", "Last Seen", "Source", "Message") if name in names]
    lines = [[names[i] if names[i] != "Last Seen" else "Age" for i in wanted]]
    lines += [[str(row["cells"][i]) for i in wanted] for row in rows]
    return "Events:\n" + "".join(f"  {line}\n" for line in columns(lines).rstrip("\n").split("\n"))
