"""`label`: set, change and remove labels; `annotate` says the same about annotations (`words_and_pairs`, `decide`)."""

from __future__ import annotations

import json
from typing import Any

import click

from edgekube.cli.kubectl.changing import MERGE, Change, changing_options, choosing_options, chosen, each, where
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options
from edgekube.cli.kubectl.targets import Target


@click.command("label", context_settings={"ignore_unknown_options": False})
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME) KEY_1=VAL_1 ... KEY_N-")
@click.option("--overwrite", is_flag=True, help="Allow labels to be overwritten.")
@click.option("--list", "listed", is_flag=True, help="Display the labels for a given resource.")
@click.option("--resource-version", default="", metavar="VERSION", help="Only if this is the current version.")
@choosing_options
@changing_options
@connection_options
def COMMAND(words: tuple[str, ...], **options: Any) -> int:
    """Update the labels on a resource.

    \b
    edgekube label pods web unhealthy=true
    edgekube label pods web unhealthy-
    """
    return change_pairs(words, options, "labels")


def change_pairs(words: tuple[str, ...], options: dict[str, Any], member: str) -> int:
    """Change the labels or annotations (`member`) of the objects the words name."""
    noun = member[:-1]
    session, change = Session.of(options), Change.of(options, f"kubectl-{'label' if noun == 'label' else 'annotate'}")
    names, new, removed = words_and_pairs(words)
    both = sorted(new.keys() & removed)
    if both:
        raise CommandFailed(
            f"can not both modify and remove {'a label' if noun == 'label' else 'an annotation'} in the same command"
        )
    if not (new or removed or options["listed"]):
        raise CommandFailed(f"at least one {noun} update is required")

    def act(target: Target) -> None:
        live = target.document or {}
        have: dict[str, str] = live["metadata"].get(member) or {}
        if options["listed"]:
            for key in sorted(have):
                click.echo(f"{key}={have[key]}")
            return
        refuse_overwriting(have, new, options["overwrite"], noun)
        missing = [key for key in removed if key not in have] if noun == "label" else []
        for key in missing:
            click.echo(f'label "{key}" not found.')
        wanted = {key: value for key, value in {**have, **new}.items() if key not in removed}
        verb = said(live["metadata"].get(member), wanted, options["overwrite"]) if noun == "label" else "annotated"
        made = {**live, "metadata": {**live["metadata"], member: wanted}}
        if not change.local and (wanted != have or noun == "annotation"):
            patch: dict[str, Any] = {"metadata": {member: {**new, **dict.fromkeys(removed)}}}
            if options["resource_version"]:
                patch["metadata"]["resourceVersion"] = options["resource_version"]
            made = session.request("PATCH", where(target), query=change.query, body=patch, content_type=MERGE)
        change.show(target.resource, made, verb)

    return each(chosen(session, names, options), act)


def words_and_pairs(words: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str], list[str]]:
    """Names of objects, pairs to set, keys to remove: KEY=VALUE and KEY- are told from names by their shape."""
    names: list[str] = []
    new: dict[str, str] = {}
    removed: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key:
            new[key] = value
        elif word.endswith("-") and len(word) > 1:
            removed.append(word[:-1])
        elif new or removed:
            raise CommandFailed("all resources must be specified before label changes: " + word)
        else:
            names.append(word)
    return tuple(names), new, removed


def refuse_overwriting(have: dict[str, str], new: dict[str, str], overwrite: bool, noun: str) -> None:
    """Raises CommandFailed where a pair is there with another value and overwriting was not asked for."""
    held = [f"'{key}' already has a value ({have[key]})" for key, value in new.items() if have.get(key, value) != value]
    if overwrite or not held:
        return
    if noun == "label":
        raise CommandFailed(f"{held[0]}, and --overwrite is false")
    raise CommandFailed(f"--overwrite is false but found the following declared {noun}(s): {'; '.join(sorted(held))}")


def said(have: dict[str, str] | None, wanted: dict[str, str], overwrite: bool) -> str:
    """What kubectl says about a change of labels: it compares the texts of the object before and after."""
    before = "" if have is None else json.dumps(have, sort_keys=True)
    after = json.dumps(wanted, sort_keys=True)
    if before == after:
        return "not labeled"
    return "unlabeled" if not overwrite and len(after) < len(before) else "labeled"
