"""events.k8s.io/v1 Event: its types and rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Keeping, Kind
from edgekube.api.meta import Int32, MicroTime, Object, Struct, Time, null, zero
from edgekube.kinds.core import event as core
from edgekube.kinds.core.references import ObjectReference


class EventSeries(Struct):
    count: Int32 = zero(int)
    last_observed_time: MicroTime | None = null()


class Event(Object):
    event_time: MicroTime | None = null()
    series: EventSeries | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    regarding: ObjectReference = zero(ObjectReference)
    related: ObjectReference | None = None
    note: str = ""
    type: str = ""
    deprecated_source: core.EventSource = zero(core.EventSource)
    deprecated_first_timestamp: Time | None = null()
    deprecated_last_timestamp: Time | None = null()
    deprecated_count: Int32 = 0


_TO_CORE = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROM_CORE = {core: name for name, core in _TO_CORE.items()}


def to_core(document: dict[str, Any]) -> dict[str, Any]:
    """The same event as core/v1 stores it: other names, and the reporter always written."""
    made = {_TO_CORE.get(name, name): value for name, value in document.items()}
    return {"reportingComponent": "", "reportingInstance": "", **made, "apiVersion": "v1"}


def from_core(document: dict[str, Any]) -> dict[str, Any]:
    """A stored core/v1 event in this group's names."""
    made = {_FROM_CORE.get(name, name): value for name, value in document.items()}
    for name in ("reportingController", "reportingInstance"):
        if not made.get(name):
            made.pop(name, None)
    return {**made, "apiVersion": "events.k8s.io/v1"}


def stored_form(event: Event) -> core.Event:
    """The same event as a core/v1 object."""
    series = event.series
    return core.Event(
        metadata=event.metadata,
        involved_object=event.regarding,
        reason=event.reason,
        message=event.note,
        source=event.deprecated_source,
        first_timestamp=event.deprecated_first_timestamp,
        last_timestamp=event.deprecated_last_timestamp,
        count=event.deprecated_count,
        type=event.type,
        event_time=event.event_time,
        series=None
        if series is None
        else core.EventSeries(count=series.count, last_observed_time=series.last_observed_time),
        action=event.action,
        related=event.related,
        reporting_component=event.reporting_controller,
        reporting_instance=event.reporting_instance,
    )


def _as_core(column: Column) -> Column:
    """The same cell, from the same event in its stored form."""

    def value(event: Event, now: str) -> Any:
        return column.value(stored_form(event), now)

    return replace(column, value=value)


EVENT_TYPES = ("Normal", "Warning")


def event_rules(event: Event) -> list[FieldError]:
    """As of the stored form; a new one says when, and keeps off the members of the old form."""
    broken = core.KIND.rules(stored_form(event))
    if event.metadata.resource_version:
        return broken
    found: list[FieldError] = []
    if event.event_time is None:
        found.append(rules.required("eventTime"))
    if event.type not in EVENT_TYPES:
        found.append(rules.invalid("type", "", f"has invalid value: {event.type}"))
    for member, given in (
        ("firstTimestamp", event.deprecated_first_timestamp is not None),
        ("lastTimestamp", event.deprecated_last_timestamp is not None),
        ("count", event.deprecated_count != 0),
        ("source", event.deprecated_source != core.EventSource()),
    ):
        if given:
            found.append(rules.invalid(member, "", "needs to be unset"))
    return found + broken


def event_update_rules(new: Event, old: Event) -> list[FieldError]:
    """Only the series grows."""
    broken: list[FieldError] = []
    for member in ("regarding", "reason", "note", "type", "event_time", "action", "related"):
        shown = dict(zip(Event.__struct_fields__, Event.__struct_encode_fields__, strict=True))[member]
        core = _TO_CORE.get(shown, shown)
        broken += rules.same(core, getattr(new, member), getattr(old, member))
    broken += rules.same("reportingController", new.reporting_controller, old.reporting_controller)
    return broken + rules.same("reportingInstance", new.reporting_instance, old.reporting_instance)


KIND = Kind(
    type=Event,
    group="events.k8s.io",
    version="v1",
    name="Event",
    plural="events",
    singular="event",
    short=("ev",),
    keeping=Keeping.COALESCED,
    generation=False,
    stored_as=("", "v1"),
    to_stored=to_core,
    from_stored=from_core,
    allow_create_on_update=True,
    selectable={
        "regarding.kind": lambda event: event.regarding.kind,
        "regarding.namespace": lambda event: event.regarding.namespace,
        "regarding.name": lambda event: event.regarding.name,
        "regarding.uid": lambda event: event.regarding.uid,
        "regarding.apiVersion": lambda event: event.regarding.api_version,
        "regarding.resourceVersion": lambda event: event.regarding.resource_version,
        "regarding.fieldPath": lambda event: event.regarding.field_path,
        "reason": lambda event: event.reason,
        "reportingController": lambda event: event.reporting_controller,
        "type": lambda event: event.type,
    },
    columns=tuple(_as_core(column) for column in core.KIND.columns),
    rules=event_rules,
    update_rules=event_update_rules,
)
