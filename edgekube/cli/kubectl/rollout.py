"""`rollout`: status, history, undo, restart, pause and resume of deployments, daemon sets and stateful sets."""

from __future__ import annotations

import time
from typing import Any

import click

from edgekube.cli.kubectl import rollouts
from edgekube.cli.kubectl.changing import (
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Change,
    changing_options,
    choosing_options,
    chosen,
    each,
    named,
    where,
)
from edgekube.cli.kubectl.podtemplate import template_text
from edgekube.cli.kubectl.session import CommandFailed, Session, VerbGroup, connection_options, duration_s, full_name
from edgekube.cli.kubectl.targets import Target

LOOK_AGAIN_S = 0.2
WORKLOADS = ("Deployment", "DaemonSet", "StatefulSet")


@click.group("rollout", cls=VerbGroup)
def COMMAND() -> None:
    """Manage the rollout of one or many resources.

    \b
    edgekube rollout status deployment/web
    edgekube rollout undo deployment/web --to-revision=3
    edgekube rollout restart daemonset/agent
    """


@COMMAND.command("status")
@click.argument("words", nargs=-1, metavar="(TYPE NAME | TYPE/NAME)")
@click.option("--watch", "-w", type=bool, is_flag=False, flag_value=True, default=True, help="Watch until done.")
@click.option("--timeout", default="0s", metavar="DURATION", help="How long to wait; 0 is for ever.")
@click.option("--revision", type=int, default=0, help="The revision whose status is wanted; 0 is the latest.")
@choosing_options
@connection_options
def _status(words: tuple[str, ...], watch: bool, timeout: str, revision: int, **options: Any) -> int:
    """Show the status of the rollout: edgekube rollout status deployment/web."""
    session = Session.of(options)
    limit_s = duration_s(timeout)
    deadline = time.monotonic() + limit_s if limit_s else float("inf")

    def act(target: Target) -> None:
        item, before = target.document or {}, ""
        if item["kind"] not in WORKLOADS:
            raise CommandFailed(f"no status viewer has been implemented for {item['kind']}")
        if revision and item["kind"] == "Deployment":
            latest = rollouts.revision_of(item)
            if revision != latest:
                raise CommandFailed(f"desired revision ({revision}) is different from the running revision ({latest})")
        while True:
            try:
                text, done = rollouts.progress(item)
            except rollouts.Broken as error:
                raise CommandFailed(str(error)) from None
            if text != before:
                click.echo(text, nl=False)
            before = text
            if done or not watch:
                return
            if time.monotonic() > deadline:
                raise CommandFailed("timed out waiting for the condition")
            time.sleep(LOOK_AGAIN_S)
            item = session.request("GET", where(target))

    return each(chosen(session, words, options), act)


def _history_of(session: Session, target: Target) -> dict[int, dict[str, Any]]:
    """The revisions of a workload. Raises CommandFailed for kinds that have none."""
    item = target.document or {}
    if item["kind"] not in WORKLOADS:
        raise CommandFailed(
            f'error retrieving history for "{item["kind"]}", no visitor method exists for {{ {item["kind"]}}}'
        )
    plural = "replicasets" if item["kind"] == "Deployment" else "controllerrevisions"
    labels = (item["spec"].get("selector") or {}).get("matchLabels") or {}
    query = {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(labels.items()))}
    found = session.request("GET", f"/apis/apps/v1/namespaces/{target.namespace}/{plural}", query=query)
    return rollouts.revisions(item, found.get("items") or [])


@COMMAND.command("history")
@click.argument("words", nargs=-1, metavar="(TYPE NAME | TYPE/NAME)")
@click.option("--revision", type=int, default=0, help="See the details of this revision.")
@choosing_options
@connection_options
def _history(words: tuple[str, ...], revision: int, **options: Any) -> int:
    """View the rollout history: edgekube rollout history deployment/web."""
    if revision < 0:
        raise CommandFailed(f"revision must be a positive integer: {revision}")
    session = Session.of(options)

    def act(target: Target) -> None:
        found = _history_of(session, target)
        name = f"{full_name(target.resource)}/{target.name}"
        if not revision:
            click.echo(rollouts.history_text(name, found), nl=False)
            return
        if revision not in found:
            raise CommandFailed("unable to find the specified revision")
        child = found[revision]
        cause = (child["metadata"].get("annotations") or {}).get(rollouts.CAUSE)
        template = rollouts.template_of(child)
        if cause:
            meta = template.setdefault("metadata", {})
            meta["annotations"] = {**(meta.get("annotations") or {}), rollouts.CAUSE: cause}
        click.echo(f"{name} with revision #{revision}\n{template_text(template)}")

    return each(chosen(session, words, options), act)


