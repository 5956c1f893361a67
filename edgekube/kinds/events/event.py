"""events.k8s.io/v1 Event: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, MicroTime, Object, Struct, Time, zero
from edgekube.kinds.core.event import EventSource
from edgekube.kinds.core.references import ObjectReference


class EventSeries(Struct):
    count: Int32 = zero(int)
    last_observed_time: MicroTime | None = None


class Event(Object):
    event_time: MicroTime | None = None
    series: EventSeries | None = None
    reporting_controller: str = ""
    reporting_instance: str = ""
    action: str = ""
    reason: str = ""
    regarding: ObjectReference = zero(ObjectReference)
    related: ObjectReference | None = None
    note: str = ""
    type: str = ""
    deprecated_source: EventSource = zero(EventSource)
    deprecated_first_timestamp: Time | None = None
    deprecated_last_timestamp: Time | None = None
    deprecated_count: Int32 = 0


KIND = Kind(
    type=Event,
    group="events.k8s.io",
    version="v1",
    name="Event",
    plural="events",
    singular="event",
    short=("ev",),
)
