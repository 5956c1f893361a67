"""v1 Event: what happened to an object, told once or counted. events.k8s.io/v1 is another form of the same objects."""

from __future__ import annotations

from dataclasses import replace

from edgekube.api import names, rules
from edgekube.api.durations import age
from edgekube.api.kind import Column, FieldError, Keeping, Kind
from edgekube.api.meta import Int32, MicroTime, Object, Struct, Time, null, zero
from edgekube.kinds.core.printing import NAME, described
from edgekube.kinds.core.references import ObjectReference


class EventSeries(Struct):
    """How often an event has been seen, and when last."""

    count: Int32 = 0
    last_observed_time: MicroTime | None = null()


class EventSource(Struct):
    """Who reported an event."""

    component: str = ""
    host: str = ""


class Event(Object):
    """Something that happened to an object."""

    involved_object: ObjectReference = zero(ObjectReference)
    reason: str = ""
    message: str = ""
    source: EventSource = zero(EventSource)
    first_timestamp: Time | None = null()
    last_timestamp: Time | None = null()
    count: Int32 = 0
    type: str = ""
    event_time: MicroTime | None = null()
    series: EventSeries | None = None
    action: str = ""
    related: ObjectReference | None = None
    reporting_component: str = zero(str)
    reporting_instance: str = zero(str)


def source_component(event: Event) -> str:
    """Who reported it, whichever of the two APIs was used."""
    return event.source.component or event.reporting_component


def _source(event: Event, _now: str) -> str:
    component, host = source_component(event), event.source.host or event.reporting_instance
    return f"{component}, {host}" if host else component


def _first_seen(event: Event, now: str) -> str:
    return age(event.first_timestamp or event.event_time, now)


def _last_seen(event: Event, now: str) -> str:
    if event.series is not None:
        return age(event.series.last_observed_time, now)
    return age(event.last_timestamp, now) if event.last_timestamp else _first_seen(event, now)


def _object(event: Event, _now: str) -> str:
    about = event.involved_object
    return f"{about.kind.lower()}/{about.name}" if about.name else about.kind.lower()


def _count(event: Event, _now: str) -> int:
    return event.series.count if event.series is not None else event.count or 1


WORD_MAX_BYTES, MESSAGE_MAX_BYTES = 128, 1024
NAMESPACE_WORDS = "does not match event.namespace"


def broken_rules(event: Event) -> list[FieldError]:
    """An event lives with what it is about; one with an `eventTime` is held to more."""
    broken = _namespace(event)
    if event.event_time is None:
        return broken
    name = event.reporting_component
    if not name:
        broken.append(rules.required("reportingComponent"))
    broken += rules.each("reportingComponent", name, names.qualified_name(name))
    for member, text, most in (
        ("reportingInstance", event.reporting_instance, WORD_MAX_BYTES),
        ("action", event.action, WORD_MAX_BYTES),
        ("reason", event.reason, WORD_MAX_BYTES),
        ("message", event.message, MESSAGE_MAX_BYTES),
    ):
        if not text and member != "message":
            broken.append(rules.required(member))
        if len(text.encode()) > most:
            broken.append(rules.invalid(member, "", f"can have at most {most} characters"))
    return broken


def _namespace(event: Event) -> list[FieldError]:
    own, about = event.metadata.namespace, event.involved_object.namespace
    if about:
        fits = own == about or event.event_time is not None
    else:  # things without a namespace are reported where everybody looks
        fits = own in ("", "default", "kube-system" if event.event_time is not None else "default")
    return [] if fits else [rules.invalid("involvedObject.namespace", about, NAMESPACE_WORDS)]


KIND = Kind(
    type=Event,
    group="",
    version="v1",
    name="Event",
    plural="events",
    singular="event",
    short=("ev",),
    generation=False,
    keeping=Keeping.COALESCED,
    allow_create_on_update=True,
    selectable={
        "involvedObject.kind": lambda event: event.involved_object.kind,
        "involvedObject.namespace": lambda event: event.involved_object.namespace,
        "involvedObject.name": lambda event: event.involved_object.name,
        "involvedObject.uid": lambda event: event.involved_object.uid,
        "involvedObject.apiVersion": lambda event: event.involved_object.api_version,
        "involvedObject.resourceVersion": lambda event: event.involved_object.resource_version,
        "involvedObject.fieldPath": lambda event: event.involved_object.field_path,
        "reason": lambda event: event.reason,
        "reportingComponent": lambda event: event.reporting_component,
        "source": source_component,
        "type": lambda event: event.type,
    },
    columns=described(
        "events",
        Column("Last Seen", "string", _last_seen),
        Column("Type", "string", lambda item, _: item.type),
        Column("Reason", "string", lambda item, _: item.reason),
        Column("Object", "string", _object),
        Column("Subobject", "string", lambda item, _: item.involved_object.field_path, priority=1),
        Column("Source", "string", _source, priority=1),
        Column("Message", "string", lambda item, _: item.message.strip()),
        Column("First Seen", "string", _first_seen, priority=1),
        Column("Count", "string", _count, priority=1),
        replace(NAME, priority=1),
    ),
    rules=broken_rules,
)
