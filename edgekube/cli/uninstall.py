"""`edgekube uninstall`: take the server and everything it made off this machine."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from edgekube.app.config import DEFAULT_CONFIG_FILE, combine, read_file
from edgekube.errors import EnvironmentError_, UsageError


@click.command("uninstall")
@click.option(
    "--config",
    "-c",
    default="",
    metavar="FILE",
    help=f"The server's configuration file [default: {DEFAULT_CONFIG_FILE}]",
)
@click.option("--data-dir", default=None, metavar="DIR", help="The server's data directory, if not the one configured.")
@click.option("--keep-data", is_flag=True, help="Keep database, keys and manifests; a server started on them goes on.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def COMMAND(config: str, data_dir: str | None, keep_data: bool, yes: bool) -> int:
    """Stop the server and all its pods and remove network, mounts, data and configuration. Needs no reboot.

    On a machine that joined another's cluster it is `edgekube leave` that does this.

    \b
    edgekube backup /mnt/usb/last.tar.gz      # perhaps first
    edgekube uninstall
    """
    given: dict[str, Any] = {"data_dir": data_dir}
    settings = combine(given, file=read_file(Path(config) if config else DEFAULT_CONFIG_FILE, required=bool(config)))
    if os.geteuid() != 0 and not settings.disable_agent:
        raise EnvironmentError_("uninstalling needs root: run it with sudo")
    if not (settings.data_dir / "store.db").exists():
        if (settings.data_dir / "agent").is_dir():
            raise UsageError(f"{settings.data_dir} is an agent's: run `edgekube leave`")
        raise EnvironmentError_(f"{settings.data_dir} holds no server's data (--data-dir names another)")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("this removes a cluster: say --yes")
        what = "its pods" if keep_data else "its pods and everything in it"
        if not click.confirm(f"Remove the cluster in {settings.data_dir}, {what}?", err=True):
            return 1
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    import trio

    from edgekube.app import uninstalling
    from edgekube.app.signals import first_reason

    say = partial(click.echo, err=True)
    try:
        left = trio.run(
            partial(uninstalling.uninstall, settings, say, keep_data=keep_data), strict_exception_groups=True
        )
    except BaseExceptionGroup as group:
        raise first_reason(group) from group
    if left:
        raise EnvironmentError_(f"still there: {', '.join(left)}")
    click.echo("edgekube is gone from this machine" if not keep_data else f"the data in {settings.data_dir} was kept")
    return 0
