"""v1 Event: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, MicroTime, Object, Struct, Time, zero
from edgekube.kinds.core.references import ObjectReference


class EventSeries(Struct):
    count: Int32 = 0
    last_observed_time: MicroTime | None = None


class EventSource(Struct):
    component: str = ""
    host: str = ""


class Event(Object):
    involved_object: ObjectReference = zero(ObjectReference)
    reason: str = ""
    message: str = ""
    source: EventSource = zero(EventSource)
    first_timestamp: Time | None = None
    last_timestamp: Time | None = None
    count: Int32 = 0
    type: str = ""
    event_time: MicroTime | None = None
    series: EventSeries | None = None
    action: str = ""
    related: ObjectReference | None = None
    reporting_component: str = zero(str)
    reporting_instance: str = zero(str)


KIND = Kind(
    type=Event,
    group="",
    version="v1",
    name="Event",
    plural="events",
    singular="event",
    short=("ev",),
)
