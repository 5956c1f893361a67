"""What the server serves right now, asked through discovery: for loops that must reach kinds nobody told them of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object
from edgekube.client.interface import Client
from edgekube.errors import NotFound


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource in its preferred version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...]

    def path(self, namespace: str = "") -> str:
        """The collection's HTTP path."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def bare(self) -> Kind[Object]:
        """A Kind that reads metadata only; the rest of an object is never decoded."""
        return Kind(
            type=Object,
            group=self.group,
            version=self.version,
            name=self.kind,
            plural=self.plural,
            scope=Scope.NAMESPACED if self.namespaced else Scope.CLUSTER,
        )


async def served_resources(client: Client) -> list[Resource]:
    """Every resource that can be listed and deleted, each once, in its group's preferred version. Raises ApiError."""
    found: dict[tuple[str, str], Resource] = {}
    for group, version in await _versions(client):
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            listed = await client.call("GET", root)
        except NotFound:
            continue
        for entry in listed.get("resources") or ():
            resource = _resource(group, version, entry)
            if resource is not None:
                found.setdefault((group, resource.plural), resource)
    return list(found.values())


async def namespaced_resources(client: Client) -> list[Resource]:
    """What a namespace can hold and lose again."""
    return [
        resource for resource in await served_resources(client) if resource.namespaced and "delete" in resource.verbs
    ]


async def _versions(client: Client) -> list[tuple[str, str]]:
    versions = [("", "v1")]
    groups = await client.call("GET", "/apis")
    for group in groups.get("groups") or ():
        preferred = (group.get("preferredVersion") or {}).get("version", "")
        rest = [entry["version"] for entry in group.get("versions") or () if entry["version"] != preferred]
        versions += [(group["name"], version) for version in ([preferred] if preferred else []) + rest]
    return versions


def _resource(group: str, version: str, entry: dict[str, Any]) -> Resource | None:
    verbs = tuple(entry.get("verbs") or ())
    if "/" in entry["name"] or "list" not in verbs:
        return None
    return Resource(group, version, entry["name"], entry["kind"], bool(entry.get("namespaced")), verbs)
