"""registries.yaml: mirrors, credentials and certificates of image registries, turned into what containerd reads.

The file has k3s's shape, so that its users can bring theirs:
    mirrors:                          # "*" stands for every registry that is not named
      docker.io:
        endpoint: [https://mirror.site:5000]
        rewrite: {"^library/(.*)": "cache/library/$1"}      # refused: containerd's own host files cannot rewrite
    configs:
      mirror.site:5000:
        auth: {username: u, password: p}                    # or token, or auth (base64 of u:p)
        tls: {ca_file: /etc/ca.pem, cert_file: , key_file: , insecure_skip_verify: false}
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgekube.errors import UsageError

DEFAULT_FILE = Path("/etc/edgekube/registries.yaml")
DOCKER = "docker.io"
DOCKER_SERVER = "https://registry-1.docker.io"
EVERY = "*"
TLS = ("ca_file", "cert_file", "key_file", "insecure_skip_verify")
AUTH = ("username", "password", "auth", "token")
PATHS = frozenset(TLS[:3])


@dataclass(frozen=True, slots=True)
class Registries:
    """The file, checked. `mirrors`: registry -> endpoints in order; `tls` and `auth` by host of an endpoint or registry."""

    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    auth: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)


def read(path: Path, *, required: bool = False) -> Registries:
    """The file, or nothing where there is none. Raises UsageError with the place of what is wrong."""
    import yaml

    try:
        told = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        if required:
            raise UsageError(f"--private-registry {path}: there is no such file") from None
        return Registries()
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: {error}") from None
    try:
        return parse(told)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def parse(told: Any) -> Registries:
    """A decoded registries.yaml. Raises UsageError."""
    top = _mapping(told, "the file", ("mirrors", "configs"))
    mirrors = {}
    for name, entry in _mapping(top.get("mirrors"), "mirrors").items():
        mirror = _mapping(entry, f"mirrors.{name}", ("endpoint", "rewrite"))
        if mirror.get("rewrite"):
            raise UsageError(
                f"mirrors.{name}.rewrite: containerd cannot rewrite names; give the mirror these names instead"
            )
        mirrors[name] = tuple(
            _endpoint(text, f"mirrors.{name}.endpoint") for text in _texts(mirror.get("endpoint"), name)
        )
    tls: dict[str, Mapping[str, Any]] = {}
    auth: dict[str, Mapping[str, str]] = {}
    for host, entry in _mapping(top.get("configs"), "configs").items():
        config = _mapping(entry, f"configs.{host}", ("auth", "tls"))
        if given := _mapping(config.get("tls"), f"configs.{host}.tls", TLS):
            tls[host] = given
        if given := _mapping(config.get("auth"), f"configs.{host}.auth", AUTH):
            auth[host] = {key: str(value) for key, value in given.items()}
    return Registries(mirrors, tls, auth)


def _mapping(value: Any, where: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{where} is not a mapping")
    for key in value:
        if known and key not in known:
            raise UsageError(f"{where} has no {key!r} (known: {', '.join(known)})")
    return {str(key): entry for key, entry in value.items()}


def _texts(value: Any, name: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UsageError(f"mirrors.{name}.endpoint is not a list of addresses")
    return value


def _endpoint(text: str, where: str) -> str:
    split = urlsplit(text if "://" in text else f"https://{text}")
    if split.scheme not in ("http", "https") or not split.netloc:
        raise UsageError(f"{where}: {text!r} is not an address like https://mirror:5000")
    return split.geturl().rstrip("/")


def host_files(registries: Registries) -> dict[str, str]:
    """containerd's hosts.toml, by the directory it belongs in (`_default` for every registry that is not named)."""
    named = {*registries.mirrors, *registries.tls} - {EVERY}
    files = {name: _hosts(name, registries) for name in sorted(named)}
    if EVERY in registries.mirrors:
        files["_default"] = _hosts("", registries)
    return files


def _hosts(registry: str, registries: Registries) -> str:
    lines = []
    if registry:
        server = DOCKER_SERVER if registry == DOCKER else f"https://{registry}"
        lines.append(f"server = {_quoted(server)}")
    endpoints = list(registries.mirrors.get(registry or EVERY, ()))
    if registry and registry in registries.tls:
        endpoints.append(DOCKER_SERVER if registry == DOCKER else f"https://{registry}")
    for endpoint in dict.fromkeys(endpoints):
        host = urlsplit(endpoint).netloc
        lines += ["", f"[host.{_quoted(endpoint)}]", '  capabilities = ["pull", "resolve"]']
        if urlsplit(endpoint).path.strip("/"):
            lines.append("  override_path = true")
        tls = (
            registries.tls.get(host)
            or (registries.tls.get(registry) if host.endswith(registry or "\0") else None)
            or {}
        )
        if tls.get("ca_file"):
            lines.append(f"  ca = {_quoted(str(tls['ca_file']))}")
        if tls.get("cert_file"):
            pair = [str(tls["cert_file"]), *([str(tls["key_file"])] if tls.get("key_file") else [])]
            lines.append(f"  client = [[{', '.join(map(_quoted, pair))}]]")
        if tls.get("insecure_skip_verify"):
            lines.append("  skip_verify = true")
    return "\n".join(lines) + "\n"


def credentials(registries: Registries) -> str:
    """The part of containerd's configuration that holds credentials; "" when there are none."""
    lines = []
    for host, given in sorted(registries.auth.items()):
        name = "registry-1.docker.io" if host == DOCKER else host
        lines.append(f'[plugins."io.containerd.grpc.v1.cri".registry.configs.{_quoted(name)}.auth]')
        keys = {"username": "username", "password": "password", "auth": "auth", "token": "identitytoken"}
        lines += [f"  {keys[key]} = {_quoted(given[key])}" for key in AUTH if given.get(key)]
    return "\n".join(lines) + "\n" if lines else ""


def write(registries: Registries, directory: Path) -> Path | None:
    """Bring containerd's host directory up to date; None when nothing is configured."""
    files = host_files(registries)
    if not files:
        shutil.rmtree(directory, ignore_errors=True)
        return None
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in files.items():
        target = directory / name / "hosts.toml"
        target.parent.mkdir(exist_ok=True)
        partial = target.with_name("hosts.toml.new")
        partial.write_text(text)
        os.replace(partial, target)
    for path in directory.iterdir():
        if path.name not in files:
            shutil.rmtree(path)
    return directory


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # TOML's basic strings escape as JSON's do
