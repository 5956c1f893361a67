"""`apply`: make the server's objects what the files say; client-side three-way by default, `--server-side` on request.

The client-side way keeps what was last applied in the annotation kubectl uses, so both programs may take turns.
"""

from __future__ import annotations

import json
from typing import Any

import click

from edgekube.cli.kubectl.create import report, suffix
from edgekube.cli.kubectl.session import Session, connection_options, path_of
from edgekube.cli.kubectl.targets import Target, from_files
from edgekube.errors import ApiError, NotFound

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@click.command("apply")
@click.option("--filename", "-f", multiple=True, metavar="FILE", help="Files that contain the configuration to apply.")
@click.option("--recursive", "-R", is_flag=True, help="Process the directory used in -f recursively.")
@click.option("--server-side", is_flag=True, help="Apply in the server instead of the client.")
@click.option("--force-conflicts", is_flag=True, help="With --server-side: take over fields others own.")
@click.option("--field-manager", default="", metavar="NAME", help="Name of the manager used to track field ownership.")
@click.option(
    "--dry-run", type=click.Choice(["none", "server", "client"]), default="none", help="Only say what would be done."
)
@click.option("--output", "-o", default="", metavar="FORMAT", help="yaml, json, name.")
@connection_options
def COMMAND(
    filename: tuple[str, ...],
    recursive: bool,
    dry_run: str,
    output: str,
    server_side: bool,
    force_conflicts: bool,
    field_manager: str,
    **where: Any,
) -> int:
    """Apply a configuration to a resource by file name or stdin.

    \b
    edgekube apply -f web.yaml
    cat web.yaml | edgekube apply --server-side -f -
    """
    session = Session(**where)
    status = 0
    for target in from_files(session, filename, recursive=recursive):
        try:
            if server_side:
                made, verb = _server_side(session, target, field_manager or "kubectl", force_conflicts, dry_run)
            else:
                made, verb = _client_side(session, target, field_manager or "kubectl-client-side-apply", dry_run)
        except ApiError as error:
            click.echo(
                f"Error from server ({error.reason}): error when applying {filename[0]!r}: {error.message}", err=True
            )
            status = 1
            continue
        report(target.resource, made, verb + suffix(dry_run), output)
    return status


def _server_side(
    session: Session, target: Target, manager: str, force: bool, dry_run: str
) -> tuple[dict[str, Any], str]:
    query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
    if dry_run == "server":
        query["dryRun"] = "All"
    made = session.request(
        "PATCH",
        path_of(target.resource, target.namespace, target.name),
        query=query,
        body=target.document,
        content_type="application/apply-patch+yaml",
    )
    return made, "serverside-applied"


def _client_side(session: Session, target: Target, manager: str, dry_run: str) -> tuple[dict[str, Any], str]:
    document = target.document or {}
    modified = _with_annotation(document)
    query = {"fieldManager": manager, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run == "server" else {})
    path = path_of(target.resource, target.namespace, target.name)
    try:
        live = session.request("GET", path)
    except NotFound:
        if dry_run == "client":
            return document, "created"
        made = session.request("POST", path_of(target.resource, target.namespace), query=query, body=modified)
        return made, "created"
    original = json.loads((live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED) or "{}")
    patch = three_way(original, modified, live)
    if not patch:
        return live, "unchanged"
    if dry_run == "client":
        return live, "configured"
    made = session.request("PATCH", path, query=query, body=patch, content_type="application/merge-patch+json")
    unchanged = made["metadata"].get("resourceVersion") == live["metadata"].get("resourceVersion")
    return made, "unchanged" if unchanged and dry_run == "none" else "configured"


def _with_annotation(document: dict[str, Any]) -> dict[str, Any]:
    bare = json.loads(json.dumps(document))
    annotations = (bare.setdefault("metadata", {}).get("annotations")) or {}
    annotations.pop(LAST_APPLIED, None)
    bare["metadata"]["annotations"] = annotations
    text = json.dumps(bare, separators=(",", ":"), sort_keys=True) + "\n"
    return {**bare, "metadata": {**bare["metadata"], "annotations": {**annotations, LAST_APPLIED: text}}}


def three_way(original: Any, modified: Any, live: Any) -> dict[str, Any]:
    """The JSON merge patch that sets what `modified` says and removes what only `original` said."""
    patch: dict[str, Any] = {}
    for key, value in modified.items():
        have = live.get(key) if isinstance(live, dict) else None
        if isinstance(value, dict) and isinstance(have, dict):
            before = original.get(key) if isinstance(original, dict) else None
            inner = three_way(before if isinstance(before, dict) else {}, value, have)
            if inner:
                patch[key] = inner
        elif not _covered(value, have):
            patch[key] = value
    for key in original if isinstance(original, dict) else ():
        if key not in modified and isinstance(live, dict) and key in live:
            patch[key] = None
    return patch


def _covered(wanted: Any, have: Any) -> bool:
    """Whether what is there already says all that is wanted (server defaults inside list elements do not count)."""
    if isinstance(wanted, dict):
        return isinstance(have, dict) and all(_covered(value, have.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(have, list) and len(wanted) == len(have) and all(map(_covered, wanted, have))
    return bool(wanted == have) or (wanted is None and have is None)
