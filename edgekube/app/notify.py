"""systemd's notification socket: READY, STOPPING, WATCHDOG. Does nothing where systemd did not ask. Source: sd_notify(3)."""

from __future__ import annotations

import os
import socket

import trio


def notify(state: str) -> None:
    """Send one state line, e.g. "READY=1"."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as outgoing:
        try:
            outgoing.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
        except OSError:
            pass  # systemd went away; nothing we could do about it


async def watchdog() -> None:
    """Tell systemd at half its interval that the event loop still turns."""
    interval_us = int(os.environ.get("WATCHDOG_USEC") or 0)
    while interval_us:
        notify("WATCHDOG=1")
        await trio.sleep(interval_us / 2_000_000)
