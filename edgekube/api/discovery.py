"""Discovery: what the server serves, in the words of its three generations of documents.

`/api` (APIVersions), `/apis` (APIGroupList), `/apis/<group>` (APIGroup), `/api/v1` and `/apis/<group>/<version>`
(APIResourceList), the aggregated APIGroupDiscoveryList for `/api` and `/apis`, and the paths of `/`. All of them are derived
from the kinds, custom ones included; nothing here knows a kind by name, nor how documents are cached or sent.

Groups come in the order of their first kind, versions newest stable first, resources by name.
Source: k8s.io/apiserver pkg/endpoints/discovery and discovery/aggregated; `shared/spec/discovery` for the facts.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import msgspec

from edgekube.api.kind import STATUS_VERBS, Kind, Subresource

AGGREGATED_VERSIONS = ("v2", "v2beta1")

_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STAGES = {"": 2, "beta": 1, "alpha": 0}


def version_order(version: str) -> tuple[Any, ...]:
    """A sort key: stable before beta before alpha, higher numbers first, anything else after those, by name."""
    if not (found := _VERSION.fullmatch(version)):
        return (1, 0, 0, 0, version)
    major, stage, minor = found.groups()
    return (0, -_STAGES[stage or ""], -int(major), -int(minor or 0), "")


def storage_version_hash(group: str, version: str, kind: str) -> str:
    """Eight bytes that change when objects are stored in another version."""
    return b64encode(hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()[:8]).decode()


def subresources(kind: Kind[Any]) -> list[Subresource]:
    """All of a kind's subresources by name, `status` among them."""
    status = (Subresource("status", kind.name, STATUS_VERBS),) if kind.has_status else ()
    if kind.custom:
        return [*status, *kind.subresources]
    return sorted((*kind.subresources, *status), key=lambda sub: sub.name)


def grouped(kinds: Iterable[Kind[Any]]) -> dict[str, dict[str, list[Kind[Any]]]]:
    """Kinds by group and version, each level in discovery's order."""
    groups: dict[str, dict[str, list[Kind[Any]]]] = {}
    for kind in kinds:
        groups.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
    return {
        group: {
            version: sorted(versions[version], key=lambda kind: kind.plural)
            for version in sorted(versions, key=version_order)
        }
        for group, versions in groups.items()
    }


def api_versions(server_address: str) -> dict[str, Any]:
    """The answer to `GET /api`; `server_address` is the host:port the client reached."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def _group(group: str, versions: Iterable[str]) -> dict[str, Any]:
    known = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": known, "preferredVersion": known[0]}


def api_group_list(kinds: Iterable[Kind[Any]]) -> dict[str, Any]:
    """The answer to `GET /apis`."""
    groups = [_group(group, versions) for group, versions in grouped(kinds).items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(kinds: Iterable[Kind[Any]], group: str) -> dict[str, Any] | None:
    """The answer to `GET /apis/<group>`, or None where there is no such group."""
    versions = grouped(kinds).get(group)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)} if group and versions else None


def _is_stored(kind: Kind[Any]) -> bool:
    return "watch" in kind.verbs


def _resource(kind: Kind[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular or kind.name.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": list(kind.verbs) if kind.custom else sorted(kind.verbs),
    }
    if kind.short:
        made["shortNames"] = list(kind.short)
    if kind.categories:
        made["categories"] = list(kind.categories)
    if _is_stored(kind):
        group, version = kind.stored_as or (kind.group, kind.version)
        made["storageVersionHash"] = storage_version_hash(group, version, kind.name)
    return made


def _subresource(kind: Kind[Any], sub: Subresource) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": f"{kind.plural}/{sub.name}",
        "singularName": "",
        "namespaced": kind.namespaced,
    }
    if sub.version and (sub.group, sub.version) != (kind.group, kind.version):
        made |= {"group": sub.group, "version": sub.version}
    return {**made, "kind": sub.kind, "verbs": sorted(sub.verbs)}


def api_resource_list(kinds: Iterable[Kind[Any]], group: str, version: str) -> dict[str, Any] | None:
    """The answer to `GET /api/v1` or `GET /apis/<group>/<version>`, or None where that is not served."""
    known = grouped(kinds).get(group, {}).get(version)
    if known is None:
        return None
    resources = []
    for kind in known:
        resources.append(_resource(kind))
        resources += [_subresource(kind, sub) for sub in subresources(kind)]
    if not group:
        return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}",
        "resources": resources,
    }


def _aggregated_resource(kind: Kind[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": "", "version": "", "kind": kind.name},
        "scope": kind.scope.value,
        "singularResource": kind.singular or kind.name.lower(),
        "verbs": list(kind.verbs) if kind.custom else sorted(kind.verbs),
    }
    if kind.short:
        made["shortNames"] = list(kind.short)
    if kind.categories:
        made["categories"] = list(kind.categories)
    if subs := subresources(kind):
        made["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": sorted(sub.verbs),
            }
            for sub in subs
        ]
    return made


def aggregated(kinds: Iterable[Kind[Any]], *, core: bool, version: str = "v2") -> dict[str, Any]:
    """The APIGroupDiscoveryList of `/api` (`core`) or `/apis`, in apidiscovery.k8s.io/`version`."""
    items = [
        {
            "metadata": {"name": group} if group else {},
            "versions": [
                {
                    "version": of,
                    "resources": [_aggregated_resource(kind) for kind in known],
                    "freshness": "Current",
                }
                for of, known in versions.items()
            ],
        }
        for group, versions in grouped(kinds).items()
        if core is (not group)
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def aggregated_content_type(version: str) -> str:
    """The Content-Type an aggregated document is answered with; clients take it apart."""
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def root_paths(kinds: Iterable[Kind[Any]], others: Iterable[str] = ()) -> dict[str, Any]:
    """The answer to `GET /`: every path worth knowing; `others` are those that no kind accounts for."""
    paths = {"/api", "/api/v1", "/apis", "/apis/", *others}
    for group, versions in grouped(kinds).items():
        if group:
            paths |= {f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)}
    return {"paths": sorted(paths)}


def with_etag(document: dict[str, Any]) -> tuple[bytes, str]:
    """A document's bytes and the quoted ETag that names exactly them."""
    body = msgspec.json.encode(document)
    return body, f'"{hashlib.sha512(body).hexdigest().upper()}"'
