"""Events: counted, joined and held back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edgekube.kinds.core.event import Event
from edgekube.kinds.core.references import ObjectReference
from edgekube.reconcile.events import JOINED, Correlator, Speaker
from edgekube.reconcile.plan import Note

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEAKER = Speaker("replicaset-controller")


def note(message: str = "m", name: str = "w", reason: str = "R") -> Note:
    about = ObjectReference(kind="ReplicaSet", namespace="default", name=name, uid=f"uid-{name}", api_version="apps/v1")
    return Note(about, "Normal", reason, message)


def test_the_first_note_is_a_whole_event() -> None:
    event = Correlator().decide(SPEAKER, note(), NOW, 0)
    assert isinstance(event, Event)
    assert event.metadata.name.startswith("w.")
    assert event.metadata.namespace == "default"
    assert (event.count, event.type, event.reason, event.message) == (1, "Normal", "R", "m")
    assert event.source.component == event.reporting_component == "replicaset-controller"
    assert event.first_timestamp == event.last_timestamp == "2026-01-01T00:00:00Z"


def test_the_same_note_again_raises_the_count_of_the_same_event() -> None:
    correlator = Correlator()
    first = correlator.decide(SPEAKER, note(), NOW, 0)
    again = correlator.decide(SPEAKER, note(), NOW + timedelta(seconds=5), 5)
    assert isinstance(first, Event)
    assert again is not None
    assert not isinstance(again, Event)
    assert (again.name, again.count) == (first.metadata.name, 2)


def test_a_tenth_different_message_within_ten_minutes_is_joined() -> None:
    correlator = Correlator()
    events = [correlator.decide(SPEAKER, note(f"m{number}"), NOW, number) for number in range(12)]
    messages = [event.message for event in events if event is not None]
    assert messages[8] == "m8"
    assert messages[9] == f"{JOINED}m9"
    assert not isinstance(events[11], Event)


def test_an_object_that_is_talked_about_too_much_is_slowed_down() -> None:
    correlator = Correlator()
    told = [correlator.decide(SPEAKER, note(), NOW, 0) for _ in range(40)]
    assert sum(event is not None for event in told) == 25
    assert correlator.decide(SPEAKER, note(name="other"), NOW, 0) is not None
    assert correlator.decide(SPEAKER, note(), NOW, 301) is not None


def test_names_differ_even_at_the_same_instant() -> None:
    correlator = Correlator()
    made = [correlator.decide(SPEAKER, note(reason=f"R{number}"), NOW, 0) for number in range(5)]
    assert len({event.metadata.name for event in made if isinstance(event, Event)}) == 5


def test_the_scheduler_writes_the_modern_form() -> None:
    event = Correlator().decide(Speaker("default-scheduler", modern=True, action="Binding"), note(), NOW, 0)
    assert isinstance(event, Event)
    assert event.event_time == "2026-01-01T00:00:00.000000Z"
    assert (event.action, event.reporting_component, event.count, event.first_timestamp) == (
        "Binding",
        "default-scheduler",
        0,
        None,
    )
    assert event.reporting_instance
