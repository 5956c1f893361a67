"""kubeconfig files: reading what kubectl would use, writing ours, merging ours into a user's.

Only the parts that say how to reach a server and who to be; `exec` and auth-provider plugins are refused in words. Files are
written whole, mode 0600, through a temporary file. PyYAML is imported only to read or merge.
Source: k8s.io/client-go tools/clientcmd (merging order, paths relative to the file).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekube.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach one server and who to be. PEM as bytes; empty where not given."""

    server: str
    ca: bytes = b""
    insecure: bool = False
    server_name: str = ""  # what the certificate is checked for, when not the host of `server`
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    namespace: str = "default"


def default_paths(environment: Mapping[str, str], own: Path = Path("/etc/edgekube/kubeconfig.yaml")) -> list[Path]:
    """Where to look: KUBECONFIG, else ~/.kube/config, else the file the server on this machine wrote."""
    if listed := environment.get("KUBECONFIG"):
        return [Path(part) for part in listed.split(os.pathsep) if part]
    home = Path(environment.get("HOME") or "/root") / ".kube" / "config"
    return [home] if home.exists() else [own]


def load(paths: Sequence[Path], context: str = "", cluster: str = "", user: str = "") -> Access:
    """The access a context (empty: the current one) stands for; `cluster` and `user` name others than the context's.

    Raises UsageError in one line.
    """
    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}, "current-context": ""}
    seen = False
    for path in paths:
        if path.exists():
            seen = True
            _fold(merged, _read(path), path)
    if not seen:
        raise UsageError(f"no kubeconfig found at {', '.join(map(str, paths))}; is a server running on this machine?")
    name = context or merged["current-context"]
    chosen = merged["contexts"].get(name)
    if chosen is None:
        raise UsageError(f'context "{name}" does not exist' if name else "the kubeconfig has no current-context")
    return _access(merged, chosen | ({"cluster": cluster} if cluster else {}) | ({"user": user} if user else {}))


def render(access: Access, name: str = "default") -> str:
    """A whole kubeconfig with one cluster, one user, one context, all of one name."""
    lines = [
        "apiVersion: v1",
        "kind: Config",
        "clusters:",
        "- cluster:",
        *_data("    certificate-authority-data", access.ca),
        f"    server: {access.server}",
        f"  name: {name}",
        "contexts:",
        "- context:",
        f"    cluster: {name}",
        f"    user: {name}",
        f"  name: {name}",
        f"current-context: {name}",
        "users:",
        f"- name: {name}",
        "  user:" if access.certificate or access.token else "  user: {}",
        *_data("    client-certificate-data", access.certificate),
        *_data("    client-key-data", access.key),
        *([f"    token: {access.token}"] if access.token else []),
    ]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Put `text` at `path`, 0600, whole or not at all; `owner` is (uid, gid) for a file in somebody's home."""
    made = [parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            if owner is not None:
                os.fchown(file.fileno(), *owner)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    for parent in made if owner is not None else ():
        os.chown(parent, *owner)  # type: ignore[misc]  # `made` is only walked when there is an owner


def merge_into(path: Path, access: Access, name: str, owner: tuple[int, int] | None = None) -> None:
    """Add (or renew) our entries in a user's kubeconfig, everything else kept. Current context only when there is none."""
    import yaml

    document: dict[str, Any] = _read(path) if path.exists() else {"apiVersion": "v1", "kind": "Config"}
    ours = yaml.safe_load(render(access, name))
    for section in ("clusters", "contexts", "users"):
        others = [entry for entry in document.get(section) or [] if entry.get("name") != name]
        document[section] = [*others, *ours[section]]
    document["current-context"] = document.get("current-context") or name
    write(path, yaml.safe_dump(document, sort_keys=False), owner)


def _data(name: str, value: bytes) -> list[str]:
    return [f"{name}: {base64.b64encode(value).decode()}"] if value else []


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    except OSError as error:
        raise UsageError(f"cannot read the kubeconfig {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UsageError(f"the kubeconfig {path} is not valid YAML") from None
    if not isinstance(document, dict):
        raise UsageError(f"the kubeconfig {path} is not a mapping")
    return document


def _fold(merged: dict[str, Any], document: dict[str, Any], path: Path) -> None:
    """Earlier files win, as upstream merges them; relative file names are relative to the file that has them."""
    for section, member in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        for entry in document.get(section) or []:
            body = dict(entry.get(member) or {})
            for reference in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
                if body.get(reference):
                    body[reference] = str(path.parent / body[reference])
            merged[section].setdefault(entry.get("name", ""), body)
    merged["current-context"] = merged["current-context"] or document.get("current-context") or ""


def _access(merged: dict[str, Any], context: dict[str, Any]) -> Access:
    cluster = merged["clusters"].get(context.get("cluster", ""))
    if cluster is None or not cluster.get("server"):
        raise UsageError(f'cluster "{context.get("cluster", "")}" does not exist in the kubeconfig')
    user = merged["users"].get(context.get("user", ""), {})
    if user.get("exec") or user.get("auth-provider"):
        raise UsageError("credential plugins (exec, auth-provider) in a kubeconfig are not supported")
    return Access(
        server=cluster["server"].rstrip("/"),
        ca=_material(cluster, "certificate-authority"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name") or "",
        certificate=_material(user, "client-certificate"),
        key=_material(user, "client-key"),
        token=user.get("token") or "",
        token_file=user.get("tokenFile") or "",
        namespace=context.get("namespace") or "default",
    )


def _material(body: dict[str, Any], name: str) -> bytes:
    try:
        if data := body.get(f"{name}-data"):
            return base64.b64decode("".join(data.split()), validate=True)
        return Path(body[name]).read_bytes() if body.get(name) else b""
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {name} of the kubeconfig: {error}") from None
