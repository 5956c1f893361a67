"""`edgekube leave`: take this machine out of its cluster, and the cluster off this machine."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import click

from edgekube.cli.options import data_dir_option
from edgekube.errors import EnvironmentError_


@click.command("leave")
@data_dir_option("Where this node's identity, images and containers live.")
@click.option("--keep-images", is_flag=True, help="Leave the image archives that were put below DIR/images.")
def COMMAND(data_dir: Path, keep_images: bool) -> int:
    """Undo `edgekube join`: stops the service and all pods, takes the node out of the cluster where its server can be reached, and
    removes network, mounts and files. Needs no reboot.

    \b
    edgekube leave
    """  # fmt: skip
    if os.geteuid() != 0:
        raise EnvironmentError_("leaving needs root: run it with sudo")
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    from edgekube.app import leaving
    from edgekube.app.identity import identity_of
    from edgekube.app.signals import first_reason

    identity = identity_of(data_dir.expanduser().absolute())
    if identity.directory.exists() and not identity.complete:  # a join that was interrupted: there is nothing but a key
        with identity.locked():
            shutil.rmtree(identity.directory)
        click.echo("this machine had not joined yet; its key was removed")
        return 0
    config = identity.read_config()
    import trio

    say = partial(click.echo, err=True)
    try:
        left = trio.run(
            partial(leaving.leave, config, identity, say, keep_images=keep_images), strict_exception_groups=True
        )
    except BaseExceptionGroup as group:
        raise first_reason(group) from group
    if left:
        raise EnvironmentError_(f"could not remove: {', '.join(left)}")
    click.echo(f"{config.node_name} has left {config.server}")
    return 0
