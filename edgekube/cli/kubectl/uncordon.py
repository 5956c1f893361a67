"""`uncordon`: let a node take new pods again."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl.cordon import DRY_RUN, set_schedulable
from edgekube.cli.kubectl.session import connection_options


@click.command("uncordon")
@click.argument("names", nargs=-1, metavar="NODE")
@click.option("--selector", "-l", default="", metavar="QUERY", help="Label selector to filter on.")
@click.option("--dry-run", type=DRY_RUN, is_flag=False, flag_value="client", default="none", help="Only say it.")
@connection_options
def COMMAND(names: tuple[str, ...], selector: str, dry_run: str, **options: Any) -> int:
    """Mark node as schedulable.

    \b
    edgekube uncordon gw1
    """
    return set_schedulable(names, selector, dry_run, options, cordoned=False)
