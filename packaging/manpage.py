#!/usr/bin/env python3
"""Print edgekube(8), made from the commands themselves: what --help says is what the page says."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import click

from edgekube.cli.main import COMMANDS, root


def quoted(text: str) -> str:
    """A line of text as roff wants it."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def paragraphs(text: str) -> list[str]:
    """Help text as roff paragraphs; indented blocks keep their lines."""
    lines: list[str] = []
    for block in text.replace("\b\n", "\b").split("\n\n"):
        if block.startswith(("\b", "  ")):
            lines += [".nf", *(quoted(line) for line in block.lstrip("\b").splitlines()), ".fi"]
        else:
            lines.append(quoted(" ".join(block.split())))
        lines.append(".PP")
    return lines[:-1]


def options(command: click.Command, context: click.Context) -> list[str]:
    """One entry per option."""
    lines = []
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            lines += [".TP", f"\\fB{quoted(record[0])}\\fR", quoted(" ".join(record[1].split())) or "\\&"]
    return lines


def described(name: str, command: click.Command, parent: click.Context) -> list[str]:
    """A command and, for a group, everything in it."""
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    path = context.command_path
    lines = [f".SS {quoted(path)} {quoted(usage)}", *paragraphs(command.help or command.short_help or ""),
             *options(command, context)]  # fmt: skip
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None and not found.hidden:
                lines += described(inner, found, context)
    return lines


def main() -> int:
    """Print the page."""
    project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"]
    version = project["version"]
    top = click.Context(root, info_name="edgekube")
    lines = [f'.TH EDGEKUBE 8 "" "edgekube {version}" "edgekube"', ".SH NAME",
             "edgekube \\- Kubernetes for edge devices in one process", ".SH SYNOPSIS",
             "\\fBedgekube\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...]", ".SH DESCRIPTION", *paragraphs(root.help or ""),
             ".SH COMMANDS"]  # fmt: skip
    for name in COMMANDS:
        command = root.get_command(top, name)
        assert command is not None
        lines += described(name, command, top)
    lines += [".SH FILES", ".TP", "/etc/edgekube/config.yaml", "Settings; the flags of \\fBedgekube server\\fR without dashes.",
              ".TP", "/etc/edgekube/kubeconfig.yaml", "The administrator's access.", ".TP", "/var/lib/edgekube",
              "Database, keys, images, containers."]  # fmt: skip
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
