"""One command's conversation with an API server: where it is, who asks, requests and their errors.

Synchronous and made of the standard library only, because a command must start at once. A failure Status becomes the
`errors.ApiError` it stands for; an unreachable server one line in kubectl's words.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import click
import yaml

from edgekube.client.kubeconfig import Access, default_paths, load
from edgekube.errors import ApiError, EdgekubeError, UsageError

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C where it was built in: ten times faster
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


#: The options of every command that talks to a server; what `Session` is made with.
CONNECTION = {
    "kubeconfig": (("--kubeconfig",), "FILE", "Path to the kubeconfig file to use."),
    "context": (("--context",), "NAME", "The kubeconfig context to use."),
    "cluster": (("--cluster",), "NAME", "The kubeconfig cluster to use."),
    "user": (("--user",), "NAME", "The kubeconfig user to use."),
    "server": (("--server", "-s"), "URL", "The address and port of the API server."),
    "token": (("--token",), "TOKEN", "Bearer token for authentication to the API server."),
    "namespace": (("--namespace", "-n"), "NAME", "The namespace scope for this request."),
    "as_user": (("--as",), "NAME", "Username to impersonate for the operation."),
    "as_group": (("--as-group",), "NAME", "Group to impersonate; may be repeated."),
    "as_uid": (("--as-uid",), "UID", "UID to impersonate for the operation."),
    "request_timeout": (
        ("--request-timeout",),
        "DURATION",
        "Time to wait for one request, e.g. 5s, 2m; 0 is for ever.",
    ),
    "insecure": (("--insecure-skip-tls-verify",), "", "Do not check the server's certificate."),
    "certificate_authority": (("--certificate-authority",), "FILE", "Certificate authority of the server."),
    "client_certificate": (("--client-certificate",), "FILE", "Client certificate for TLS."),
    "client_key": (("--client-key",), "FILE", "Client key for TLS."),
    "tls_server_name": (("--tls-server-name",), "NAME", "Name the server's certificate is checked for."),
}
#: Accepted, and without a meaning here.
IGNORED = (("--v", "-v"), ("--cache-dir",), ("--vmodule",), ("--warnings-as-errors",), ("--match-server-version",))
SWITCHES = {"--insecure-skip-tls-verify", "--warnings-as-errors", "--match-server-version"}


def connection_options(command: Any) -> Any:
    """The options every command that talks to a server has; those the command itself has declared are left to it."""
    taken = {word for option in getattr(command, "__click_params__", ()) for word in option.opts}
    for name, (words, metavar, text) in reversed(CONNECTION.items()):
        if not taken.intersection(words):
            many = name == "as_group"
            if metavar:
                option = click.option(*words, name, metavar=metavar, help=text, multiple=many)
            else:
                option = click.option(*words, name, is_flag=True, help=text)
            command = option(command)
    for words in IGNORED:
        if not taken.intersection(words):
            flag = words[0] in SWITCHES
            command = click.option(*words, is_flag=flag, expose_value=False, hidden=True)(command)
    return command


def globals_last(arguments: list[str]) -> list[str]:
    """Arguments of a group with the options that came before the verb put behind it, where the verb's parser reads them."""
    words = {word for spelled, _, _ in CONNECTION.values() for word in spelled} | {w for s in IGNORED for w in s}
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        word = arguments[position]
        name, equals, _ = word.partition("=")
        if name not in words and word[:2] not in ("-n", "-s", "-v"):
            return arguments
        alone = bool(equals) or name in SWITCHES or (name not in words and len(word) > 2)
        position += 1 if alone else 2
    if not 0 < position < len(arguments):
        return arguments
    return [arguments[position], *arguments[:position], *arguments[position + 1 :]]


class VerbGroup(click.Group):
    """A verb made of verbs (`rollout status`): connection options may stand before the second word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words, the verb first."""
        return super().parse_args(ctx, globals_last(args))


