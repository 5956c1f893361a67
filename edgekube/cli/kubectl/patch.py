"""`patch`: change fields of objects by a strategic merge, JSON merge or JSON patch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from edgekube.cli.kubectl.changing import (
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Change,
    changing_options,
    choosing_options,
    chosen,
    each,
    where,
)
from edgekube.cli.kubectl.session import LOADER, CommandFailed, Session, connection_options
from edgekube.cli.kubectl.targets import Target

TYPES = {"strategic": STRATEGIC, "merge": MERGE, "json": JSON_PATCH}


@click.command("patch")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME)")
@click.option("--patch", "-p", "text", default="", metavar="PATCH", help="The patch, JSON or YAML.")
@click.option("--patch-file", default="", metavar="FILE", help="A file containing the patch.")
@click.option("--type", "style", type=click.Choice(sorted(TYPES)), default="strategic", help="The type of patch.")
@click.option("--subresource", default="", metavar="NAME", help="Patch this subresource: status, scale, resize.")
@choosing_options
@changing_options
@connection_options
def COMMAND(words: tuple[str, ...], text: str, patch_file: str, style: str, subresource: str, **options: Any) -> int:
    """Update fields of a resource.

    \b
    edgekube patch node gw1 -p '{"spec":{"unschedulable":true}}'
    edgekube patch deployment web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":2}]'
    """
    if text and patch_file:
        raise CommandFailed("cannot specify --patch and --patch-file together")
    if not (text or patch_file):
        raise CommandFailed("must specify --patch or --patch-file containing the contents of the patch")
    session, change = Session.of(options), Change.of(options, "kubectl-patch")
    body = as_json(Path(patch_file).read_text() if patch_file else text)
    scale = {"group": "autoscaling", "singular": "scale", "plural": "scales", "kind": "Scale"}

    def act(target: Target) -> None:
        query = change.query | ({"dryRun": "All"} if change.local else {})
        path = where(target, subresource)
        made = session.request("PATCH", path, query=query, body=body, content_type=TYPES[style])
        same = made["metadata"].get("resourceVersion") == (target.document or {})["metadata"].get("resourceVersion")
        verb = "patched (no change)" if same and change.dry_run == "none" else "patched"
        shown = replace(change, dry_run="none") if change.local else change
        shown.show(scale if subresource == "scale" else target.resource, made, verb)

    return each(chosen(session, words, options), act)


def as_json(text: str) -> bytes:
    """A patch written as YAML or JSON, as JSON. What is neither goes to the server, which says what is wrong."""
    try:
        document = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError:
        return text.encode()
    return json.dumps(document).encode() if isinstance(document, dict | list) else text.encode()
