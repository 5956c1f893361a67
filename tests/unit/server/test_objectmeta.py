"""What is wrong with metadata, in upstream's paths, and how often it is said."""

from collections import Counter

from edgekube.api.meta import ObjectMeta, OwnerReference
from edgekube.kinds.core import configmap
from edgekube.server.objectmeta import new_object_errors, update_errors

KIND = configmap.KIND


def meta(**members: object) -> ObjectMeta:
    return ObjectMeta(name="a", namespace="n", uid="u", **members)  # type: ignore[arg-type]


def test_an_owner_s_members_are_named_without_their_place() -> None:
    found = new_object_errors(KIND, meta(owner_references=[OwnerReference()]))
    assert [error.field for error in found] == [
        f"metadata.ownerReferences.{member}" for member in ("apiVersion", "kind", "name", "uid")
    ]


def test_two_controllers_are_named_by_kind_and_name() -> None:
    owners = [OwnerReference(api_version="v1", kind="A", name=name, uid=name, controller=True) for name in "ab"]
    (found,) = new_object_errors(KIND, meta(owner_references=owners))
    assert found.message.endswith('Found "true" in references for A/a and A/b')


def test_only_an_event_of_the_core_group_cannot_own() -> None:
    def owned_by(version: str) -> list[str]:
        owner = OwnerReference(api_version=version, kind="Event", name="e", uid="u")
        return [error.message for error in new_object_errors(KIND, meta(owner_references=[owner]))]

    assert owned_by("v1")[0].endswith("/v1, Kind=Event is disallowed from being an owner")
    assert owned_by("events.k8s.io/v1") == []


def test_an_update_is_told_as_often_as_upstream_asks() -> None:
    changed = meta(annotations={"a~b": "c"}, finalizers=["odd"])
    changed.uid = "other"
    told = Counter(error.field for error in update_errors(KIND, changed, meta()))
    assert told["metadata.annotations"] == 4
    assert told["metadata.uid"] == 2
    assert told["metadata.finalizers[0]"] == 2
