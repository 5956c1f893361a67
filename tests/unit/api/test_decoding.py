"""Decoding in Go's words: syntax, types, unknown and duplicate fields, nulls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.api import decoding
from edgekube.api.gojson import syntax_error
from edgekube.errors import BadRequest
from edgekube.kinds.catalog import built_in

KINDS = {kind.name: kind for kind in built_in()}


def wrong(kind: str, document: dict[str, Any]) -> str:
    with pytest.raises(BadRequest) as caught:
        decoding.decode(KINDS[kind], document)
    return caught.value.message.partition(f"cannot be handled as a {kind}: ")[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{nope", "invalid character 'n' looking for beginning of object key string"),
        ("", "unexpected end of JSON input"),
        ("{} trailing", "invalid character 't' after top-level value"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ('"\\x"', "invalid character 'x' in string escape code"),
        ('"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        ('"\n"', "invalid character '\\n' in string literal"),
        ("nul", "unexpected end of JSON input"),
        ("-a", "invalid character 'a' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e+", "unexpected end of JSON input"),
        ("01", "invalid character '1' after top-level value"),
    ],
)
def test_bad_json_is_refused_in_gos_words(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        decoding.parse_json(text.encode())
    assert str(caught.value) == words


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON, st.booleans())
def test_the_scanner_accepts_what_is_json(value: Any, spaced: bool) -> None:
    text = json.dumps(value, indent=2 if spaced else None).encode()
    assert syntax_error(text) is None
    assert decoding.parse_json(text) == value


@given(JSON, st.data())
def test_the_scanner_finds_fault_with_every_cut_object(value: Any, data: st.DataObject) -> None:
    text = json.dumps({"a": value}).encode()
    cut = data.draw(st.integers(0, len(text) - 1))
    assert syntax_error(text[:cut]) == "unexpected end of JSON input"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{nope", "json parse error: invalid character 'n' looking for beginning of object key string ({nope)"),
        (b"", "json parse error: unexpected end of JSON input (<empty>)"),
        (b'{"apiVersion":1,"kind":"ConfigMap"}', '.apiVersion of type string ({"apiVersion":1,"kind":"Config ...)'),
        (b"[]", ' Kind string "json:\\"kind,omitempty\\"" } (5b5d)'),
    ],
)
def test_a_body_without_a_kind_is_unrecognized(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoding.parse_object(body, "ConfigMap")
    start = (
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "
    )
    assert caught.value.message.startswith(start)
    assert caught.value.message.endswith(words)


@pytest.mark.parametrize(
    ("kind", "document", "words"),
    [
        ("ConfigMap", {"metadata": "x"}, "string into Go struct field ConfigMap.metadata of type v1.ObjectMeta"),
        ("ConfigMap", {"data": "x"}, "string into Go struct field ConfigMap.data of type map[string]string"),
        ("ConfigMap", {"data": {"a": 1}}, "number into Go struct field ConfigMap.data of type string"),
        ("ConfigMap", {"immutable": "true"}, "string into Go struct field ConfigMap.immutable of type bool"),
        (
            "Pod",
            {"spec": {"containers": {}}},
            "object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "Pod",
            {"spec": {"containers": [{"image": 1}]}},
            "number into Go struct field Container.spec.containers.image of type string",
        ),
        (
            "Pod",
            {"spec": {"activeDeadlineSeconds": "1"}},
            "string into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
        ),
        ("Service", {"spec": {"type": 1}}, "number into Go struct field ServiceSpec.spec.type of type v1.ServiceType"),
        (
            "Namespace",
            {"spec": {"finalizers": [1]}},
            "number into Go struct field NamespaceSpec.spec.finalizers of type v1.FinalizerName",
        ),
        (
            "Pod",
            {"spec": {"overhead": "x"}},
            "string into Go struct field PodSpec.spec.overhead of type v1.ResourceList",
        ),
        (
            "Service",
            {"spec": {"ports": [{"port": 80.5}]}},
            "number 80.5 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            "Service",
            {"spec": {"ports": [{"port": 99999999999}]}},
            "number 99999999999 into Go struct field ServicePort.spec.ports.port of type int32",
        ),
        (
            "Service",
            {"spec": {"ports": [{"port": 80, "targetPort": True}]}},
            "bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
    ],
)
def test_a_wrong_type_is_refused_in_gos_words(kind: str, document: dict[str, Any], words: str) -> None:
    assert wrong(kind, document) == f"json: cannot unmarshal {words}"


def test_scalars_that_read_their_own_text_say_what_is_wrong() -> None:
    assert wrong("ConfigMap", {"metadata": {"creationTimestamp": "nope"}}) == (
        'parsing time "nope" as "2006-01-02T15:04:05Z07:00": cannot parse "nope" as "2006"'
    )
    assert wrong("ConfigMap", {"binaryData": {"a": "@@"}}) == "illegal base64 data at input byte 0"
    limits = {"limits": {"cpu": "x"}}
    assert wrong("Pod", {"spec": {"containers": [{"name": "a", "resources": limits}]}}).startswith(
        "quantities must match"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2024-01-02T03:04:05Z", None),
        ("2024-01-02T03:04:05.123+02:00", None),
        ("2024-13-02T03:04:05Z", 'parsing time "2024-13-02T03:04:05Z": month out of range'),
        ("2023-02-29T03:04:05Z", 'parsing time "2023-02-29T03:04:05Z": day out of range'),
        (
            "2024-01-02",
            'parsing time "2024-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"',
        ),
        ("2024-01-02T03:04:05Zx", 'parsing time "2024-01-02T03:04:05Zx": extra text: "x"'),
    ],
)
def test_times_are_refused_in_gos_words(text: str, words: str | None) -> None:
    assert decoding.time_error(text) == words


def test_null_leaves_the_zero_value() -> None:
    config = decoding.decode(
        KINDS["ConfigMap"],
        {"metadata": {"name": "a", "labels": None, "annotations": {"a": None}}, "data": None, "immutable": None},
    )
    assert config.metadata.annotations == {"a": ""}
    assert config.data == {}
    service = decoding.decode(
        KINDS["Service"], {"spec": {"type": None, "ports": [{"port": 80, "protocol": None}, None]}}
    )
    assert [port.port for port in service.spec.ports] == [80, 0]


def strict(kind: str, body: str) -> list[str]:
    data = body.encode()
    return decoding.unknown_and_duplicate_fields(decoding.parse_json(data), KINDS[kind].type, data)


def test_unknown_fields_are_named_in_the_bodys_order() -> None:
    body = '{"metadata":{"bar":"y"},"foo":"x","spec":{"ports":[{"port":80,"nope":1}],"nope":"x"}}'
    assert strict("Service", body) == [
        'unknown field "metadata.bar"',
        'unknown field "foo"',
        'unknown field "spec.ports[0].nope"',
        'unknown field "spec.nope"',
    ]


def test_duplicate_fields_are_named() -> None:
    assert strict("ConfigMap", '{"data":{"a":"1","a":"2"},"x":1,"x":2}') == [
        'duplicate field "data.a"',
        'unknown field "x"',
    ]
    assert strict("ConfigMap", '{"data":{"a":"{\\"b\\":1,\\"b\\":2}"}}') == []


def test_a_clean_body_has_no_strict_problems() -> None:
    body = '{"spec": {"template": {"spec": {"containers": [{"name": "a", "env": [{"name": "B", "value": "\\":"}]}]}}}}'
    assert strict("Deployment", body) == []


def test_line_breaks_in_base64_are_skipped_as_go_does() -> None:
    from edgekube.kinds.core import secret

    read = decoding.decode(secret.KIND, {"metadata": {"name": "s"}, "data": {"a": "aGVs\r\nbG8=\n"}})
    assert read.data == {"a": b"hello"}
