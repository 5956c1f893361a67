"""What the words after a verb mean: `pods`, `pod web`, `deploy/web svc/web`, `all`, or the objects in files.

Shared by every verb that works on existing objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekube.cli.kubectl.session import CommandFailed, Session, read_manifests
from edgekube.errors import UsageError


@dataclass(frozen=True, slots=True)
class Target:
    """One resource and, unless `name` is "", one object of it."""

    resource: dict[str, Any]
    name: str = ""
    namespace: str = ""
    document: dict[str, Any] | None = None


def from_words(session: Session, words: Sequence[str]) -> list[Target]:
    """Targets of TYPE[,TYPE] [NAME...] or TYPE/NAME... arguments."""
    if not words:
        raise UsageError("You must specify the type of resource to get.")
    if any("/" in word for word in words):
        targets = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash or not name:
                raise CommandFailed(
                    "there is no need to specify a resource type as a separate argument when passing arguments "
                    "in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of "
                    "'kubectl get resource resource/<resource_name>'"
                )
            resource = session.resolve(kind)
            targets.append(Target(resource, name, scope(session, resource)))
        return targets
    resources = [resource for word in words[0].split(",") for resource in _expand(session, word)]
    if len(words) == 1:
        return [Target(resource, "", scope(session, resource)) for resource in resources]
    return [Target(resource, name, scope(session, resource)) for resource in resources for name in words[1:]]


def from_files(session: Session, files: tuple[str, ...], *, recursive: bool = False) -> list[Target]:
    """Targets that manifests describe."""
    targets = []
    for document in read_manifests(files, recursive=recursive):
        resource = session.resolve_kind(document["apiVersion"], document["kind"])
        meta = document.setdefault("metadata", {}) or {}
        namespace = ""
        if resource["namespaced"]:
            stated = meta.get("namespace") or ""
            if stated and session.namespace_given and stated != session.namespace:
                raise CommandFailed(
                    f"the namespace from the provided object {stated!r} does not match the namespace "
                    f"{session.namespace!r}. You must pass '--namespace={stated}' to perform this operation."
                )
            namespace = stated or session.namespace
        targets.append(Target(resource, meta.get("name") or "", namespace, document))
    return targets


def scope(session: Session, resource: dict[str, Any]) -> str:
    """The namespace a resource's requests go to."""
    return session.namespace if resource["namespaced"] else ""


def _expand(session: Session, word: str) -> list[dict[str, Any]]:
    members = [resource for resource in session.resources() if word in resource["categories"]]
    return members or [session.resolve(word)]
