"""Every kind decodes and encodes the objects of upstream's round-trip tests to the same objects."""

import json
from pathlib import Path

import pytest

from edgekube.kinds.catalog import SUBRESOURCE_KINDS, built_in

ROUNDTRIP = Path(__file__).parents[4] / "shared" / "spec" / "roundtrip"
KINDS = {kind.api_version.replace("/", ".") + f".{kind.name}": kind for kind in (*built_in(), *SUBRESOURCE_KINDS)}

# upstream keeps these in repositories of their own
UNRECORDED = {"apiextensions.k8s.io.v1.CustomResourceDefinition", "apiregistration.k8s.io.v1.APIService"}


def recorded(name):
    path = ROUNDTRIP / f"{name if name[0] != 'v' else 'core.' + name}.json"
    if not path.is_file():
        pytest.skip("../shared/spec is not beside the clone")
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", sorted(KINDS.keys() - UNRECORDED))
def test_an_object_with_every_member_set_survives(name):
    kind, document = KINDS[name], recorded(name)
    assert json.loads(kind.to_json(kind.from_dict(document))) == document
    assert json.loads(kind.to_json(kind.from_json(json.dumps(document).encode()))) == document
    assert kind.to_dict(kind.from_dict(document)) == document


def test_there_is_a_recorded_object_for_every_kind():
    if not ROUNDTRIP.is_dir():
        pytest.skip("../shared/spec is not beside the clone")
    unrecorded = {
        name for name in KINDS if not (ROUNDTRIP / f"{name if name[0] != 'v' else 'core.' + name}.json").is_file()
    }
    assert unrecorded == UNRECORDED
