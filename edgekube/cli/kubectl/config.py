"""`config`: show and change kubeconfig files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.session import LOADER, CommandFailed, VerbGroup
from edgekube.client.kubeconfig import default_paths, write

SECRET = ("certificate-authority-data", "client-certificate-data", "client-key-data", "token", "password")
EMPTY: dict[str, Any] = {
    "apiVersion": "v1", "clusters": None, "contexts": None, "current-context": "", "kind": "Config", "preferences": {},
    "users": None,
}  # fmt: skip


@click.group("config", cls=VerbGroup)
def COMMAND() -> None:
    """Modify kubeconfig files.

    \b
    edgekube config view
    edgekube config use-context gw1
    edgekube config set-context --current --namespace=shop
    """


FILE = click.option("--kubeconfig", default="", metavar="FILE", help="Path to the kubeconfig file to use.")


def _paths(kubeconfig: str) -> list[Path]:
    return [Path(kubeconfig)] if kubeconfig else default_paths(os.environ)


def _load(path: Path) -> dict[str, Any]:
    import yaml

    found = yaml.load(path.read_text(), Loader=LOADER) if path.exists() else None
    return {**EMPTY, **(found or {})}


def merged(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Several kubeconfigs as one: of entries with one name the first counts."""
    whole = dict(EMPTY)
    for section in ("clusters", "contexts", "users"):
        entries: dict[str, Any] = {}
        for document in documents:
            for entry in document.get(section) or ():
                entries.setdefault(entry["name"], entry)
        whole[section] = [entries[name] for name in sorted(entries)] or None
    whole["current-context"] = next((d["current-context"] for d in documents if d["current-context"]), "")
    return whole


def _whole(kubeconfig: str) -> dict[str, Any]:
    return merged([_load(path) for path in _paths(kubeconfig)])


def _current(document: dict[str, Any]) -> str:
    return str(document["current-context"])


def _named(document: dict[str, Any], section: str, name: str) -> dict[str, Any] | None:
    return next((entry for entry in document[section] or () if entry["name"] == name), None)


@COMMAND.command("view")
@click.option("--raw", is_flag=True, help="Display raw byte data and sensitive data.")
@click.option("--minify", is_flag=True, help="Only what the current context uses.")
@click.option("--output", "-o", default="yaml", metavar="FORMAT", help="json, yaml, jsonpath=...")
@FILE
def _view(raw: bool, minify: bool, output: str, kubeconfig: str) -> None:
    """Display merged kubeconfig settings: edgekube config view."""
    document = _whole(kubeconfig)
    if minify:
        context = _named(document, "contexts", _current(document))
        if context is None:
            raise CommandFailed("current-context must exist in order to minify")
        used = {"clusters": context["context"].get("cluster"), "users": context["context"].get("user")}
        document["contexts"] = [context]
        for section, name in used.items():
            document[section] = [entry for entry in document[section] or () if entry["name"] == name] or None
    if not raw:
        for section, member in (("clusters", "cluster"), ("users", "user")):
            for entry in document[section] or ():
                body = entry.get(member) or {}
                hidden = {k: "REDACTED" if k in ("token", "password") else "DATA+OMITTED" for k in body if k in SECRET}
                entry[member] = {**body, **hidden}
    whole = printing.printer(output)
    assert whole is not None
    click.echo(whole(document), nl=False)


@COMMAND.command("current-context")
@FILE
def _current_context(kubeconfig: str) -> None:
    """Display the current-context: edgekube config current-context."""
    name = _current(_whole(kubeconfig))
    if not name:
        raise CommandFailed("current-context is not set")
    click.echo(name)


