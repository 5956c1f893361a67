"""This machine's address as it is now. A node is its key, not its address: what a DHCP server gives tomorrow is taken up as it comes.

The address in use stays as long as this machine has it, whatever the routes say (links come and go); only when it is gone, another
one is looked for, and nothing is believed that is not there twice.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import NoReturn

import trio

from edgekube.net.rtnetlink import hear_changes

LOG = logging.getLogger("edgekube.address")
SETTLE_S = 1.0
LOOK_S = 30.0  # should the kernel's word be missed


def have(address: str) -> bool:
    """Whether this machine has an IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound:
        try:
            unbound.bind((address, 0))
        except OSError:
            return False
    return True


class OwnAddress:
    """Call it for the address now. `find` looks for another one once the present one is gone; without it the address is fixed."""

    def __init__(self, address: str, find: Callable[[], str] | None = None, mine: Callable[[str], bool] = have) -> None:
        self._address, self._find, self._mine = address, find, mine
        self._told = trio.Event()
        self._listeners: list[Callable[[], None]] = []

    def __call__(self) -> str:
        return self._address

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after every change."""
        self._listeners.append(listener)

    def touch(self) -> None:
        """Look soon."""
        self._told.set()

    async def watch(self) -> NoReturn:
        """Keep the address true, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_changes, self.touch)
            await self.keep()
        raise AssertionError("unreachable")

    async def keep(self) -> NoReturn:
        """As `watch`, hearing of changes from `touch` alone."""
        while True:
            self._told = trio.Event()
            await self._look()
            with trio.move_on_after(LOOK_S):
                await self._told.wait()

    async def _look(self) -> None:
        if self._find is None or self._mine(self._address):
            return
        found = self._find()
        await trio.sleep(SETTLE_S)
        if self._mine(self._address) or found != self._find() or found.startswith("127.") or not self._mine(found):
            if not self._mine(self._address):
                self._told.set()  # still on the way: look again at once
                await trio.sleep(SETTLE_S)
            return
        LOG.warning("this machine's address was %s and is %s now", self._address, found)
        self._address = found
        for listener in self._listeners:
            listener()
