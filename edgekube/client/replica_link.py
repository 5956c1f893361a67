"""Whether the server can be reached: asked when in doubt, remembered, and told to who waits for it.

A request that fails to connect, or that is not answered for a while, raises a doubt; a small request of our own then settles it. While
the line is down requests fail at once instead of each finding out for itself, and those under way are given up. What is asked, and
what an answer means to whom, is not known here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio

from edgekube.clock import Clock
from edgekube.errors import ApiError, ConnectionFailed, EdgekubeError, Offline

T = TypeVar("T")

PATIENCE_S = 10.0  # a request may take this long before we ask whether anybody is there
PROBE_S = 8.0  # the time a sign of life has
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0  # a server that is back is found within this
AWAY = frozenset({502, 503, 504})  # a server that answers so is as good as none

log = logging.getLogger("edgekube.link")


def is_away(error: ApiError | ConnectionFailed) -> bool:
    """Whether a failure means that the server could not be asked, not that it said no."""
    return isinstance(error, ConnectionFailed) or error.code in AWAY


class Link:
    """The way to the server. `probe` asks for a sign of life; `keep` is the task that looks after it."""

    def __init__(self, probe: Callable[[], Awaitable[object]], clock: Clock) -> None:
        self._probe, self._clock = probe, clock
        self.online = True  # until something fails; the first look is at once
        self._asked: dict[trio.CancelScope, float] = {}
        self._held: set[trio.CancelScope] = set()
        self._doubted = True
        self._checked_at = float("-inf")
        self._stir = trio.Event()
        self._turned = trio.Event()

    async def wait_online(self) -> None:
        """Until the server can be reached."""
        while not self.online:
            await self._turned.wait()

    async def wait_offline(self) -> None:
        """Until it cannot."""
        while self.online:
            await self._turned.wait()

    def look(self) -> None:
        """Somebody saw a sign that the line broke, or is back: find out now."""
        self._doubted = True
        self._stir.set()

    async def ask(self, request: Callable[[], Awaitable[T]]) -> T:
        """Do a request. Raises Offline when the line is down (or goes down while waiting), and what the request raises."""
        if not self.online:
            await trio.lowlevel.checkpoint()
            raise Offline("the server cannot be reached")
        if not self._asked:
            self._stir.set()
        with trio.CancelScope() as scope:
            self._asked[scope] = trio.current_time()
            try:
                return await request()
            except (ApiError, ConnectionFailed) as error:
                if is_away(error):
                    self.look()
                raise
            finally:
                del self._asked[scope]
        raise Offline("the line broke before the server answered")

    @contextmanager
    def while_up(self) -> Iterator[trio.CancelScope]:
        """A scope that is cancelled when the line goes down, for what would hang on after that."""
        with trio.CancelScope() as scope:
            self._held.add(scope)
            try:
                yield scope
            finally:
                self._held.discard(scope)

    async def keep(self) -> None:
        """Look whenever there is doubt, and while the line is down."""
        while True:
            await self._wait_for_doubt()
            if not await self._is_reached():
                self._turn(False)
                pause_s = FIRST_PAUSE_S
                while not await self._is_reached():
                    with trio.move_on_after(pause_s * (1 - self._clock.chance() / 4)):
                        await self._stirred()
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                self._turn(True)

    async def _wait_for_doubt(self) -> None:
        while not self._doubted:
            oldest = min(self._asked.values(), default=float("inf"))
            with trio.move_on_at(max(oldest, self._checked_at) + PATIENCE_S) as waiting:
                await self._stirred()
            if waiting.cancelled_caught:
                return

    async def _stirred(self) -> None:
        await self._stir.wait()
        self._stir = trio.Event()

    async def _is_reached(self) -> bool:
        self._doubted = False
        self._stir = trio.Event()
        with trio.move_on_after(PROBE_S):
            try:
                await self._probe()
                reached = True
            except ApiError as error:
                reached = not is_away(error)
            except EdgekubeError:
                reached = False
            self._checked_at = trio.current_time()
            return reached
        return False

    def _turn(self, online: bool) -> None:
        log.info("the server can be reached again" if online else "the server cannot be reached: going on without it")
        self.online = online
        self._turned.set()
        self._turned = trio.Event()
        if not online:
            for scope in (*self._asked, *self._held):
                scope.cancel()
