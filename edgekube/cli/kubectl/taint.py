"""`taint`: set and remove taints of nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from edgekube.cli.kubectl.changing import MERGE, Change, changing_options, each, where
from edgekube.cli.kubectl.cordon import nodes
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options
from edgekube.cli.kubectl.targets import Target

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
Taint = dict[str, Any]


@click.command("taint")
@click.argument("words", nargs=-1, metavar="NODE NAME KEY_1=VAL_1:EFFECT ... KEY_N:EFFECT-")
@click.option("--overwrite", is_flag=True, help="Allow taints to be overwritten.")
@click.option("--selector", "-l", default="", metavar="QUERY", help="Label selector to filter on.")
@click.option("--all", "everything", is_flag=True, help="All nodes in the cluster.")
@changing_options
@connection_options
def COMMAND(words: tuple[str, ...], overwrite: bool, selector: str, everything: bool, **options: Any) -> int:
    """Update the taints on one or more nodes.

    \b
    edgekube taint nodes gw1 dedicated=camera:NoSchedule
    edgekube taint nodes gw1 dedicated:NoSchedule-
    """
    session, change = Session.of(options), Change.of(options, "kubectl-taint")
    kind, names, added, removed = parse(words)
    if session.resolve(kind)["kind"] != "Node":
        raise CommandFailed(f"invalid resource type {kind}, only node types are supported")
    if not (added or removed):
        raise CommandFailed("at least one taint update is required")
    if everything:
        names = tuple(item["metadata"]["name"] for item in session.request("GET", "/api/v1/nodes").get("items") or ())
    targets = nodes(session, names, selector, "taint")

    def act(target: Target) -> None:
        spec = (target.document or {}).get("spec") or {}
        taints, verb = changed(target.name, spec.get("taints") or [], added, removed, overwrite)
        made = {**(target.document or {}), "spec": {**spec, "taints": taints}}
        if not change.local:
            body = {"spec": {"taints": taints}}
            made = session.request("PATCH", where(target), query=change.query, body=body, content_type=MERGE)
        replace(change, dry_run="none").show(target.resource, made, verb)  # kubectl does not say it was a dry run

    status = each((target for target in targets if target.document is not None), act)
    return 1 if any(target.document is None for target in targets) else status


def parse(words: tuple[str, ...]) -> tuple[str, tuple[str, ...], list[Taint], list[Taint]]:
    """The resource's word, node names, taints to set and taints to remove (those without effect match all effects)."""
    names: list[str] = []
    added: list[Taint] = []
    removed: list[Taint] = []
    for word in words:
        if word.endswith("-") and len(word) > 1:
            key, colon, effect = word[:-1].partition(":")
            removed.append({"key": key.partition("=")[0], "effect": _effect(effect) if colon else ""})
        elif "=" in word or ":" in word:
            pair, _, effect = word.partition(":")
            key, _, value = pair.partition("=")
            added.append({"effect": _effect(effect), "key": key} | ({"value": value} if value else {}))
        else:
            names.append(word)
    kind, *rest = names or ["nodes"]
    if "/" in kind:
        kind, rest = "node", [name.partition("/")[2] or name for name in names]
    return kind, tuple(rest), added, removed


def _effect(effect: str) -> str:
    if effect not in EFFECTS:
        raise CommandFailed(
            f"invalid taint effect: {effect}, unsupported taint effect\nSee 'kubectl taint -h' for help and examples"
        )
    return effect


def changed(
    node: str, have: list[Taint], added: list[Taint], removed: list[Taint], overwrite: bool
) -> tuple[list[Taint], str]:
    """A node's taints after the change, and what kubectl calls it. Raises CommandFailed."""
    ours = {(taint["key"], taint["effect"]): taint for taint in added}
    clash = [taint for taint in have if (taint["key"], taint["effect"]) in ours]
    if clash and not overwrite:
        raise CommandFailed(f"node {node} already has a taint(s) with same effect(s) and --overwrite is false")
    kept = [taint for taint in have if (taint["key"], taint["effect"]) not in ours]
    gone = 0
    for one in removed:
        rest = [taint for taint in kept if not (taint["key"] == one["key"] and one["effect"] in ("", taint["effect"]))]
        if len(rest) == len(kept):
            raise CommandFailed(f'taint "{one["key"]}{":" + one["effect"] if one["effect"] else ""}" not found')
        gone, kept = gone + len(kept) - len(rest), rest
    verb = "modified" if clash or (added and gone) else "tainted" if added else "untainted"
    return [*ours.values(), *kept], verb
