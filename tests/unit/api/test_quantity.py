"""Resource amounts as upstream reads, writes and adds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.api import quantity

SUFFIXES = st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3", "E-3"])
QUANTITIES = st.builds(
    lambda number, fraction, suffix: f"{number}{fraction}{suffix}",
    st.integers(-10_000, 10_000),
    st.sampled_from(["", ".5", ".25", ".125"]),
    SUFFIXES,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "0"),
        ("0.0", "0"),
        ("1", "1"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1536Mi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("1.5Ki", "1536"),
        ("0.0001", "100u"),
        ("0.1n", "1n"),
        ("1e3", "1e3"),
        ("1e4", "10e3"),
        ("5E3", "5E3"),
        ("+5", "+5"),
        ("1.500", "1.500"),
        ("-1", "-1"),
        ("100000000000000000000", "100E"),
        ("9999999999Gi", "9223372036854775807"),
        (" 1Gi ", "1Gi"),
        ("0.5Ki", "512"),
        ("1Ei", "1Ei"),
    ],
)
def test_the_canonical_text(text: str, expected: str) -> None:
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", quantity.FORMAT_WRONG),
        ("x", quantity.FORMAT_WRONG),
        ("1 Gi", quantity.FORMAT_WRONG),
        ("1.2.3", quantity.FORMAT_WRONG),
        ("1K", quantity.SUFFIX_WRONG),
        ("1e", quantity.SUFFIX_WRONG),
        ("1iK", quantity.SUFFIX_WRONG),
        ("1e9999999999", quantity.SUFFIX_WRONG),
    ],
)
def test_bad_syntax_is_refused_in_upstreams_words(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        quantity.canonical(text)
    assert str(caught.value) == words


def test_rounding_is_away_from_zero() -> None:
    assert quantity.milli("0.1m") == 1
    assert quantity.milli("-0.1m") == -1
    assert quantity.whole("1500m") == 2
    assert quantity.milli("2") == 2000


def test_many_digits_are_kept() -> None:
    assert quantity.canonical("123456789012345678901234567890123") == "123456789012345678901234567890123"
    assert quantity.add("123456789012345678901234567890123", "1") == "123456789012345678901234567890124"
    assert quantity.milli("1e40") == 10**43


def test_rounding_to_places() -> None:
    assert quantity.rounded_up("1.0001", 3) == "1001m"
    assert quantity.rounded_up("1e300", 3) == "1e300"
    assert quantity.rounded_up("1Gi", 3) == "1Gi"


def test_sums_keep_the_form_of_the_first_part() -> None:
    assert quantity.add("1Gi", "1G") == "2073741824"
    assert quantity.add("0", "1Gi") == "1Gi"
    assert quantity.add("500m", "500m") == "1"
    assert quantity.subtract("2Gi", "1Gi") == "1Gi"
    assert quantity.subtract("1", "2") == "-1"
    assert quantity.total(["100m", "200m", "700m"]) == "1"
    assert quantity.total([]) == "0"


def test_comparison_is_by_amount() -> None:
    assert quantity.compare("1000m", "1") == 0
    assert quantity.compare("1Ki", "1k") == 1
    assert quantity.equal("1024Mi", "1Gi")
    assert [quantity.sign(text) for text in ("-1n", "0", "1Gi")] == [-1, 0, 1]


@given(QUANTITIES)
def test_the_canonical_text_means_the_same_and_is_stable(text: str) -> None:
    once = quantity.canonical(text)
    assert quantity.compare(once, text) == 0
    twice = quantity.canonical(
        once
    )  # binary amounts below 1024 of the next unit come out as plain numbers: one step more
    assert quantity.canonical(twice) == twice


@given(QUANTITIES, QUANTITIES)
def test_subtracting_undoes_adding(left: str, right: str) -> None:
    assert quantity.equal(quantity.subtract(quantity.add(left, right), right), left)


@given(QUANTITIES, QUANTITIES)
def test_adding_is_commutative_in_amount(left: str, right: str) -> None:
    assert quantity.equal(quantity.add(left, right), quantity.add(right, left))