@COMMAND.command("undo")
@click.argument("words", nargs=-1, metavar="(TYPE NAME | TYPE/NAME)")
@click.option("--to-revision", type=int, default=0, help="The revision to go back to; 0 is the previous one.")
@choosing_options
@changing_options
@connection_options
def _undo(words: tuple[str, ...], to_revision: int, **options: Any) -> int:
    """Undo a previous rollout: edgekube rollout undo deployment/web."""
    session, change = Session.of(options), Change.of(options, "kubectl-rollout")

    def act(target: Target) -> None:
        item = target.document or {}
        if item["kind"] not in WORKLOADS:
            raise CommandFailed(
                f'error retrieving rollbacker for "{item["kind"]}", no visitor method exists for {{ {item["kind"]}}}'
            )
        if item["kind"] == "Deployment" and item["spec"].get("paused"):
            raise CommandFailed(
                f'you cannot rollback a paused deployment; resume it first with "kubectl rollout resume {target.name}" '
                "and try again"
            )
        found = _history_of(session, target)
        if to_revision and to_revision not in found:
            raise CommandFailed(f"unable to find specified revision {to_revision} in history")
        if not to_revision and len(found) < 2:
            raise CommandFailed(f"no rollout history found for {_kind_words(item)} {target.name!r}".replace("'", '"'))
        child = found[to_revision or list(found)[-2]]
        template = rollouts.without_hash(rollouts.template_of(child))
        if rollouts.without_hash(item["spec"]["template"]) == template:
            change.show(
                target.resource, item, f"skipped rollback (current template already matches revision {to_revision})"
            )
            return
        made = item
        if not change.local:
            body = [{"op": "replace", "path": "/spec/template", "value": template}]
            made = session.request("PATCH", where(target), query=change.query, body=body, content_type=JSON_PATCH)
        change.show(target.resource, made, "rolled back")

    return each(chosen(session, words, options), act)


def _kind_words(item: dict[str, Any]) -> str:
    return {"Deployment": "deployment", "DaemonSet": "daemon set", "StatefulSet": "statefulset"}[item["kind"]]


@COMMAND.command("restart")
@click.argument("words", nargs=-1, metavar="(TYPE NAME | TYPE/NAME)")
@choosing_options
@changing_options
@connection_options
def _restart(words: tuple[str, ...], **options: Any) -> int:
    """Restart a resource: edgekube rollout restart deployment/web."""
    session, change = Session.of(options), Change.of(options, "kubectl-rollout")
    # Whole seconds and local time with its offset, as kubectl writes it.
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    now = now[:-5] + ("Z" if now.endswith("+0000") else f"{now[-5:-2]}:{now[-2:]}")

    def act(target: Target) -> None:
        item = target.document or {}
        if item["kind"] not in WORKLOADS:
            raise CommandFailed(f'{named(target.resource)} "{target.name}" restarting is not supported')
        if item["spec"].get("paused"):
            raise CommandFailed(
                f'{named(target.resource)} "{target.name}" can\'t restart paused deployment (run rollout resume first)'
            )
        made = item
        if not change.local:
            body = {"spec": {"template": {"metadata": {"annotations": {rollouts.RESTARTED: now}}}}}
            made = session.request("PATCH", where(target), query=change.query, body=body, content_type=STRATEGIC)
        change.show(target.resource, made, "restarted")

    return each(chosen(session, words, options), act)


@COMMAND.command("pause")
@click.argument("words", nargs=-1, metavar="(TYPE NAME | TYPE/NAME)")
@choosing_options
@changing_options
@connection_options
def _pause(words: tuple[str, ...], **options: Any) -> int:
    """Mark a deployment as paused: edgekube rollout pause deployment/web."""
    return _set_paused(words, options, paused=True)


@COMMAND.command("resume")
@click.argument("words", nargs=-1, metavar="(TYPE NAME | TYPE/NAME)")
@choosing_options
@changing_options
@connection_options
def _resume(words: tuple[str, ...], **options: Any) -> int:
    """Resume a paused deployment: edgekube rollout resume deployment/web."""
    return _set_paused(words, options, paused=False)


def _set_paused(words: tuple[str, ...], options: dict[str, Any], *, paused: bool) -> int:
    session, change = Session.of(options), Change.of(options, "kubectl-rollout")

    def act(target: Target) -> None:
        item, name = target.document or {}, f'{named(target.resource)} "{target.name}"'
        if item["kind"] != "Deployment":
            raise CommandFailed(f"{name} {'pausing' if paused else 'resuming'} is not supported")
        if bool(item["spec"].get("paused")) == paused:
            raise CommandFailed(f"{name} is already paused" if paused else f"{name} is not paused")
        made = item
        if not change.local:
            body = {"spec": {"paused": paused or None}}
            made = session.request("PATCH", where(target), query=change.query, body=body, content_type=MERGE)
        change.show(target.resource, made, "paused" if paused else "resumed")

    return each(chosen(session, words, options), act)
