"""A machine's own address: kept while it is there, replaced when it is gone for good, never by nonsense."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from edgekube.net.address import OwnAddress, have


class Links:
    """The addresses a machine has, and the one it would choose."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = set(addresses)
        self.chosen = addresses[0]

    def find(self) -> str:
        return self.chosen


async def follow_for(seconds: float, own: OwnAddress) -> None:
    with trio.move_on_after(seconds):
        await own.keep()


async def test_an_address_that_went_away_is_replaced_and_listeners_hear_of_it(autojump_clock: MockClock) -> None:
    links = Links("192.0.2.1")
    own = OwnAddress("192.0.2.1", links.find, links.addresses.__contains__)
    heard: list[str] = []
    own.on_change(lambda: heard.append(own()))
    links.addresses, links.chosen = {"192.0.2.9"}, "192.0.2.9"
    own = OwnAddress("192.0.2.1", links.find, links.addresses.__contains__)
    own.on_change(lambda: heard.append(own()))
    await follow_for(5, own)
    assert own() == "192.0.2.9"
    assert heard == ["192.0.2.9"]


async def test_a_second_address_does_not_push_out_the_first(autojump_clock: MockClock) -> None:
    links = Links("192.0.2.1", "198.51.100.1")
    links.chosen = "198.51.100.1"
    own = OwnAddress("192.0.2.1", links.find, links.addresses.__contains__)
    await follow_for(100, own)
    assert own() == "192.0.2.1"


async def test_a_machine_without_a_link_keeps_its_name_for_itself(autojump_clock: MockClock) -> None:
    links = Links("127.0.0.1")
    own = OwnAddress("192.0.2.1", links.find, links.addresses.__contains__)
    await follow_for(100, own)
    assert own() == "192.0.2.1"


async def test_an_address_that_comes_back_at_once_was_never_gone(autojump_clock: MockClock) -> None:
    links = Links("192.0.2.9")
    answers = iter([False, True])
    own = OwnAddress("192.0.2.1", links.find, lambda address: next(answers, True))
    await follow_for(100, own)
    assert own() == "192.0.2.1"


async def test_an_address_that_comes_late_is_found_without_being_told(autojump_clock: MockClock) -> None:
    links = Links("127.0.0.1")
    own = OwnAddress("192.0.2.1", links.find, lambda address: address in links.addresses)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.keep)
        await trio.sleep(60)
        links.addresses, links.chosen = {"192.0.2.9"}, "192.0.2.9"
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert own() == "192.0.2.9"


async def test_a_given_address_is_never_questioned(autojump_clock: MockClock) -> None:
    own = OwnAddress("192.0.2.1", None, lambda address: False)
    await follow_for(100, own)
    assert own() == "192.0.2.1"


@pytest.mark.parametrize(("address", "here"), [("127.0.0.1", True), ("192.0.2.123", False), ("nonsense", False)])
def test_whether_an_address_is_ours_the_kernel_says(address: str, here: bool) -> None:
    assert have(address) is here