class Session:
    """A kept-alive connection with an identity and a default namespace."""

    def __init__(self, **where: Any) -> None:
        """`where` has the names of `CONNECTION`, all optional."""
        access = _overridden(_choose(where), where)
        namespace = where.get("namespace")
        self.server = access.server
        self.namespace = namespace or access.namespace
        self.namespace_given = namespace is not None
        self.token = access.token or (Path(access.token_file).read_text() if access.token_file else "")
        self._impersonation = _impersonation(where)
        self._timeout_s = duration_s(where.get("request_timeout") or "0") or None
        self._access = access
        self._url = urlsplit(self.server)
        self._ssl = _ssl_context(access) if self._url.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._resources: list[dict[str, Any]] | None = None

    @classmethod
    def of(cls, options: dict[str, Any]) -> Session:
        """A session from the connection options among a command's; they are taken out of `options`."""
        return cls(**{name: options.pop(name) for name in CONNECTION if name in options})

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Any:
        """The decoded answer. Raises the ApiError a failure Status stands for."""
        answer = self.send(method, path, query=query, body=body, accept=accept, content_type=content_type)
        data = answer.read()
        for warning in answer.headers.get_all("Warning") or ():
            click.echo(f"Warning: {_warning_text(warning)}", err=True)
        return json.loads(data) if data else {}

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> http.client.HTTPResponse:
        """The open answer, its body yet to be read. Raises ApiError, CommandFailed and Unreachable."""
        target = path + ("?" + urlencode(query, doseq=True) if query else "")
        headers: Any = self.headers({"Accept": accept, "User-Agent": "edgekube"})
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers["Content-Type"] = content_type
        for attempt in (0, 1):
            fresh = self._connection is None
            connection = self._connection = self._connection or self.connect()
            try:
                connection.request(method, target, data, headers)
                answer = connection.getresponse()
                break
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                self._connection = None
                if fresh or attempt:
                    raise _unreachable(self._url.netloc, error) from error
        if answer.status >= 400:
            raise _failure(answer.status, answer.read())
        return answer

    def headers(self, others: Mapping[str, str]) -> Any:
        """Headers for one request: `others` and those that say who asks, which may come more than once."""
        made = http.client.HTTPMessage()
        bearer = [("Authorization", f"Bearer {self.token}")] if self.token else []
        for name, value in (*others.items(), *bearer, *self._impersonation):
            made.add_header(name, value)
        return made

    def connect(self) -> http.client.HTTPConnection:
        """A new connection to the server."""
        host = self._url.hostname or ""
        if self._ssl:
            return http.client.HTTPSConnection(host, self._url.port or 443, context=self._ssl, timeout=self._timeout_s)
        return http.client.HTTPConnection(host, self._url.port or 80, timeout=self._timeout_s)

    def lines(self, answer: http.client.HTTPResponse) -> Iterator[Any]:
        """A watch's events, decoded, until the server ends it."""
        while line := answer.readline():
            yield json.loads(line)

    def resources(self) -> list[dict[str, Any]]:
        """Every resource the server has: dicts with group, version, plural, singular, short, kind, namespaced, verbs, categories."""
        if self._resources is None:
            self._resources = [
                _resource(group.get("metadata", {}).get("name", ""), version["version"], entry)
                for path in ("/api", "/apis")
                for group in self.request("GET", path, accept=DISCOVERY).get("items", ())
                for version in group.get("versions", ())
                for entry in version.get("resources", ())
            ]
        return self._resources

    def resolve(self, word: str) -> dict[str, Any]:
        """The resource a person means: plural, singular, short name, kind, or plural.group or plural.version.group."""
        wanted, _, rest = word.lower().partition(".")
        for resource in self.resources():
            names = {resource["plural"], resource["singular"], resource["kind"].lower(), *resource["short"]}
            if wanted not in names:
                continue
            group, version = resource["group"], resource["version"]
            if not rest or rest in (group, f"{version}.{group}") or group.startswith(rest):
                return resource
        raise _no_such_resource(word)

    def resolve_kind(self, api_version: str, kind: str) -> dict[str, Any]:
        """The resource that serves a manifest's apiVersion and kind."""
        group, _, version = api_version.rpartition("/")
        for resource in self.resources():
            if (resource["group"], resource["version"], resource["kind"]) == (group, version, kind):
                return resource
        raise CommandFailed(
            f'resource mapping not found for kind "{kind}" in version "{api_version}": '
            f'no matches for kind "{kind}" in version "{api_version}"\nensure CRDs are installed first'
        )


