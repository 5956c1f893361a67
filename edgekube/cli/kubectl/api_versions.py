"""`api-versions`: the groups and versions the server has."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl.session import Session, connection_options


@click.command("api-versions")
@connection_options
def COMMAND(**where: Any) -> None:
    """Print the supported API versions on the server, in the form of "group/version".

    \b
    edgekube api-versions
    """
    found = {f"{entry['group']}/{entry['version']}".lstrip("/") for entry in Session(**where).resources()}
    click.echo("".join(version + "\n" for version in sorted(found)), nl=False)
