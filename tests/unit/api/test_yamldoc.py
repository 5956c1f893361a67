"""YAML bodies as upstream reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.api.yamldoc import YamlError, parse_yaml, plain, strict_words


def test_comments_anchors_block_scalars_and_the_document_marker() -> None:
    text = b"---\n# c\nb: &l {a: b}\na: *l\nx: |\n  l1\n  l2\ny: >-\n  f1\n  f2\nz: 'yes'\n---\nsecond: 1\n"
    assert parse_yaml(text) == ({"a": {"a": "b"}, "b": {"a": "b"}, "true": "f1 f2", "x": "l1\nl2\n", "z": "yes"}, [])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("off", False),
        ("~", None),
        ("2024-01-01", "2024-01-01"),
        ("12:30:45", "12:30:45"),
        ("0644", 420),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1e3", 1000),
        ("0.5", 0.5),
        ("100m", "100m"),
        ("1.2.3", "1.2.3"),
        ("089", 89),
        ("=", "="),
    ],
)
def test_plain_scalars(text: str, value: Any) -> None:
    assert plain(text) == value
    assert type(plain(text)) is type(value)


def test_a_key_given_twice_is_named_with_its_line() -> None:
    document, duplicates = parse_yaml(b"apiVersion: v1\ndata:\n  a: v1\n  a: v2\n")
    assert document == {"apiVersion": "v1", "data": {"a": "v2"}}
    assert duplicates == ['line 4: key "a" already set in map']
    assert strict_words(duplicates) == 'yaml: unmarshal errors:\n  line 4: key "a" already set in map'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{nope: [", "yaml: line 1: did not find expected node content"),
        (b"a: &x [*x]", "yaml: anchor contains itself"),
    ],
)
def test_what_is_not_yaml_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse_yaml(text)
    assert str(caught.value) == words


def test_aliases_cannot_grow_without_end() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]
    with pytest.raises(YamlError, match="excessive aliasing"):
        parse_yaml("\n".join(lines).encode())


def test_merge_keys_fill_in_what_is_not_set() -> None:
    assert parse_yaml(b"base: &b {x: 1, y1: 2}\nz: {<<: *b, x: 3}\n")[0]["z"] == {"x": 3, "y1": 2}


def test_an_empty_body_is_null() -> None:
    assert parse_yaml(b"") == (None, [])


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=8).filter(
    lambda text: not any(0x80 <= ord(letter) < 0xA0 for letter in text)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_is_yaml(value: Any) -> None:
    assert parse_yaml(json.dumps(value).encode())[0] == value
