"""How the process speaks to systemd and to people."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from edgekube.app import logs
from edgekube.app.notify import notify, watchdog


@pytest.fixture(name="systemd")
def _systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    path = tmp_path / "notify"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(path))
    listening.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    return listening


def test_systemd_hears_the_state(systemd: socket.socket) -> None:
    with systemd:
        notify("READY=1")
        assert systemd.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")


async def test_the_watchdog_is_fed_at_half_its_interval(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    with systemd:
        with trio.move_on_after(12):
            await watchdog()
        assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        with pytest.raises(BlockingIOError):
            systemd.recv(100)


@pytest.fixture(name="quiet_again")
def _quiet_again() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("quiet_again")
def test_every_line_says_which_component_speaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.set_up("text")
    logging.getLogger("edgekube.node.images").warning("two\nlines")
    assert capsys.readouterr().err.rstrip().endswith("node.images: warning: two | lines")
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    logs.set_up("text")
    logging.getLogger("edgekube.proxy").error("bad")
    assert capsys.readouterr().err == "<3>proxy: bad\n"
    logs.set_up("json")
    logging.getLogger("edgekube").info("up")
    line = json.loads(capsys.readouterr().err)
    assert (line["component"], line["level"], line["message"]) == ("server", "info", "up")
