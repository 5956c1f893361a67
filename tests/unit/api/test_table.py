"""Tables and bare metadata."""

from edgekube.api import table
from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Object, Quantity, Struct, zero


class Spec(Struct):
    size: int = 0


class Thing(Object):
    spec: Spec = zero(Spec)


THING = Kind(type=Thing, group="example.com", version="v1", name="Thing", plural="things")
NOW = "2026-01-01T00:00:00Z"


def thing(name, **metadata):
    return THING.from_dict(
        {
            "kind": "Thing",
            "apiVersion": "example.com/v1",
            "metadata": {"name": name, "resourceVersion": "7", "creationTimestamp": NOW, **metadata},
            "spec": {"size": 3},
        }
    )


def test_a_kind_without_columns_shows_name_and_creation():
    made = table.render(THING, [thing("a")], NOW, metadata={"resourceVersion": "9"})
    assert [(head["name"], head["type"], head["format"]) for head in made["columnDefinitions"]] == [
        ("Name", "string", "name"),
        ("Created At", "date", ""),
    ]
    assert made["metadata"] == {"resourceVersion": "9"}
    assert made["rows"][0]["cells"] == ["a", NOW]
    assert made["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "a", "resourceVersion": "7", "creationTimestamp": NOW},
    }


def test_a_single_object_gives_the_table_its_revision_whatever_the_rows_carry():
    for include in ("Metadata", "Object", "None"):
        assert table.render(THING, [thing("a")], NOW, include)["metadata"] == {"resourceVersion": "7"}


def test_rows_may_carry_the_whole_object_or_nothing():
    whole = table.render(THING, [thing("a")], NOW, "Object")["rows"][0]["object"]
    assert whole["kind"] == "Thing"
    assert whole["spec"] == {"size": 3}
    assert table.render(THING, [thing("a")], NOW, "None")["rows"][0]["object"] is None


def test_declared_columns_are_computed_with_the_time_given_and_heads_can_be_left_out():
    columns = (table.NAME, Column("Size", "integer", lambda item, now: item.spec.size, "", "how big", 1))
    kind = Kind(type=Thing, group="example.com", version="v1", name="Thing", plural="things", columns=columns)
    made = table.render(kind, [thing("a"), thing("b")], NOW, metadata={}, version="v1beta1", heads=False)
    assert made["apiVersion"] == "meta.k8s.io/v1beta1"
    assert "columnDefinitions" not in made
    assert [row["cells"] for row in made["rows"]] == [["a", 3], ["b", 3]]


def test_custom_objects_as_documents_are_shown_too():
    item = {"kind": "Foo", "apiVersion": "x/v1", "metadata": {"name": "f", "creationTimestamp": NOW}, "spec": {}}
    made = table.render(THING, [item], NOW, "Object")
    assert made["rows"] == [{"cells": ["f", NOW], "object": item}]


def test_bare_metadata_of_one_and_of_many():
    one = table.partial(thing("a", labels={"x": "y"}))
    assert one["kind"] == "PartialObjectMetadata"
    assert one["metadata"]["labels"] == {"x": "y"}
    many = table.partial_list([thing("a")], {"resourceVersion": "9"})
    assert many["kind"] == "PartialObjectMetadataList"
    assert many["metadata"] == {"resourceVersion": "9"}
    assert [item["metadata"]["name"] for item in many["items"]] == ["a"]


def test_a_cell_is_plain_text_whatever_type_of_text_the_object_holds():
    columns = (Column("Amount", "string", lambda item, now: Quantity("1Gi")),)
    kind = Kind(type=Thing, group="example.com", version="v1", name="Thing", plural="things", columns=columns)
    (cell,) = table.render(kind, [thing("a")], NOW)["rows"][0]["cells"]
    assert type(cell) is str
