"""`edgekube doctor`: look at the machine, say what is wrong and what it means, repair it when asked."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edgekube.cli.options import data_dir_option

MARKS = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Repair what can be repaired.")
@data_dir_option()
@click.option("--https-listen-port", "port", default=6443, show_default=True, help="Port the API listens on.")
def COMMAND(fix: bool, data_dir: Path, port: int) -> int:
    """Check this machine, and with --fix repair it.

    Exit status 1 when a problem remains; warnings leave it 0.

    \b
    edgekube doctor
    sudo edgekube doctor --fix
    """
    from edgekube.app import doctor
    from edgekube.errors import EnvironmentError_

    if fix and os.geteuid() != 0:
        raise EnvironmentError_("--fix needs root")
    problems = 0
    for finding in doctor.examine(doctor.Host(data_dir.absolute(), port=port)):
        click.echo(f"{MARKS[finding.level]}{finding.name}: {finding.seen}")
        if finding.level == doctor.OK:
            continue
        click.echo(f"        {finding.means}")
        repaired = False
        if fix and finding.repair is not None:
            try:
                click.echo(f"        fixed: {finding.repair()}")
                repaired = True
            except OSError as error:
                click.echo(f"        could not be fixed: {error}")
        elif finding.advice:
            automatic = "" if finding.repair is None else " (or run: edgekube doctor --fix)"
            click.echo(f"        do: {finding.advice}{automatic}")
        problems += finding.level == doctor.FAIL and not repaired
    return 1 if problems else 0
