"""`set`: change image, environment, resources, service account or selector of what has a pod template."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import click

from edgekube.cli.kubectl.changing import MERGE, Change, changing_options, choosing_options, chosen, each, where
from edgekube.cli.kubectl.generators import pairs
from edgekube.cli.kubectl.session import CommandFailed, Session, VerbGroup, connection_options
from edgekube.cli.kubectl.targets import Target

Edit = Callable[[dict[str, Any]], None]


@click.group("set", cls=VerbGroup)
def COMMAND() -> None:
    """Set specific features on objects.

    \b
    edgekube set image deployment/web web=nginx:1.27
    edgekube set env deployment/web COLOUR=blue OLD-
    edgekube set resources deployment/web --limits=cpu=200m,memory=64Mi
    """


@COMMAND.command("image")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME) CONTAINER=IMAGE ...")
@choosing_options
@changing_options
@connection_options
def _image(words: tuple[str, ...], **options: Any) -> int:
    """Update the image of a pod template: edgekube set image deployment/web web=nginx:1.27."""
    images = pairs(word for word in words if "=" in word)
    if not images:
        raise CommandFailed("at least one image update is required")

    def edit(pod: dict[str, Any]) -> None:
        for name, image in images.items():
            found = _containers(pod, name, init=True)
            if not found:
                raise CommandFailed(f'unable to find container named "{name}"')
            for container in found:
                container["image"] = image

    return _change(tuple(word for word in words if "=" not in word), options, edit, "image updated")


@COMMAND.command("env")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME) KEY=VALUE ... KEY-")
@click.option("--containers", "-c", default="*", metavar="GLOB", help="The names of containers to change.")
@click.option("--env", "-e", multiple=True, metavar="KEY=VALUE", help="Variables to set.")
@click.option("--list", "listed", is_flag=True, help="Display the environment.")
@click.option("--overwrite", type=bool, is_flag=False, flag_value=True, default=True, help="Allow changing values.")
@choosing_options
@changing_options
@connection_options
def _env(
    words: tuple[str, ...], containers: str, env: tuple[str, ...], listed: bool, overwrite: bool, **options: Any
) -> int:
    """Update environment variables on a pod template: edgekube set env deployment/web COLOUR=blue."""
    new = pairs([*(word for word in words if "=" in word), *env])
    removed = {word[:-1] for word in words if word.endswith("-") and "=" not in word}
    names = tuple(word for word in words if "=" not in word and not word.endswith("-"))
    if listed:
        return _list_environment(names, options, containers)

    def edit(pod: dict[str, Any]) -> None:
        for container in _containers(pod, containers):
            entries = container.get("env") or []
            held = [
                entry["name"] for entry in entries if entry["name"] in new and entry.get("value") != new[entry["name"]]
            ]
            if held and not overwrite:
                raise CommandFailed(f"'{held[0]}' already has a value, and --overwrite is false")
            kept = [{**entry, "value": new[entry["name"]]} if entry["name"] in new else entry for entry in entries]
            for entry in kept:
                if entry["name"] in new:
                    entry.pop("valueFrom", None)
            known = {entry["name"] for entry in kept}
            kept += [{"name": name, "value": value} for name, value in new.items() if name not in known]
            if new or removed:
                container["env"] = [entry for entry in kept if entry["name"] not in removed]

    return _change(names, options, edit, "env updated")


def _list_environment(words: tuple[str, ...], options: dict[str, Any], containers: str) -> int:
    session = Session.of(options)

    def act(target: Target) -> None:
        for container in _containers(_pod_spec(target.document or {}), containers):
            click.echo(f"# {target.resource['kind']} {target.name}, container {container['name']}")
            for entry in container.get("env") or ():
                source = entry.get("valueFrom") or {}
                if reference := source.get("configMapKeyRef") or source.get("secretKeyRef"):
                    kind = "configmap" if "configMapKeyRef" in source else "secret"
                    click.echo(f"# {entry['name']} from {kind} {reference.get('name', '')}, key {reference['key']}")
                elif reference := source.get("fieldRef"):
                    click.echo(f"# {entry['name']} from field path {reference['fieldPath']}")
                else:
                    click.echo(f"{entry['name']}={entry.get('value', '')}")

    return each(chosen(session, words, options), act)


@COMMAND.command("resources")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME)")
@click.option("--containers", "-c", default="*", metavar="GLOB", help="The names of containers to change.")
@click.option("--limits", default="", metavar="NAME=AMOUNT,...", help="The resource limits.")
@click.option("--requests", default="", metavar="NAME=AMOUNT,...", help="The resource requests.")
@choosing_options
@changing_options
@connection_options
def _resources(words: tuple[str, ...], containers: str, limits: str, requests: str, **options: Any) -> int:
    """Update resource requests and limits: edgekube set resources deployment/web --limits=cpu=200m."""
    if not (limits or requests):
        raise CommandFailed("you must specify an update to requests or limits (in the form of --requests/--limits)")
    amounts = {
        "limits": pairs(limits.split(",")) if limits else {},
        "requests": pairs(requests.split(",")) if requests else {},
    }

    def edit(pod: dict[str, Any]) -> None:
        for container in _containers(pod, containers):
            held = container.setdefault("resources", {})
            for name, values in amounts.items():
                if values:
                    merged = {**(held.get(name) or {}), **values}
                    held[name] = {key: value for key, value in merged.items() if value != "0"}

    return _change(words, options, edit, "resource requirements updated")


@COMMAND.command("serviceaccount")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME) SERVICE_ACCOUNT")
@choosing_options
@changing_options
@connection_options
def _serviceaccount(words: tuple[str, ...], **options: Any) -> int:
    """Update the service account of a pod template: edgekube set serviceaccount deployment/web robot."""
    if not words:
        raise CommandFailed("serviceaccount is required")

    def edit(pod: dict[str, Any]) -> None:
        pod["serviceAccountName"] = words[-1]
        pod["serviceAccount"] = words[-1]

    return _change(words[:-1], options, edit, "serviceaccount updated")


COMMAND.add_command(_serviceaccount, "sa")


@COMMAND.command("selector")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME) KEY=VALUE,...")
@choosing_options
@changing_options
@connection_options
def _selector(words: tuple[str, ...], **options: Any) -> int:
    """Set the selector of a service: edgekube set selector service/web app=web."""
    session, change = Session.of(options), Change.of(options, "kubectl-set")
    if not words or "=" not in words[-1]:
        raise CommandFailed("one selector is required")
    selector = pairs(words[-1].split(","))

    def act(target: Target) -> None:
        item = target.document or {}
        if target.resource["kind"] != "Service":
            raise CommandFailed("selector for this kind of object cannot be set")
        made = {**item, "spec": {**item["spec"], "selector": selector}}
        if not change.local:
            gone = dict.fromkeys(item["spec"].get("selector") or {})
            body = {"spec": {"selector": {**gone, **selector}}}
            made = session.request("PATCH", where(target), query=change.query, body=body, content_type=MERGE)
        change.show(target.resource, made, "selector updated")

    return each(chosen(session, words[:-1], options), act)


def _change(words: tuple[str, ...], options: dict[str, Any], edit: Edit, verb: str) -> int:
    """Edit the pod template of every object meant; an object that stays the same is not sent and not mentioned."""
    session, change = Session.of(options), Change.of(options, "kubectl-set")

    def act(target: Target) -> None:
        before = target.document or {}
        made = copy.deepcopy(before)
        edit(_pod_spec(made))
        if made == before and change.output == "":
            return
        if made != before and not change.local:
            made = session.request("PUT", where(target), query=change.query, body=made)
        change.show(target.resource, made, verb)

    return each(chosen(session, words, options), act)


def _pod_spec(item: dict[str, Any]) -> dict[str, Any]:
    """The pod spec inside an object. Raises CommandFailed for objects without one."""
    spec = item.get("spec") or {}
    if item["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if item["kind"] != "Pod":
        spec = (spec.get("template") or {}).get("spec")
    if not isinstance(spec, dict) or "containers" not in spec:
        raise CommandFailed(f"the object is not a pod or does not have a pod template: {item['kind']}")
    return spec


def _containers(pod: dict[str, Any], pattern: str, *, init: bool = False) -> list[dict[str, Any]]:
    found = [*(pod.get("initContainers") or ()), *pod["containers"]] if init else pod["containers"]
    return [container for container in found if fnmatchcase(container["name"], pattern)]
