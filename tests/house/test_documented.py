"""What a person can type is written down where a person looks."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click

from edgekube import VERSION
from edgekube.app.config import OPTIONS
from edgekube.cli.main import COMMANDS, root

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_version_is_the_same_wherever_it_stands() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


def test_every_setting_is_in_the_readme() -> None:
    assert [option.name for option in OPTIONS if f"`--{option.name}`" not in README] == []


def test_every_command_is_in_the_readme_and_shows_an_example() -> None:
    context = click.Context(root)
    for name in COMMANDS:
        assert name in README, name
        command = root.get_command(context, name)
        assert command is not None
        assert command.help, name
        if name != "version":
            assert f"edgekube {name}" in command.help, f"{name} --help shows no example"


def test_every_setting_of_the_unit_file_has_its_reason() -> None:
    unit = (Path(__file__).parents[2] / "systemd" / "edgekube.service").read_text()
    assert unit.count("#") >= 6
    assert "ExecStart=/usr/bin/edgekube server" in unit
