"""Schemas of custom resources that are refused when the definition is written."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.kinds.apiextensions.customresourcedefinition import KIND, definition_rules


def refused(schema: dict[str, Any], **members: Any) -> list[str]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **members}
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    document = {
        "metadata": {"name": "widgets.e.org"},
        "spec": {"group": "e.org", "scope": "Namespaced", "names": names, "versions": [version]},
        "status": {"storedVersions": ["v1"]},
    }
    found = definition_rules(KIND.from_dict(document))
    return [str(one).replace("spec.validation.openAPIV3Schema", "S") for one in found]


def of(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": part}, **more}


EMBEDDED, PRESERVE, INTSTR = (
    "x-kubernetes-embedded-resource",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
)
TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (of(TEXT, nullable=True), "S.nullable: Forbidden: nullable cannot be true at the root"),
        (of(TEXT, additionalProperties=True), "S.additionalProperties: Forbidden: must not be used at the root"),
        (of({"type": "array", "items": TEXT, "uniqueItems": True}), "S.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"),
        (of({**TEXT, "enum": ["x"], "default": "y"}), 'S.properties[a].default: Unsupported value: "y": supported values: "x"'),
        (of({**TEXT, "pattern": "(?=a)"}), "S.properties[a].pattern: Invalid value: \"(?=a)\": must be a valid regular expression, but isn't: error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
        (of({**TEXT, "pattern": "["}), "S.properties[a].pattern: Invalid value: \"[\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ]: `[`"),
        (of({**TEXT, "id": "x"}), "S.properties[a].id: Forbidden: id is not supported"),
        (of({**TEXT, "anyOf": [TEXT]}), "S.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"),
        (of({**TEXT, "allOf": [{"x-kubernetes-validations": [{"rule": "true"}]}]}), "S.properties[a].allOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural"),
        (of(TEXT, oneOf=[{"properties": {"b": {"minLength": 1}}}]), "S.properties[b]: Required value: because it is defined in S.oneOf[0].properties[b]"),
        (of(TEXT, properties={"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}), "S.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"),
        (of(TEXT, properties={"kind": {"type": "integer"}}), 'S.properties[kind].type: Invalid value: "integer": must be string'),
        (of({"type": "object", EMBEDDED: True}), f"S.properties[a].properties: Required value: must not be empty if {EMBEDDED} is true without {PRESERVE}"),
        (of({INTSTR: True, PRESERVE: True}), f"S.properties[a].{PRESERVE}: Invalid value: true: must be false if {INTSTR} is true"),
    ],
)  # fmt: skip
def test_what_is_not_structural(schema: dict[str, Any], words: str) -> None:
    assert refused(schema) == [words]


@pytest.mark.parametrize(
    "schema",
    [
        of({INTSTR: True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%?$"}),
        of({INTSTR: True, "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"maxLength": 4}]}),
        of(
            TEXT,
            properties={"metadata": {"type": "object", "properties": {"name": {**TEXT, "maxLength": 10}}}, "a": TEXT},
        ),
        of({"type": "object", EMBEDDED: True, PRESERVE: True}),
        of({"type": "object", "properties": {"b": {"type": "integer", "default": 3}}, "default": {}}),
        of(TEXT, oneOf=[{"required": ["a"]}, {"not": {"required": ["a"]}}]),
        of({"type": "array", "items": TEXT, "default": ["x"], "maxItems": 2}),
    ],
)
def test_what_operators_bring_is_accepted(schema: dict[str, Any]) -> None:
    assert refused(schema) == []


def test_columns_scales_and_selectable_fields() -> None:
    schema = of(TEXT)
    column = {"name": "a", "type": "string", "jsonPath": ".a", "format": "odd"}
    assert refused(schema, additionalPrinterColumns=[column]) == [
        'spec.additionalPrinterColumns[0].format: Invalid value: "odd": must be one of '
        "byte,date,date-time,double,float,int32,int64,password"
    ]
    scale = {"specReplicasPath": ".status.n", "statusReplicasPath": ".spec.n", "labelSelectorPath": ".x.y"}
    assert [one.partition(": ")[2] for one in refused(schema, subresources={"scale": scale})] == [
        'Invalid value: ".status.n": should be a json path under .spec',
        'Invalid value: ".spec.n": should be a json path under .status',
        'Invalid value: ".x.y": should be a json path under either .spec or .status',
    ]
    assert refused(schema, selectableFields=[{"jsonPath": ".metadata.name"}]) == [
        'spec.selectableFields[0].jsonPath: Invalid value: ".metadata.name": must not point to fields in metadata'
    ]
    many = {"type": "object", "properties": {f"f{n}": TEXT for n in range(9)}}
    assert refused(many, selectableFields=[{"jsonPath": f".f{n}"} for n in range(9)]) == [
        "spec.selectableFields: Too many: 9: must have at most 8 items"
    ]
