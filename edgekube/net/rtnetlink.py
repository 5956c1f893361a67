"""Hearing from the kernel that an address or a route of this machine changed.

Messages are not read, only noticed: whoever is told looks for himself. Nothing wakes while nothing changes.
Source: rtnetlink(7).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NoReturn

import trio

ADDRESSES, ROUTES = 0x10, 0x40  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE
MESSAGE_BYTES = 65536


async def hear_changes(tell: Callable[[], None], groups: int = ADDRESSES | ROUTES) -> NoReturn:
    """Call `tell` after every burst of changes, for ever."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as plain:
        plain.bind((0, groups))
        plain.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(plain)
            try:
                while plain.recv(MESSAGE_BYTES):
                    pass
            except BlockingIOError:
                pass
            except OSError:
                pass  # more was told than fits the buffer: something changed, and that is all we say
            tell()
