"""What a pod may know about itself: fieldRef paths and `$(NAME)` expansion, for environments, volumes and sub-paths. Pure.

Source: kubelet fieldpath/fieldpath.go and third_party/forked/golang/expansion (behaviour).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from edgekube.kinds.core.pod import Pod


class Unresolved(ValueError):
    """A reference that cannot be followed; the message is shown to the user as CreateContainerConfigError."""


def field_value(pod: Pod, path: str, *, node_name: str = "", host_ips: tuple[str, ...] = ()) -> str:
    """The text of a fieldRef. Raises Unresolved for a path that is none."""
    meta, status = pod.metadata, pod.status
    if path.startswith("metadata.labels['"):
        return meta.labels.get(path[17:-2], "")
    if path.startswith("metadata.annotations['"):
        return meta.annotations.get(path[22:-2], "")
    simple: dict[str, Callable[[], str]] = {
        "metadata.name": lambda: meta.name,
        "metadata.namespace": lambda: meta.namespace,
        "metadata.uid": lambda: meta.uid,
        "metadata.labels": lambda: quoted_lines(meta.labels),
        "metadata.annotations": lambda: quoted_lines(meta.annotations),
        "spec.nodeName": lambda: pod.spec.node_name or node_name,
        "spec.serviceAccountName": lambda: pod.spec.service_account_name,
        "status.hostIP": lambda: status.host_ip or next(iter(host_ips), ""),
        "status.hostIPs": lambda: ",".join([ip.ip for ip in status.host_ips] or host_ips),
        "status.podIP": lambda: status.pod_ip,
        "status.podIPs": lambda: ",".join(ip.ip for ip in status.pod_ips),
    }
    if (get := simple.get(path)) is None:
        raise Unresolved(f"unsupported fieldPath: {path}")
    return get()


def quoted_lines(pairs: Mapping[str, str]) -> str:
    """Labels or annotations as a downward volume shows them: sorted, one key="value" per line."""
    return "\n".join(f"{key}={json.dumps(pairs[key], ensure_ascii=False)}" for key in sorted(pairs))


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """`$(NAME)` replaced by what `lookup` gives; `$$` is a dollar; what cannot be resolved stays as it is."""
    made: list[str] = []
    at = 0
    while (found := text.find("$", at)) >= 0 and found + 1 < len(text):
        made.append(text[at:found])
        follower = text[found + 1]
        if follower == "$":
            made.append("$")
            at = found + 2
        elif follower == "(" and (close := text.find(")", found + 2)) >= 0:
            name = text[found + 2 : close]
            value = lookup(name)
            made.append(f"$({name})" if value is None else value)
            at = close + 1
        else:
            made.append("$" + ("(" if follower == "(" else follower))
            at = found + 2
    made.append(text[at:])
    return "".join(made)
