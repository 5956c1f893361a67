"""URL and method to what is asked: a resource with its verb, or a path that is no resource.

Pure text work; whether the resource exists is not known here. Source: k8s.io/apiserver pkg/endpoints/request/requestinfo.go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekube.net.exchange import Request
from edgekube.server.options import every

VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request is about. For anything but resources `plural` is "" and only `path` and `verb` count.

    `tail` is what follows the subresource (proxy paths); `namespaced` says that the path names a namespace.
    """

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    tail: str = ""
    watch_path: bool = False

    @property
    def is_resource(self) -> bool:
        """Whether a resource is asked for."""
        return bool(self.plural)


def parse(request: Request) -> Asked:
    """What is asked."""
    method = request.method
    asked = _resource(request.path)
    if asked is None:
        return Asked(verb=method.lower(), path=request.path)
    verb = VERBS.get(method, "")
    if asked.watch_path:
        return replace(asked, verb="watch")
    if not asked.name and not asked.subresource:
        if verb == "get":
            wants = every(request.query, "watch")
            watching = bool(wants) and wants[0].lower() not in ("0", "false")
            verb = "watch" if watching else "list"
        elif verb == "delete":
            verb = "deletecollection"
    return replace(asked, verb=verb)


def _resource(path: str) -> Asked | None:
    parts = path.split("/")[1:]
    if parts and not parts[-1] and len(parts) > 1:
        parts.pop()
    if parts[:1] == ["api"]:
        group, rest = "", parts[1:]
    elif parts[:1] == ["apis"]:
        group, rest = (parts[1] if len(parts) > 1 else ""), parts[2:]
    else:
        return None
    if len(rest) < 2 or (parts[0] == "apis" and not group):
        return None
    version, rest = rest[0], rest[1:]
    watch_path = rest[0] == "watch" and len(rest) > 1
    if watch_path:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    if not rest[0]:
        return None
    return Asked(
        verb="",
        path=path,
        group=group,
        version=version,
        namespace=namespace,
        plural=rest[0],
        name=rest[1] if len(rest) > 1 else "",
        subresource=rest[2] if len(rest) > 2 else "",
        tail="/".join(rest[3:]),
        watch_path=watch_path,
    )
