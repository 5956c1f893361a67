"""`edgekube restore`: a backup back into a data directory, on this machine or another."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from edgekube.app.config import DEFAULT_CONFIG_FILE
from edgekube.cli.options import data_dir_option
from edgekube.cli.progress import steps


@click.command("restore")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@data_dir_option("Where the server will look for its data.")
@click.option("--config", "-c", default=str(DEFAULT_CONFIG_FILE), type=click.Path(path_type=Path), metavar="FILE",
              show_default=True, help="Where the configuration goes, when there is none yet.")  # fmt: skip
@click.option("--force", is_flag=True, help="Set aside the cluster that is there.")
def COMMAND(file: Path, data_dir: Path, config: Path, force: bool) -> int:
    """Put a backup into the data directory of a stopped server.

    Every byte is checked first. What was there is set aside, not removed. Clients that saw newer revisions list again.

    \b
    systemctl stop edgekube
    edgekube restore gw1.tar.gz
    systemctl start edgekube
    """
    from edgekube.app.backup import restore

    contents, aside = restore(file, data_dir, config=config, force=force, progress=steps())
    click.echo(f"restored {contents.objects} objects of {contents.created} into {data_dir}")
    if aside is not None:
        click.echo(f"what was there before is in {aside}")
    here = socket.gethostname().lower()
    if contents.node_name != here:
        click.echo(
            f"The backup is of {contents.node_name}, this machine is {here}. Start with --node-name {contents.node_name} to take "
            f"its place, or remove the old node once the server runs: kubectl delete node {contents.node_name}"
        )
    return 0