@COMMAND.command("get-contexts")
@click.argument("names", nargs=-1, metavar="[NAME]")
@click.option("--no-headers", is_flag=True, help="Don't print headers.")
@click.option("--output", "-o", default="", metavar="FORMAT", help="name.")
@FILE
def _get_contexts(names: tuple[str, ...], no_headers: bool, output: str, kubeconfig: str) -> int:
    """Describe one or many contexts: edgekube config get-contexts."""
    document, status = _whole(kubeconfig), 0
    rows = [] if no_headers or output else [["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]]
    for name in names:
        if _named(document, "contexts", name) is None:
            click.echo(f"error: context {name} not found", err=True)
            status = 1
    for entry in document["contexts"] or ():
        if names and entry["name"] not in names:
            continue
        body = entry.get("context") or {}
        mark = "*" if entry["name"] == _current(document) else ""
        cells = [mark, entry["name"], body.get("cluster", ""), body.get("user", ""), body.get("namespace", "")]
        rows.append([entry["name"]] if output == "name" else cells)
    click.echo(printing.columns(rows), nl=False)
    return status


@COMMAND.command("use-context")
@click.argument("name", metavar="CONTEXT_NAME")
@FILE
def _use_context(name: str, kubeconfig: str) -> None:
    """Set the current-context: edgekube config use-context gw1."""
    if _named(_whole(kubeconfig), "contexts", name) is None:
        raise CommandFailed(f'no context exists with the name: "{name}"')
    path = _paths(kubeconfig)[0]
    _save(path, {**_load(path), "current-context": name})
    click.echo(f'Switched to context "{name}".')


def _save(path: Path, document: dict[str, Any]) -> None:
    write(path, printing.to_yaml(document))


def _put(path: Path, section: str, member: str, name: str, values: dict[str, Any]) -> bool:
    """Set members of a named entry; whether the entry was there before."""
    document = _load(path)
    entry = _named(document, section, name)
    there = entry is not None
    body = {**((entry or {}).get(member) or {}), **{key: value for key, value in values.items() if value}}
    others = [other for other in document[section] or () if other["name"] != name]
    document[section] = sorted([*others, {member: body, "name": name}], key=lambda one: str(one["name"]))
    _save(path, document)
    return there


@COMMAND.command("set-context")
@click.argument("name", default="", metavar="[NAME | --current]")
@click.option("--current", is_flag=True, help="Modify the current context.")
@click.option("--cluster", default="", metavar="NAME", help="The cluster of the context.")
@click.option("--user", default="", metavar="NAME", help="The user of the context.")
@click.option("--namespace", "-n", default="", metavar="NAME", help="The namespace of the context.")
@FILE
def _set_context(name: str, current: bool, kubeconfig: str, **values: str) -> None:
    """Set a context entry: edgekube config set-context --current --namespace=shop."""
    if current == bool(name):
        raise CommandFailed("you must specify a non-empty context name or --current")
    name = name or _current(_whole(kubeconfig))
    if not name:
        raise CommandFailed("no current context is set")
    there = _put(_paths(kubeconfig)[0], "contexts", "context", name, values)
    click.echo(f'Context "{name}" {"modified" if there else "created"}.')


@COMMAND.command("set-cluster")
@click.argument("name", metavar="NAME")
@click.option("--server", default="", metavar="URL", help="The address of the API server.")
@click.option("--certificate-authority", default="", metavar="FILE", help="Path to the certificate authority.")
@click.option("--insecure-skip-tls-verify", is_flag=True, help="Do not check the server's certificate.")
@click.option("--tls-server-name", default="", metavar="NAME", help="Name the certificate is checked for.")
@FILE
def _set_cluster(name: str, kubeconfig: str, **values: Any) -> None:
    """Set a cluster entry: edgekube config set-cluster gw1 --server=https://gw1:6443."""
    _put(_paths(kubeconfig)[0], "clusters", "cluster", name, {k.replace("_", "-"): v for k, v in values.items()})
    click.echo(f'Cluster "{name}" set.')


@COMMAND.command("set-credentials")
@click.argument("name", metavar="NAME")
@click.option("--token", default="", metavar="TOKEN", help="Bearer token.")
@click.option("--client-certificate", default="", metavar="FILE", help="Path to the client certificate.")
@click.option("--client-key", default="", metavar="FILE", help="Path to the client key.")
@FILE
def _set_credentials(name: str, kubeconfig: str, **values: Any) -> None:
    """Set a user entry: edgekube config set-credentials me --token=TOKEN."""
    _put(_paths(kubeconfig)[0], "users", "user", name, {k.replace("_", "-"): v for k, v in values.items()})
    click.echo(f'User "{name}" set.')


@COMMAND.command("delete-context")
@click.argument("name", metavar="NAME")
@FILE
def _delete_context(name: str, kubeconfig: str) -> None:
    """Delete a context: edgekube config delete-context gw1."""
    path = _paths(kubeconfig)[0]
    document = _load(path)
    if _named(document, "contexts", name) is None:
        raise CommandFailed(f"cannot delete context {name}, not in {path}")
    if name == _current(document):
        click.echo(
            'warning: this removed your active context, use "kubectl config use-context" to select a different one',
            err=True,
        )
    document["contexts"] = [entry for entry in document["contexts"] if entry["name"] != name] or None
    _save(path, document)
    click.echo(f"deleted context {name} from {path}")


@COMMAND.command("rename-context")
@click.argument("name", metavar="CONTEXT_NAME")
@click.argument("new", metavar="NEW_NAME")
@FILE
def _rename_context(name: str, new: str, kubeconfig: str) -> None:
    """Rename a context: edgekube config rename-context default gw1."""
    path = _paths(kubeconfig)[0]
    document = _load(path)
    entry = _named(document, "contexts", name)
    if entry is None:
        raise CommandFailed(f'cannot rename the context "{name}", it\'s not in {path}')
    if _named(document, "contexts", new):
        raise CommandFailed(f'cannot rename the context "{name}", the context "{new}" already exists in {path}')
    entry["name"] = new
    if _current(document) == name:
        document["current-context"] = new
    _save(path, document)
    click.echo(f'Context "{name}" renamed to "{new}".')
