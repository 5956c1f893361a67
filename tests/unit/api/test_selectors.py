"""Label and field selectors against upstream's grammar and words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.api import selectors
from edgekube.api.meta import LabelSelector, LabelSelectorRequirement
from edgekube.api.selectors import from_label_selector, from_map, parse_fields, parse_labels

NAMES = st.from_regex(r"[a-z]([a-z0-9]{0,5}[a-z0-9])?", fullmatch=True).filter(lambda name: name not in ("in", "notin"))


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a=", {"a": ""}, True),
        ("a", {"a": "x"}, True),
        ("!a", {"a": "x"}, False),
        ("! a", {}, True),
        ("a in (b, c)", {"a": "c"}, True),
        ("a notin (b,c)", {"a": "d"}, True),
        ("a in (,b)", {"a": ""}, True),
        ("a in ()", {"a": ""}, True),
        ("a,b!=c", {"a": "1", "b": "c"}, False),
        ("n>5", {"n": "6"}, True),
        ("n<5", {"n": "6"}, False),
        ("n>5", {"n": "x"}, False),
        ("in in (in)", {"in": "in"}, True),
    ],
)
def test_a_label_selector_is_asked_of_labels(text: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_labels(text).matches(labels) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a nope (b)", "unable to parse requirement: found 'nope', expected: in, notin, =, ==, !=, gt, lt"),
        (
            "n>a",
            'unable to parse requirement: values[0]: Invalid value: "a": '
            "for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
    ],
)
def test_a_malformed_label_selector_is_refused_in_upstreams_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        parse_labels(text)


def test_a_bad_label_value_names_its_place() -> None:
    with pytest.raises(
        ValueError, match=r"^unable to parse requirement: values\[0\]\[x\]: Invalid value: \"a_\$\": a valid"
    ):
        parse_labels("x=a_$")


def test_no_label_selector_matches_nothing_and_an_empty_one_everything() -> None:
    assert not from_label_selector(None).matches({})
    assert from_label_selector(LabelSelector()).matches({"a": "b"})


def test_a_structured_selector_combines_labels_and_expressions() -> None:
    query = from_label_selector(
        LabelSelector(
            match_labels={"a": "b"},
            match_expressions=[LabelSelectorRequirement(key="c", operator="NotIn", values=["d"])],
        )
    )
    assert query.matches({"a": "b", "c": "e"})
    assert not query.matches({"a": "b", "c": "d"})
    assert str(query) == "a=b,c notin (d)"


@given(st.dictionaries(NAMES, NAMES, max_size=4), st.dictionaries(NAMES, NAMES, max_size=4))
def test_a_maps_query_holds_exactly_for_supersets(wanted: dict[str, str], labels: dict[str, str]) -> None:
    assert from_map(wanted).matches(labels) is (wanted.items() <= labels.items())


@given(st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=3, unique=True), max_size=4))
def test_a_query_survives_being_written_and_read(wanted: dict[str, list[str]]) -> None:
    query = selectors.LabelQuery(
        tuple(selectors.requirement(key, selectors.IN, tuple(sorted(values))) for key, values in sorted(wanted.items()))
    )
    assert parse_labels(str(query)) == query


@given(st.dictionaries(NAMES, st.text(max_size=6), max_size=4))
def test_a_field_query_survives_being_written_and_read(wanted: dict[str, str]) -> None:
    query = selectors.FieldQuery(tuple((path, "=", value) for path, value in wanted.items()))
    assert sorted(parse_fields(str(query)).requirements) == sorted(query.requirements)


def test_a_field_selector_is_asked_of_fields() -> None:
    query = parse_fields("metadata.name!=x,status.phase==Running")
    assert query.requirements == (("metadata.name", "!=", "x"), ("status.phase", "=", "Running"))
    assert query.matches({"status.phase": "Running"})
    assert not query.matches({"metadata.name": "x", "status.phase": "Running"})
    assert query.exact("status.phase") == "Running"
    assert query.exact("metadata.name") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nope", "invalid selector: 'nope'; can't understand 'nope'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\x", "invalid field selector: invalid escape sequence: \\x"),
    ],
)
def test_a_malformed_field_selector_is_refused_in_upstreams_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        parse_fields(text)
