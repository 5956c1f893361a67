"""Aggregated groups in our own discovery: merged into /apis in all its forms. Pure.

Source: kube-aggregator pkg/apiserver/{handler_apis,handler_discovery}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekube.api.discovery import version_order
from edgekube.server.aggregation.remotes import Remote

Document = dict[str, Any]


def by_group(remotes: Sequence[Remote]) -> dict[str, list[Remote]]:
    """Groups by their priority, versions by theirs."""
    groups: dict[str, list[Remote]] = {}
    for one in remotes:
        groups.setdefault(one.group, []).append(one)
    for versions in groups.values():
        versions.sort(key=lambda one: (-one.version_priority, version_order(one.version)))
    order = sorted(groups, key=lambda group: (-max(one.group_priority for one in groups[group]), group))
    return {group: groups[group] for group in order}


def _entry(remote: Remote) -> Document:
    return {"groupVersion": f"{remote.group}/{remote.version}", "version": remote.version}


def into_group(document: Document | None, group: str, remotes: Sequence[Remote]) -> Document | None:
    """The APIGroup of a group, ours (or None) and theirs."""
    found = by_group(remotes).get(group)
    if not found:
        return document
    entries = [_entry(one) for one in found]
    if document is None:
        head = {"kind": "APIGroup", "apiVersion": "v1", "name": group}
        return {**head, "versions": entries, "preferredVersion": entries[0]}
    known = {one["version"] for one in document["versions"]}
    return {**document, "versions": [*document["versions"], *(one for one in entries if one["version"] not in known)]}


def into_list(document: Document, remotes: Sequence[Remote]) -> Document:
    """The APIGroupList with theirs, which come after ours."""
    groups = [into_group(one, one["name"], remotes) for one in document["groups"]]
    known = {one["name"] for one in document["groups"]}
    for group in by_group(remotes):
        if group not in known:
            made = into_group(None, group, remotes)
            assert made is not None
            groups.append({name: value for name, value in made.items() if name not in ("kind", "apiVersion")})
    return {**document, "groups": groups}


def into_aggregated(
    document: Document, remotes: Sequence[Remote], resources: Mapping[tuple[str, str], Document]
) -> Document:
    """The APIGroupDiscoveryList with theirs. `resources`: their APIResourceLists, where they were had."""
    items = [dict(one) for one in document["items"]]
    at = {one["metadata"].get("name", ""): one for one in items}
    for group, versions in by_group(remotes).items():
        item = at.get(group)
        if item is None:
            item = {"metadata": {"name": group}, "versions": []}
            items.append(item)
        theirs = {one.version for one in versions}
        kept = [one for one in item["versions"] if one["version"] not in theirs]
        item["versions"] = [*kept, *(_version(one, resources.get((one.group, one.version))) for one in versions)]
    return {**document, "items": items}


def _version(remote: Remote, listed: Document | None) -> Document:
    fresh = "Current" if remote.available and listed is not None else "Stale"
    made: Document = {"version": remote.version, "freshness": fresh}
    if listed is None:
        return made
    resources: dict[str, Document] = {}
    for one in listed.get("resources") or ():
        name, _, subresource = str(one.get("name", "")).partition("/")
        kind = {"group": one.get("group", ""), "version": one.get("version", ""), "kind": one.get("kind", "")}
        verbs = list(one.get("verbs") or ())
        if subresource:
            parent = resources.setdefault(name, {"resource": name, "verbs": []})
            sub = {"subresource": subresource, "responseKind": kind, "verbs": verbs}
            parent.setdefault("subresources", []).append(sub)
            continue
        whole = resources.setdefault(name, {"resource": name})
        whole |= {
            "responseKind": kind,
            "scope": "Namespaced" if one.get("namespaced") else "Cluster",
            "singularResource": one.get("singularName", ""),
            "verbs": verbs,
        }
        for member in ("shortNames", "categories"):
            if one.get(member):
                whole[member] = list(one[member])
    return {**made, "resources": list(resources.values())}
