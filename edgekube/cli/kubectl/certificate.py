"""`certificate`: approve or deny certificate signing requests."""

from __future__ import annotations

import time
from typing import Any

import click

from edgekube.cli.kubectl.changing import Change, chosen, each, where
from edgekube.cli.kubectl.session import CommandFailed, Session, VerbGroup, connection_options
from edgekube.cli.kubectl.targets import Target


@click.group("certificate", cls=VerbGroup)
def COMMAND() -> None:
    """Modify certificate resources.

    \b
    edgekube certificate approve csr-abc
    edgekube certificate deny csr-abc
    """


@COMMAND.command("approve")
@click.argument("names", nargs=-1, metavar="NAME")
@click.option("--force", is_flag=True, help="Update the request even if it is already approved.")
@connection_options
def _approve(names: tuple[str, ...], force: bool, **where_: Any) -> int:
    """Approve a certificate signing request: edgekube certificate approve csr-abc."""
    return _decide(names, force, where_, "Approved", "Denied", "KubectlApprove", "approve")


@COMMAND.command("deny")
@click.argument("names", nargs=-1, metavar="NAME")
@click.option("--force", is_flag=True, help="Update the request even if it is already denied.")
@connection_options
def _deny(names: tuple[str, ...], force: bool, **where_: Any) -> int:
    """Deny a certificate signing request: edgekube certificate deny csr-abc."""
    return _decide(names, force, where_, "Denied", "Approved", "KubectlDeny", "deny")


def _decide(
    names: tuple[str, ...], force: bool, connection: dict[str, Any], wanted: str, other: str, reason: str, verb: str
) -> int:
    if not names:
        raise CommandFailed("one or more CSRs must be specified as <name> or -f <filename>")
    session = Session(**connection)

    def act(target: Target) -> None:
        item = target.document or {}
        conditions = (item.get("status") or {}).get("conditions") or []
        if any(condition["type"] == other for condition in conditions):
            raise CommandFailed(f"certificate signing request {target.name!r} is already {other}".replace("'", '"'))
        if force or not any(condition["type"] == wanted for condition in conditions):
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            said = {"type": wanted, "status": "True", "reason": reason, "lastUpdateTime": now}
            said["message"] = (
                f"This CSR was {'approved' if wanted == 'Approved' else 'denied'} by kubectl certificate {verb}."
            )
            kept = [condition for condition in conditions if condition["type"] != wanted]
            body = {**item, "status": {**(item.get("status") or {}), "conditions": [*kept, said]}}
            session.request("PUT", where(target, "approval"), body=body)
        Change().show(target.resource, item, wanted.lower())

    return each(chosen(session, ("csr", *names), {}), act)
