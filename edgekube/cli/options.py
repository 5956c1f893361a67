"""Options that several commands of an operator have, so that they mean and say the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgekube.app.config import DEFAULT_DATA_DIR

Command = TypeVar("Command", bound=Callable[..., Any])


def data_dir_option(help: str = "The server's or agent's data directory.") -> Callable[[Command], Command]:
    """`--data-dir`, handed on as a Path."""
    return click.option(
        "--data-dir",
        default=str(DEFAULT_DATA_DIR),
        envvar="EDGEKUBE_DATA_DIR",
        show_default=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help=help,
    )
