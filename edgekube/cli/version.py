"""`version`: this program's, and the server's when there is one."""

from __future__ import annotations

from typing import Any

import click

from edgekube import VERSION
from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.session import Session, Unreachable, connection_options


@click.command("version")
@click.option("--client", is_flag=True, help="Print this program's version only.")
@click.option("--output", "-o", default="", metavar="FORMAT", help="yaml or json.")
@connection_options
def COMMAND(client: bool, output: str, **where: Any) -> int:
    """Print the client and server version."""
    found: dict[str, Any] = {"clientVersion": {"gitVersion": f"v{VERSION}"}}
    failed: Unreachable | None = None
    if not client:
        try:
            found["serverVersion"] = Session(**where).request("GET", "/version")
        except Unreachable as error:
            failed = error
    whole = printing.printer(output)
    if whole:
        click.echo(whole(found), nl=False)
    else:
        click.echo(f"Client Version: {found['clientVersion']['gitVersion']}")
        if "serverVersion" in found:
            click.echo(f"Server Version: {found['serverVersion']['gitVersion']}")
    if failed:
        raise failed
    return 0
