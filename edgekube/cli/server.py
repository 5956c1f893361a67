"""`edgekube server`: read the configuration, then run `app.server` until a signal says stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekube.app.config import DEFAULT_CONFIG_FILE, OPTIONS, Option, combine, read_file


def _flag(option: Option) -> click.Option:
    shown = f" [env: {option.variable}]"
    if option.kind == "switch":
        return click.Option([f"--{option.name}/--no-{option.name}"], default=None, help=option.help + shown)
    if option.default not in ("", ()):
        shown = f" [default: {option.default}]" + shown
    return click.Option(
        [option.attribute, f"--{option.name}", *(f"--{alias}" for alias in option.aliases)],
        default=None,
        multiple=option.kind == "many",
        type=int if option.kind == "number" else str,
        metavar=option.metavar or None,
        help=option.help + shown,
    )


def _serve(config: str | None, **flags: Any) -> int:
    """Run the server in the foreground.

    \b
    edgekube server                                  # a whole cluster on this machine
    edgekube server --disable-agent --data-dir ~/ek  # the control plane alone, as an ordinary user
    """
    path = Path(config) if config else DEFAULT_CONFIG_FILE
    settings = combine(flags, file=read_file(path, required=config is not None))
    from edgekube.app import logs

    logs.set_up(settings.log_format, debug=settings.debug)
    from edgekube.app.server import serve

    return serve(settings)


COMMAND = click.Command(
    "server",
    callback=_serve,
    help=_serve.__doc__,
    params=[
        click.Option(["--config", "-c"], metavar="FILE", help=f"Configuration file [default: {DEFAULT_CONFIG_FILE}]"),
        *map(_flag, OPTIONS),
    ],
)
