"""The protobuf form and the JSON form of every stable kind are the same object, both ways; noise never breaks the decoder.

The recorded pairs stand beside the checkout; where they are not at hand, only the rest is tested.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.errors import ProtocolError
from edgekube.kinds.catalog import built_in
from edgekube.wire import k8s_protobuf
from edgekube.wire.k8s_protobuf_table import MESSAGES
from edgekube.wire.protobuf_bytes import sized

PAIRS = Path(__file__).parents[4] / "shared" / "spec" / "roundtrip"
NAMES = sorted(path.stem for path in PAIRS.glob("*.pb"))


@dataclass
class Name:
    api_version: str
    name: str


WATCH_EVENT = Name("v1", "WatchEvent")  # alone in that its envelope does not say what it is


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_object_is_the_same_in_both_forms(name: str) -> None:
    document = json.loads((PAIRS / f"{name}.json").read_bytes())
    envelope = (PAIRS / f"{name}.pb").read_bytes()
    kind = WATCH_EVENT if name == "core.v1.WatchEvent" else None
    decoded = k8s_protobuf.decode(envelope, kind)
    if kind:
        decoded = {key: value for key, value in decoded.items() if key not in ("kind", "apiVersion")}
        assert decoded == document
    else:
        assert decoded == document
        assert k8s_protobuf.encode(decoded) == envelope
        assert k8s_protobuf.encode(document) == envelope


def test_every_built_in_kind_and_its_list_has_a_protobuf_form() -> None:
    for kind in built_in():
        assert k8s_protobuf.known(kind.api_version, kind.name), kind.name
    assert k8s_protobuf.known("v1", "PodList")
    assert k8s_protobuf.known("apps/v1", "DeleteOptions")
    assert not k8s_protobuf.known("example.com/v1", "CronTab")


def test_every_message_of_the_table_compiles_and_survives_being_empty() -> None:
    for package, messages in MESSAGES.items():
        for name in messages:
            message = k8s_protobuf._message(f"{package}.{name}")
            if name == "JSONSchemaProps":
                continue
            empty = message.read(data := message.write({}), 0, len(data))
            assert message.write(empty) == data, name


def test_zero_values_stand_in_protobuf_but_not_in_json() -> None:
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}
    envelope = k8s_protobuf.encode(pod)
    assert b"\x42\x00" in envelope  # an empty creationTimestamp
    assert k8s_protobuf.decode(envelope) == pod


def test_lists_carry_their_items_without_their_kind() -> None:
    items = [
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": str(n)}, "data": {"b": "2", "a": "1"}}
        for n in (1, 2)
    ]
    document = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items}
    bare = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
    assert k8s_protobuf.decode(k8s_protobuf.encode(document)) == {**document, "items": bare}


def test_a_watch_event_is_framed_around_a_whole_envelope() -> None:
    envelope = k8s_protobuf.encode({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n"}})
    frame = k8s_protobuf.frame_event("ADDED", envelope)
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    event = k8s_protobuf._message("meta.WatchEvent").read(frame, 4, len(frame))
    assert (event["type"], event["object"]["metadata"]) == ("ADDED", {"name": "n"})


def test_what_is_not_an_envelope_is_refused() -> None:
    with pytest.raises(ProtocolError, match="expected prefix"):
        k8s_protobuf.decode(b"{}")
    with pytest.raises(ProtocolError, match=r'no kind "CronTab" is registered for version "example\.com/v1"'):
        k8s_protobuf.decode(b"k8s\0\x0a\x19\x0a\x0eexample.com/v1\x12\x07CronTab")
    with pytest.raises(KeyError):
        k8s_protobuf.encode({"kind": "CronTab", "apiVersion": "example.com/v1"})


def test_deep_nesting_is_refused_and_does_not_exhaust_the_stack() -> None:
    inner = b""
    for _ in range(3000):
        inner = sized(28 << 3 | 2, inner)
    version = sized(0x22, sized(0x0A, inner))
    spec = sized(0x12, sized(0x3A, version))
    type_meta = b"\x0a\x17apiextensions.k8s.io/v1\x12\x18CustomResourceDefinition"
    with pytest.raises(ProtocolError, match="nested too deeply"):
        k8s_protobuf.decode(b"k8s\0" + sized(0x0A, type_meta) + sized(0x12, spec))


@pytest.mark.parametrize("kind", ["Pod", "Service", "Node", "Secret"])
@given(noise=st.binary(max_size=200), at=st.integers(0, 400), cut=st.integers(0, 400))
def test_noise_decodes_to_something_or_is_refused(kind: str, noise: bytes, at: int, cut: int) -> None:
    good = k8s_protobuf.encode({"kind": kind, "apiVersion": "v1", "metadata": {"name": "n", "labels": {"a": "b"}}})
    for data in (good[:at] + noise + good[at:], good[:cut], good[:24] + noise):
        made: Any = {}
        try:
            made = k8s_protobuf.decode(data)
        except ProtocolError:
            continue
        assert isinstance(made, dict)
