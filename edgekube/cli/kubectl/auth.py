"""`auth`: what the caller may do, and who the caller is."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.session import CommandFailed, Session, VerbGroup, connection_options

AUTHORIZATION = "authorization.k8s.io/v1"


@click.group("auth", cls=VerbGroup)
def COMMAND() -> None:
    """Inspect authorization.

    \b
    edgekube auth can-i create pods
    edgekube auth can-i --list
    edgekube auth whoami
    """


@COMMAND.command("can-i")
@click.argument("words", nargs=-1, metavar="VERB [TYPE | TYPE/NAME | NONRESOURCEURL]")
@click.option("--all-namespaces", "-A", is_flag=True, help="In all namespaces.")
@click.option("--list", "listed", is_flag=True, help="Print all allowed actions.")
@click.option("--no-headers", is_flag=True, help="Print allowed actions without headers.")
@click.option("--quiet", "-q", is_flag=True, help="Only the exit status.")
@click.option("--subresource", default="", metavar="NAME", help="SubResource such as pod/log or deployment/scale.")
@connection_options
def _can_i(
    words: tuple[str, ...], all_namespaces: bool, listed: bool, no_headers: bool, quiet: bool, subresource: str,
    **where: Any,
) -> int:  # fmt: skip
    """Check whether an action is allowed: edgekube auth can-i create pods."""
    session = Session(**where)
    namespace = "" if all_namespaces else session.namespace
    if listed:
        click.echo(_rules(session, namespace, headers=not no_headers), nl=False)
        return 0
    if len(words) not in (2, 3):
        raise CommandFailed(
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples."
        )
    asked = _asked(session, words, namespace, subresource)
    review = {"apiVersion": AUTHORIZATION, "kind": "SelfSubjectAccessReview", "spec": asked}
    status = session.request("POST", f"/apis/{AUTHORIZATION}/selfsubjectaccessreviews", body=review)["status"]
    allowed = bool(status.get("allowed"))
    if not quiet:
        reason = f" - {status['reason']}" if status.get("reason") and not allowed else ""
        failure = f" - {status['evaluationError']}" if status.get("evaluationError") else ""
        click.echo("yes" if allowed else f"no{reason}{failure}")
    return 0 if allowed else 1


def _asked(session: Session, words: tuple[str, ...], namespace: str, subresource: str) -> dict[str, Any]:
    verb, what, *rest = words
    if what.startswith("/"):
        return {"nonResourceAttributes": {"verb": verb, "path": what}}
    word, _, name = what.partition("/")
    name = rest[0] if rest else name
    group, plural = "", word
    if word == "*":
        group = "*"
    else:
        try:
            resource = session.resolve(word)
            group, plural = resource["group"], resource["plural"]
            if not resource["namespaced"]:
                namespace = ""
                grouped = f" in group '{group}'" if group else ""
                click.echo(f"Warning: resource '{plural}' is not namespace scoped{grouped}\n", err=True)
        except CommandFailed:
            click.echo(f"Warning: the server doesn't have a resource type '{word}'\n", err=True)
            plural, _, group = word.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": plural}
    attributes |= {"subresource": subresource, "name": name}
    return {"resourceAttributes": {key: value for key, value in attributes.items() if value}}


def _rules(session: Session, namespace: str, *, headers: bool) -> str:
    review = {"apiVersion": AUTHORIZATION, "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    status = session.request("POST", f"/apis/{AUTHORIZATION}/selfsubjectrulesreviews", body=review)["status"]
    rows = []
    for rule in status.get("resourceRules") or ():
        for group in rule.get("apiGroups") or [""]:
            for resource in rule.get("resources") or ():
                name = f"{resource}.{group}" if group else resource
                rows.append([name, "[]", _list(rule.get("resourceNames")), _list(rule.get("verbs"))])
    for rule in status.get("nonResourceRules") or ():
        rows += [["", f"[{url}]", "[]", _list(rule.get("verbs"))] for url in rule.get("nonResourceURLs") or ()]
    head = [["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]] if headers else []
    plain = [row for row in rows if row[0]]
    urls = sorted((row for row in rows if not row[0]), key=lambda row: row[1])
    return printing.columns([*head, *plain, *urls])


def _list(values: list[str] | None) -> str:
    return f"[{' '.join(values or ())}]"


@COMMAND.command("whoami")
@click.option("--output", "-o", default="", metavar="FORMAT", help="json, yaml, jsonpath=...")
@connection_options
def _whoami(output: str, **where: Any) -> None:
    """Check self subject attributes: edgekube auth whoami."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    found = Session(**where).request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
    whole = printing.printer(output)
    if whole:
        click.echo(whole(found), nl=False)
        return
    user = found["status"].get("userInfo") or {}
    rows = [["ATTRIBUTE", "VALUE"], ["Username", user.get("username", "")]]
    if user.get("uid"):
        rows.append(["UID", user["uid"]])
    if user.get("groups"):
        rows.append(["Groups", _list(user["groups"])])
    rows += [[f"Extra: {key}", _list(values)] for key, values in sorted((user.get("extra") or {}).items())]
    click.echo(printing.columns(rows), nl=False)
