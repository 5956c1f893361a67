"""The agent's unit file: what `join` writes is what the package ships, and every setting there has its reason."""

from __future__ import annotations

from pathlib import Path

from edgekube.app.service import SETTINGS, USUAL_COMMAND, agent_command

SHIPPED = Path(__file__).parents[3] / "systemd" / "edgekube-agent.service"


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_written_unit_is_the_shipped_one() -> None:
    assert settings(SHIPPED.read_text()) == settings(SETTINGS.format(command=USUAL_COMMAND))
    assert SHIPPED.read_text().count("#") >= 6


def test_another_data_directory_is_named() -> None:
    usual, other = Path("/var/lib/edgekube"), Path("/data/edgekube")
    assert agent_command(usual, usual).endswith(" agent")
    assert agent_command(other, usual).endswith(" agent --data-dir /data/edgekube")
