"""`wait`: until objects have a condition, a value at a JSONPath, are there, or are gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.changing import Change, changing_options, choosing_options, chosen, named, where
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options, duration_s
from edgekube.cli.kubectl.targets import Target, from_words
from edgekube.errors import NotFound

LOOK_AGAIN_S = 0.2
WEEK_S = 7 * 24 * 3600.0  # what a negative timeout means

Test = Callable[[dict[str, Any]], bool]


@click.command("wait")
@click.argument("words", nargs=-1, metavar="([-f FILE] | TYPE/NAME | TYPE [(-l label | --all)])")
@click.option("--for", "goal", default="", metavar="GOAL", help="create, delete, condition=NAME[=VALUE], jsonpath=...")
@click.option(
    "--timeout", default="30s", metavar="DURATION", help="How long to wait; 0 looks once, negative is a week."
)
@choosing_options
@changing_options
@connection_options
def COMMAND(words: tuple[str, ...], goal: str, timeout: str, **options: Any) -> int:
    """Wait for a specific condition on one or many resources.

    \b
    edgekube wait --for=condition=Ready pod/web
    edgekube wait --for=delete pod/web --timeout=60s
    edgekube wait --for=jsonpath='{.status.phase}'=Running pod/web
    """
    met = goal_of(goal)
    session, change = Session.of(options), Change.of(options, "kubectl")
    limit_s = duration_s(timeout)
    deadline = time.monotonic() + (limit_s if limit_s >= 0 else WEEK_S)
    try:
        targets = _targets(session, words, options, goal, deadline)
    except NotFound:
        if goal.lower() == "delete":
            return 0
        raise
    if not targets:
        if goal.lower() == "delete":
            return 0
        raise CommandFailed("no matching resources found")
    status = 0
    for target in targets:
        found = _until(session, target, goal.lower() == "delete", met, deadline)
        if found is not None:
            verb = "condition met"
            change.show(target.resource, found, verb)
            continue
        name = f"{target.resource['plural']}/{target.name}"
        words_said = "condition not met for" if limit_s == 0 else "timed out waiting for the condition on"
        click.echo(f"error: {words_said} {name}", err=True)
        status = 1
    return status


def goal_of(goal: str) -> Test:
    """The test a --for value stands for. Raises CommandFailed for what kubectl does not know either."""
    lower = goal.lower()
    if lower in ("delete", "create"):
        return lambda _: lower == "create"
    if lower.startswith("condition="):
        name, _, value = goal[len("condition=") :].partition("=")
        return lambda item: _condition(item, name, value or "true")
    if lower.startswith("jsonpath="):
        path, wanted = _path_and_value(goal[len("jsonpath=") :])
        template = printing.JsonPath(path)

        def at_path(item: dict[str, Any]) -> bool:
            found = template.find(item)
            return bool(found) if wanted is None else [_text(one) for one in found] == [wanted]

        return at_path
    raise CommandFailed(f'unrecognized condition: "{goal}"')


def _path_and_value(text: str) -> tuple[str, str | None]:
    """'{.a.b}=c' as ("{.a.b}", "c"); "=" inside the braces belongs to the path."""
    end = text.find("}")
    if end >= 0:
        head, rest = text[: end + 1], text[end + 1 :]
    else:
        head, _, rest = text.partition("=")
    if end >= 0 and rest and not rest.startswith("="):
        raise CommandFailed(
            "jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or --for=jsonpath='{.status.readyReplicas}'"
        )
    value: str | None = rest.removeprefix("=").strip("'\"") if rest else None
    if rest and not value:
        raise CommandFailed(
            "jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3"
        )
    head = head.strip("'\"")
    return head if head.startswith("{") else "{" + ("" if head.startswith(".") else ".") + head + "}", value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _condition(item: dict[str, Any], name: str, value: str) -> bool:
    status = item.get("status") or {}
    generation = (item.get("metadata") or {}).get("generation") or 0
    for condition in status.get("conditions") or ():
        if str(condition.get("type", "")).lower() != name.lower():
            continue
        observed = condition.get("observedGeneration") or status.get("observedGeneration") or generation
        return bool(observed >= generation and str(condition.get("status", "")).lower() == value.lower())
    return False


def _targets(
    session: Session, words: tuple[str, ...], options: dict[str, Any], goal: str, deadline: float
) -> list[Target]:
    """What is waited for; things to be created are looked for until they are there."""
    if goal.lower() != "create":
        return list(chosen(session, words, options))
    while True:
        try:
            found = list(chosen(session, words, options))
            if found:
                return found
        except NotFound:
            pass
        if time.monotonic() > deadline:
            missing = from_words(session, words)[0]
            raise CommandFailed(f"timed out waiting for the condition on {named(missing.resource)}/{missing.name}")
        time.sleep(LOOK_AGAIN_S)


def _until(session: Session, target: Target, gone: bool, met: Test, deadline: float) -> dict[str, Any] | None:
    """The object once the goal is met (as it was, for one that is gone); None when time is up."""
    item = target.document or {}
    while True:
        if not gone and met(item):
            return item
        if time.monotonic() >= deadline and not gone:
            return None
        if time.monotonic() < deadline and item is not target.document:
            time.sleep(LOOK_AGAIN_S)
        try:
            item = session.request("GET", where(target))
        except NotFound:
            if gone:
                return target.document or {}
            raise
        if gone and item["metadata"]["uid"] != (target.document or {})["metadata"]["uid"]:
            return target.document or {}
        if gone and time.monotonic() >= deadline:
            return None
