"""What the command line prints, as text."""

from __future__ import annotations

import pytest

from edgekube.cli.kubectl import printing
from edgekube.cli.kubectl.apply import three_way
from edgekube.cli.kubectl.describe import describe
from edgekube.cli.kubectl.logs import seconds
from edgekube.errors import UsageError

PODS = {
    "items": [
        {"metadata": {"name": "a", "labels": {"app.x/y": "1"}}, "status": {"podIP": "10.0.0.1", "n": 3, "ok": True}},
        {"metadata": {"name": "b"}, "status": {"podIP": "10.0.0.2", "n": 1, "ok": False}},
    ]
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[*].metadata.name}", "a b"),
        ("{.items[0].status.podIP}", "10.0.0.1"),
        ("{.items[-1:].metadata.name}", "b"),
        ("{items[0].metadata.labels.app\\.x/y}", "1"),
        ("{.items[0].metadata.labels['app.x/y']}", "1"),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.status.podIP}{"\\n"}{end}', "a\t10.0.0.1\nb\t10.0.0.2\n"),
        ('{.items[?(@.status.podIP=="10.0.0.2")].metadata.name}', "b"),
        ("{.items[?(@.status.n>2)].metadata.name}", "a"),
        ("{..podIP}", "10.0.0.1 10.0.0.2"),
        ("{.items[0].status}", '{"podIP":"10.0.0.1","n":3,"ok":true}'),
        ("{.nothing}", ""),
        ("name={.items[0].metadata.name}!", "name=a!"),
    ],
)
def test_jsonpath(template: str, text: str) -> None:
    assert printing.JsonPath(template).render(PODS) == text


def test_custom_columns() -> None:
    show = printing.printer("custom-columns=NAME:.metadata.name,IP:.status.podIP,X:.spec.x")
    assert show is not None
    assert show(PODS) == "NAME   IP         X\na      10.0.0.1   <none>\nb      10.0.0.2   <none>\n"


def test_a_table_hides_wide_columns_until_asked() -> None:
    document = {
        "columnDefinitions": [{"name": "Name"}, {"name": "Age"}, {"name": "Node", "priority": 1}],
        "rows": [{"cells": ["a", "5s", None], "object": {"metadata": {"namespace": "x", "labels": {"k": "v"}}}}],
    }
    assert printing.table(document) == "NAME   AGE\na      5s\n"
    assert printing.table(document, wide=True) == "NAME   AGE   NODE\na      5s    <none>\n"
    assert printing.table(document, namespaces=True, labels=True) == (
        "NAMESPACE   NAME   AGE   LABELS\nx           a      5s    k=v\n"
    )


def test_yaml_is_sorted_and_keeps_blocks() -> None:
    assert printing.to_yaml({"b": 1, "a": {"text": "x\ny\n", "list": ["1", True]}}) == (
        'a:\n  list:\n  - "1"\n  - true\n  text: |\n    x\n    y\nb: 1\n'
    )


def test_an_unknown_output_format_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match="unable to match a printer"):
        printing.printer("xml")


def test_apply_sets_what_the_file_says_and_removes_only_what_it_said_before() -> None:
    original = {"data": {"a": "1", "b": "2"}}
    modified = {"data": {"a": "1", "c": "3"}}
    live = {"data": {"a": "1", "b": "2", "foreign": "x"}, "metadata": {"uid": "u"}}
    assert three_way(original, modified, live) == {"data": {"c": "3", "b": None}}


def test_apply_of_what_is_there_already_changes_nothing_even_where_the_server_filled_defaults() -> None:
    modified = {"spec": {"containers": [{"name": "a", "image": "b"}]}}
    live = {"spec": {"containers": [{"name": "a", "image": "b", "imagePullPolicy": "Always"}], "dnsPolicy": "x"}}
    assert three_way({}, modified, live) == {}


def test_durations_are_gos() -> None:
    assert (seconds("90s"), seconds("1h5m"), seconds("1.5m")) == (90, 3900, 90)
    with pytest.raises(UsageError):
        seconds("5 minutes")


def test_a_description_names_members_in_words() -> None:
    lines = describe(
        {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"podIP": "1", "l": [{"k": 1}]}}, "Thing"
    )
    assert lines == [
        "Name:             x",
        "Labels:           a=b",
        "Annotations:      <none>",
        "Spec:",
        "  Pod IP:         1",
        "  L:",
        "    - K:          1",
    ]
