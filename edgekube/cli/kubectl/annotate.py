"""`annotate`: set, change and remove annotations."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl.changing import changing_options, choosing_options
from edgekube.cli.kubectl.label import change_pairs
from edgekube.cli.kubectl.session import connection_options


@click.command("annotate")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME) KEY_1=VAL_1 ... KEY_N-")
@click.option("--overwrite", is_flag=True, help="Allow annotations to be overwritten.")
@click.option("--list", "listed", is_flag=True, help="Display the annotations for a given resource.")
@click.option("--resource-version", default="", metavar="VERSION", help="Only if this is the current version.")
@choosing_options
@changing_options
@connection_options
def COMMAND(words: tuple[str, ...], **options: Any) -> int:
    """Update the annotations on a resource.

    \b
    edgekube annotate pods web description='my frontend'
    edgekube annotate pods web description-
    """
    return change_pairs(words, options, "annotations")
