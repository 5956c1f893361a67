"""How an agent learns whether its server is there, wants it, and what time it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.app.agentmode import Greeting
from edgekube.app.identity import AgentConfig, identity_of
from edgekube.app.renewal import Renewal
from edgekube.clock import BUILT, TrustedClock
from edgekube.errors import ApiError, ConnectionFailed, Forbidden, Unauthorized
from edgekube.net.tls import ClientTls
from edgekube.net.tunnel import ServerEnd

PAGE = {"version": "v1.36.0", "settings": {"a": "b"}, "now": "2028-05-05T00:00:00Z", "certain": "2027-05-05T00:00:00Z"}


class Remote:
    """A client that answers one page, or raises."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        assert (method, path) == ("GET", "/edgekube/v1/agent?version=v1.36.0")
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


class Back(Renewal):
    """A renewal whose coming back is decided by the test."""

    welcome = True

    async def come_back(self) -> bool:
        await trio.lowlevel.checkpoint()
        return self.welcome


@pytest.fixture
def greet(tmp_path: Path) -> Callable[..., tuple[Greeting, TrustedClock]]:
    def make(*, welcome: bool = True) -> tuple[Greeting, TrustedClock]:
        identity = identity_of(tmp_path)
        config = AgentConfig(server="https://gw1:6443", node_name="gw2", data_dir=tmp_path)
        for path in (identity.authority, identity.certificate(), identity.key()):
            identity.put(path, b"x")
        clock = TrustedClock(wall=lambda: BUILT, steady=lambda: 0.0, synchronised=lambda: False)
        renewal = Back(config, identity, clock, ClientTls.__new__(ClientTls), trio.Event())
        renewal.welcome = welcome
        return Greeting(config, renewal, clock), clock

    return make


async def test_a_greeting_teaches_time_and_settings(greet: Any, tmp_path: Path) -> None:
    greeting, clock = greet()
    await greeting(Remote(PAGE))
    assert (clock.now().year, clock.certain().year) == (2028, 2027)
    assert identity_of(tmp_path).read_config().cluster == {"a": "b"}


async def test_a_server_too_far_apart_is_as_good_as_none_and_said_once(
    greet: Any, caplog: pytest.LogCaptureFixture
) -> None:
    greeting, _ = greet()
    words = "the agent is v1.36.0 and the server v1.38.0: they work together at most 1 minor version apart"
    for _ in range(2):
        with pytest.raises(ConnectionFailed, match="at most 1 minor version apart"):
            await greeting(Remote(Forbidden(words)))
    assert [record.getMessage() for record in caplog.records] == [words]
    end = ServerEnd("gw1", 6443)
    with pytest.raises(ConnectionFailed):
        greeting.way(end)
    await greeting(Remote(PAGE))
    assert greeting.way(end) is end


async def test_an_expired_certificate_is_replaced_on_the_way(greet: Any) -> None:
    greeting, clock = greet()
    await greeting(Remote(Unauthorized(), PAGE))
    assert clock.now().year == 2028
    stranger, _ = greet(welcome=False)
    with pytest.raises(ConnectionFailed, match="does not know this machine"):
        await stranger(Remote(Unauthorized()))


async def test_other_refusals_are_the_links_to_judge(greet: Any) -> None:
    greeting, _ = greet()
    with pytest.raises(ApiError):
        await greeting(Remote(ApiError("busy", code=429)))