class CommandFailed(EdgekubeError):
    """kubectl's own complaints (`error: ...`) that end with status 1."""


class Unreachable(EdgekubeError):
    """No server where it should be; shown without the word "error", as kubectl does."""

    bare = True


def _no_such_resource(word: str) -> CommandFailed:
    """kubectl's answer to a word that names no resource."""
    return CommandFailed(f'the server doesn\'t have a resource type "{word}"')


def path_of(resource: Mapping[str, Any], namespace: str, name: str = "", subresource: str = "") -> str:
    """The URL path of a collection or object."""
    path = f"/apis/{resource['group']}/{resource['version']}" if resource["group"] else f"/api/{resource['version']}"
    if resource["namespaced"] and namespace:
        path += f"/namespaces/{namespace}"
    return path + f"/{resource['plural']}" + (f"/{name}" if name else "") + (f"/{subresource}" if subresource else "")


def full_name(resource: Mapping[str, Any]) -> str:
    """ "deployment.apps", "pod": how kubectl names a resource in its answers."""
    singular = resource["singular"] or resource["kind"].lower()
    return f"{singular}.{resource['group']}" if resource["group"] else singular


def _resource(group: str, version: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "group": group,
        "version": version,
        "plural": entry["resource"],
        "singular": entry.get("singularResource") or "",
        "short": entry.get("shortNames") or [],
        "kind": (entry.get("responseKind") or {}).get("kind", ""),
        "namespaced": entry.get("scope") == "Namespaced",
        "verbs": entry.get("verbs") or [],
        "categories": entry.get("categories") or [],
    }


