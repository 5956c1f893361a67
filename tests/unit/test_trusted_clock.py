"""Machines whose clock is wrong by years: what is believed, what is certain, and what is left on disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgekube.clock import BUILT, TrustedClock

TODAY = datetime(2027, 5, 5, tzinfo=UTC)


class Machine:
    """A wall clock that says anything, and one that only counts."""

    def __init__(self, wall: datetime, *, synchronised: bool = False) -> None:
        self.wall, self.synchronised, self.seconds = wall, synchronised, 100.0

    def boot(self, path: Path | None = None) -> TrustedClock:
        return TrustedClock(
            path, wall=lambda: self.wall, steady=lambda: self.seconds, synchronised=lambda: self.synchronised
        )

    def run(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds


def test_a_clock_at_1970_is_lifted_to_what_has_surely_come() -> None:
    clock = Machine(datetime(1970, 1, 1, tzinfo=UTC)).boot()
    assert clock.now() == clock.certain() == BUILT


def test_a_clock_that_may_be_right_is_used_but_makes_nothing_certain() -> None:
    machine = Machine(TODAY)
    clock = machine.boot()
    assert (clock.now(), clock.certain()) == (TODAY, BUILT)
    machine.run(3600)
    assert clock.certain() == BUILT + timedelta(hours=1)


def test_a_clock_that_is_synchronised_is_certain() -> None:
    clock = Machine(TODAY, synchronised=True).boot()
    assert clock.now() == clock.certain() == TODAY


def test_a_clock_decades_ahead_is_not_believed() -> None:
    clock = Machine(datetime(2099, 1, 1, tzinfo=UTC)).boot()
    assert clock.now() == BUILT


def test_the_floor_outlives_a_restart_and_never_sinks(tmp_path: Path) -> None:
    path = tmp_path / "time"
    first = Machine(TODAY, synchronised=True)
    first.boot(path).write()
    second = Machine(datetime(1970, 1, 1, tzinfo=UTC)).boot(path)
    assert second.now() == second.certain() == TODAY
    second.write()
    assert Machine(BUILT).boot(path).certain() == TODAY


def test_a_clock_years_ahead_for_a_while_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "time"
    wrong = Machine(TODAY + timedelta(days=5 * 365))
    clock = wrong.boot(path)
    assert clock.now() == wrong.wall
    wrong.run(60)
    clock.write()
    corrected = Machine(TODAY).boot(path)
    assert (corrected.now(), corrected.certain()) == (TODAY, BUILT + timedelta(seconds=60))


def test_a_servers_time_is_used_and_counts_on() -> None:
    machine = Machine(datetime(2033, 1, 1, tzinfo=UTC))
    clock = machine.boot()
    clock.learn(TODAY, TODAY)
    machine.run(30)
    machine.wall -= timedelta(days=9000)
    assert clock.now() == clock.certain() == TODAY + timedelta(seconds=30)


def test_a_server_that_is_years_ahead_does_not_make_its_certificate_expire(tmp_path: Path) -> None:
    clock = Machine(BUILT).boot(tmp_path / "time")
    clock.learn(TODAY + timedelta(days=3650), TODAY)
    assert clock.now() == TODAY + timedelta(days=3650)
    assert clock.certain() == TODAY
    clock.learn(TODAY, TODAY - timedelta(days=1))
    assert (clock.now(), clock.certain()) == (TODAY, TODAY)


def test_a_damaged_floor_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "time"
    path.write_text("soon\n")
    assert Machine(BUILT).boot(path).certain() == BUILT
