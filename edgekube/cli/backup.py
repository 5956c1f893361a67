"""`edgekube backup`: the whole cluster as one verified file, while the server runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from edgekube.app.config import DEFAULT_CONFIG_FILE
from edgekube.cli.options import data_dir_option
from edgekube.cli.progress import steps


@click.command("backup")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@data_dir_option("The server's data directory.")
@click.option("--config", "-c", default=str(DEFAULT_CONFIG_FILE), type=click.Path(path_type=Path), metavar="FILE",
              show_default=True, help="The server's configuration file.")  # fmt: skip
@click.option("--node-name", default="", metavar="NAME", help="The server's node name (default: this host's name).")
def COMMAND(file: Path | None, data_dir: Path, config: Path, node_name: str) -> int:
    """Write database, keys, manifests and configuration to one file.

    The server may run. The file is read back and checked before it takes the place of an older one. It holds the cluster's
    keys: keep it where you would keep those. Images and pod volumes are not in it.

    \b
    edgekube backup                              # edgekube-backup-<date>.tar.gz in this directory
    edgekube backup /mnt/usb/gw1.tar.gz
    """
    import socket

    from edgekube.app.backup import save

    now = datetime.now(UTC)
    target = file or Path(f"edgekube-backup-{now:%Y%m%d-%H%M%S}.tar.gz")
    contents = save(
        data_dir,
        target,
        node_name=node_name or socket.gethostname().lower(),
        created=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        config=config,
        progress=steps(),
    )
    click.echo(
        f"{target}: {contents.objects} objects at revision {contents.revision}, {target.stat().st_size / 1e6:.1f} MB"
    )
    return 0
