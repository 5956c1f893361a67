"""Name checks and field errors in upstream's words."""

from __future__ import annotations

import pytest

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.meta import LabelSelector


@pytest.mark.parametrize("name", ["a", "a-b", "1", "a" * 63])
def test_a_good_dns_label_passes(name: str) -> None:
    assert names.dns_label(name) == []


def test_a_bad_dns_label_says_why() -> None:
    assert names.dns_label("a.b") == ["must not contain dots"]
    assert names.dns_label("A") == [
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
        "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    ]
    assert names.dns_label("a" * 64) == ["must be no more than 63 characters"]


def test_a_trailing_newline_is_no_name() -> None:
    assert names.dns_subdomain("a\n")
    assert names.label_value("a\n")


def test_qualified_names() -> None:
    assert names.qualified_name("example.com/My.Name_1") == []
    assert names.qualified_name("/a") == ["prefix part must be non-empty"]
    assert names.qualified_name("a/b/c")[0].startswith("a valid label key must consist of")
    assert names.qualified_name("x" * 64) == ["name part must be no more than 63 bytes"]


def test_port_names() -> None:
    assert names.port_name("http-2") == []
    assert names.port_name("") == [
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        "must contain at least one letter (a-z)",
    ]
    assert names.port_name("-a--b") == ["must not contain consecutive hyphens", "must not begin or end with a hyphen"]


def test_path_segments_and_config_keys() -> None:
    assert names.path_segment("system:node") == []
    assert names.path_segment("..") == ["may not be '..'"]
    assert names.path_segment("a/b%") == ["may not contain '/'", "may not contain '%'"]
    assert names.config_key("..a") == ["must not start with '..'"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (rules.required("a.b", "give it"), "a.b: Required value: give it"),
        (rules.required("a.b"), "a.b: Required value"),
        (rules.invalid("a", "x\n<", "no"), 'a: Invalid value: "x\\n<": no'),
        (rules.invalid("a", -1, "no"), "a: Invalid value: -1: no"),
        (rules.invalid("a", {"b": "<", "a": None}, "no"), 'a: Invalid value: {"a":null,"b":"\\u003c"}: no'),
        (rules.invalid("a", None, "no"), "a: Invalid value: null: no"),
        (
            rules.invalid("a", LabelSelector(match_labels={"z": "1", "b": "2"}), "no"),
            'a: Invalid value: {"matchLabels":{"b":"2","z":"1"}}: no',
        ),
        (rules.not_supported("a", "x", ["b", "c"]), 'a: Unsupported value: "x": supported values: "b", "c"'),
        (rules.duplicate("a", True), "a: Duplicate value: true"),
        (rules.forbidden("a", "not now"), "a: Forbidden: not now"),
        (rules.too_long("a", 1), "a: Too long: may not be more than 1 byte"),
        (rules.too_many("a", 3, 2), "a: Too many: 3: must have at most 2 items"),
        (rules.too_few("a", 0, 1), "a: Too few: 0: must have at least 1 item"),
        (rules.immutable("a", "n"), 'a: Invalid value: "n": field is immutable'),
    ],
)
def test_a_field_error_reads_as_upstreams(error: FieldError, text: str) -> None:
    assert str(error) == text


def test_an_invalid_object_lists_each_text_once_and_every_cause() -> None:
    twice = rules.required("a")
    made = rules.invalid_object("Deployment", "apps", "n", [twice, twice, rules.required("b")])
    assert made.message == 'Deployment.apps "n" is invalid: [a: Required value, b: Required value]'
    assert len(made.causes) == 3
    assert made.to_status()["details"]["group"] == "apps"
