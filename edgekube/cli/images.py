"""`edgekube images`: what images this machine holds; bring some in without a registry; keep some from collection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgekube.cli.options import data_dir_option


def _where(command: Callable[..., Any]) -> Callable[..., Any]:
    endpoint = click.option(
        "--container-runtime-endpoint", "endpoint", default="", envvar="EDGEKUBE_CONTAINER_RUNTIME_ENDPOINT",
        metavar="SOCKET", help="The CRI socket, if not edgekube's own containerd.",
    )  # fmt: skip
    directory = data_dir_option()
    return directory(endpoint(command))


@click.group("images")
def COMMAND() -> None:
    """List, import and pin the images of this machine.

    Archives put into <data-dir>/images/ are imported at every start and pinned; these commands do the same at once.

    \b
    edgekube images list
    edgekube images import app.tar other.tar.gz
    edgekube images pin registry.site/app:1
    """


@COMMAND.command("list")
@_where
def list_(data_dir: Path, endpoint: str) -> int:
    """List images with their size, and whether garbage collection leaves them alone."""
    import trio

    from edgekube.app.images import held, runtime_of
    from edgekube.cli.kubectl.printing import columns

    directory = data_dir.absolute()

    async def run() -> list[list[str]]:
        async with runtime_of(directory, endpoint) as place:
            return [
                [one.name, one.id.removeprefix("sha256:")[:13], _size(one.size_bytes),
                 "yes" if one.pinned else "no"]
                for one in await held(place.runtime)
            ]  # fmt: skip

    rows = trio.run(run)
    click.echo(columns([["IMAGE", "ID", "SIZE", "PINNED"], *rows]), nl=False)
    return 0


@COMMAND.command("import")
@click.argument("archives", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@_where
def import_(archives: tuple[Path, ...], data_dir: Path, endpoint: str) -> int:
    """Import image archives (OCI or `docker save`, gzipped or not) and pin what is in them."""
    import trio

    from edgekube.app.images import bring, runtime_of
    from edgekube.cli.progress import steps

    directory = data_dir.absolute()

    async def run() -> list[str]:
        async with runtime_of(directory, endpoint) as place:
            return await bring(place, archives, steps())

    for name in trio.run(run):
        click.echo(name)
    return 0


@COMMAND.command("pin")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@_where
def pin_(names: tuple[str, ...], data_dir: Path, endpoint: str) -> int:
    """Keep images from being collected when the disk fills up."""
    return _pin(names, data_dir, endpoint, pinned=True)


@COMMAND.command("unpin")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...")
@_where
def unpin(names: tuple[str, ...], data_dir: Path, endpoint: str) -> int:
    """Let images be collected again."""
    return _pin(names, data_dir, endpoint, pinned=False)


def _pin(names: tuple[str, ...], data_dir: Path, endpoint: str, *, pinned: bool) -> int:
    import trio

    from edgekube.app.images import pin, runtime_of

    directory = data_dir.absolute()

    async def run() -> list[str]:
        async with runtime_of(directory, endpoint) as place:
            return await pin(place.runtime, names, pinned=pinned)

    for name in trio.run(run):
        click.echo(f"{name} {'pinned' if pinned else 'unpinned'}")
    return 0


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f}{unit}"
    return f"{size_bytes}B"