def duration_s(text: str) -> float:
    """Seconds of a Go duration ("1m30s", "500ms") or of a bare number. Raises CommandFailed."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
    if not re.fullmatch(r"-?(\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h))+)", text):
        raise CommandFailed(f'invalid argument "{text}": time: invalid duration "{text}"')
    total = sum(float(n) * units[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text))
    return -total if text.startswith("-") else total


def _impersonation(where: Mapping[str, Any]) -> list[tuple[str, str]]:
    user, groups, uid = where.get("as_user"), where.get("as_group"), where.get("as_uid")
    if (groups or uid) and not user:
        raise CommandFailed("requesting uid, groups or user-extra for default without impersonating a user")
    headers = [("Impersonate-User", user)] if user else []
    headers += [("Impersonate-Group", group) for group in groups or ()]
    return headers + ([("Impersonate-Uid", uid)] if uid else [])


def _overridden(access: Access, where: Mapping[str, Any]) -> Access:
    """The access with what the command line says instead."""
    changes: dict[str, Any] = {}
    for option, member in (("server", "server"), ("token", "token"), ("tls_server_name", "server_name")):
        if where.get(option):
            changes[member] = where[option].rstrip("/") if member == "server" else where[option]
    if where.get("insecure"):
        changes |= {"insecure": True, "ca": b""}
    files = (("certificate_authority", "ca"), ("client_certificate", "certificate"), ("client_key", "key"))
    for option, member in files:
        if where.get(option):
            try:
                changes[member] = Path(where[option]).read_bytes()
            except OSError as error:
                raise CommandFailed(f"unable to read {option.replace('_', '-')} {where[option]}: {error}") from None
    if "server" in changes and "://" not in changes["server"]:
        changes["server"] = f"http://{changes['server']}"
    return replace(access, **changes)


def _choose(where: Mapping[str, Any]) -> Access:
    """Server, credentials and namespace: the named kubeconfig, else from inside a pod, else the usual places."""
    kubeconfig = where.get("kubeconfig")
    if not kubeconfig and not os.environ.get("KUBECONFIG") and (inside := _in_cluster()):
        return inside
    paths = [Path(kubeconfig)] if kubeconfig else default_paths(os.environ)
    if kubeconfig and not paths[0].exists():
        raise CommandFailed(f"stat {kubeconfig}: no such file or directory")
    if not any(path.exists() for path in paths):
        return Access(server="http://localhost:8080")
    try:
        return load(paths, where.get("context") or "", where.get("cluster") or "", where.get("user") or "")
    except UsageError as error:
        raise CommandFailed(str(error)) from None


def _in_cluster() -> Access | None:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not (SERVICE_ACCOUNT / "token").exists():
        return None
    return Access(
        server=f"https://{host}:{port}",
        token=(SERVICE_ACCOUNT / "token").read_text(),
        namespace=(SERVICE_ACCOUNT / "namespace").read_text(),
        ca=(SERVICE_ACCOUNT / "ca.crt").read_bytes(),
    )


def _ssl_context(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=access.ca.decode() if access.ca else None)
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate:
        # The ssl module reads certificates from files only; this one is ours alone and gone at once.
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(access.certificate + b"\n" + access.key)
            pem.flush()
            context.load_cert_chain(pem.name)
    return context


def _unreachable(where: str, error: Exception) -> EdgekubeError:
    if isinstance(error, ConnectionRefusedError):
        return Unreachable(
            f"The connection to the server {where} was refused - did you specify the right host or port?"
        )
    return Unreachable(f"Unable to connect to the server: {error}")


def _failure(status: int, data: bytes) -> ApiError:
    try:
        document = json.loads(data)
    except ValueError:
        document = {}
    if document.get("kind") == "Status":
        return ApiError.from_status(document)
    return ApiError(data.decode(errors="replace").strip() or http.client.responses.get(status, ""), code=status)


def _warning_text(header: str) -> str:
    parts = header.split('"')
    return '"'.join(parts[1:-1]).replace('\\"', '"') if len(parts) > 2 else header


def read_manifests(names: tuple[str, ...], *, recursive: bool = False) -> Iterator[dict[str, Any]]:
    """Every object in the named files, directories or standard input ("-"); Lists are unwrapped."""
    if not names:
        raise UsageError("must specify one of -f and -k")
    for name in names:
        for label, text in _texts(name, recursive):
            try:
                documents = list(yaml.load_all(text, Loader=LOADER))
            except yaml.YAMLError as error:
                raise CommandFailed(
                    f"error parsing {label}: error converting YAML to JSON: {' '.join(str(error).split())}"
                ) from error
            for document in documents:
                yield from _objects(label, document)


def _texts(name: str, recursive: bool) -> Iterator[tuple[str, str]]:
    if name == "-":
        yield "STDIN", sys.stdin.read()
        return
    path = Path(name)
    if path.is_dir():
        pattern = "**/*" if recursive else "*"
        files = [file for file in sorted(path.glob(pattern)) if file.suffix in (".json", ".yaml", ".yml")]
    elif path.exists():
        files = [path]
    else:
        raise CommandFailed(f'the path "{name}" does not exist')
    for file in files:
        yield str(file), file.read_text()


def _objects(label: str, document: Any) -> Iterator[dict[str, Any]]:
    if document is None:
        return
    if not isinstance(document, dict):
        raise CommandFailed(f"error parsing {label}: json: cannot unmarshal into a Kubernetes object")
    for member in ("apiVersion", "kind"):
        if not document.get(member):
            raise CommandFailed(f"error validating {label!r}: error validating data: {member} not set")
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects(label, item)
    else:
        yield document
