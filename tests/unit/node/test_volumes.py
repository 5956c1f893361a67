"""Volume contents: atomic swaps, modes, sub-paths that cannot escape."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekube.kinds.core.volume import EmptyDirVolumeSource, HostPathVolumeSource, ImageVolumeSource, KeyToPath, Volume
from edgekube.node import mounting
from edgekube.node.volumes import catalog, empty_dir
from edgekube.node.volumes.config_map import chosen
from edgekube.node.volumes.host_path import ready
from edgekube.node.volumes.payload import PayloadFile, project
from edgekube.node.volumes.volume import VolumeTrouble


def shown(directory: Path) -> dict[str, str]:
    return {
        str(p.relative_to(directory)): p.read_text() for p in sorted(directory.iterdir()) if not p.name.startswith("..")
    }


def test_a_payload_is_swapped_whole(tmp_path: Path) -> None:
    assert project(tmp_path, {"a": PayloadFile(b"1", 0o644), "b": PayloadFile(b"2", 0o600)})
    assert shown(tmp_path) == {"a": "1", "b": "2"}
    assert os.readlink(tmp_path / "a") == "..data/a"
    first = os.readlink(tmp_path / "..data")
    assert not project(tmp_path, {"a": PayloadFile(b"1", 0o644), "b": PayloadFile(b"2", 0o600)})
    opened = (tmp_path / "a").open()
    assert project(tmp_path, {"a": PayloadFile(b"new", 0o644), "c": PayloadFile(b"3", 0o644)})
    assert shown(tmp_path) == {"a": "new", "c": "3"}
    assert opened.read() == "1"
    opened.close()
    assert os.readlink(tmp_path / "..data") != first
    assert not (tmp_path / first).exists()


def test_nested_paths_and_modes(tmp_path: Path) -> None:
    project(tmp_path, {"dir/key": PayloadFile(b"x", 0o400)})
    assert (tmp_path / "dir" / "key").read_text() == "x"
    assert (tmp_path / "dir" / "key").stat().st_mode & 0o777 == 0o400


def test_items_choose_keys_and_missing_ones_are_trouble() -> None:
    items = [KeyToPath(key="k", path="to/k", mode=0o600)]
    assert chosen({"k": b"v", "x": b""}, items, 0o644, optional=False, missing="") == {"to/k": PayloadFile(b"v", 0o600)}
    with pytest.raises(VolumeTrouble, match="nope"):
        chosen({}, items, 0o644, optional=False, missing="nope")
    assert chosen({}, items, 0o644, optional=True, missing="") == {}


def test_sub_paths_stay_inside(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "real").mkdir(parents=True)
    (volume / "good").symlink_to("real")
    (volume / "bad").symlink_to("/etc")
    (volume / "up").symlink_to("..")
    for path in ("made/deep", "good", "real"):
        os.close(mounting.open_inside(volume, path))
    assert (volume / "made" / "deep").is_dir()
    for path in ("bad", "up/x", "../x", "/etc"):
        with pytest.raises(mounting.EscapesVolume):
            mounting.open_inside(volume, path)


@pytest.mark.parametrize("kind", ["DirectoryOrCreate", "FileOrCreate", ""])
def test_host_paths_are_made_where_asked(tmp_path: Path, kind: str) -> None:
    assert ready(
        HostPathVolumeSource(path=str(tmp_path / "x" if kind != "FileOrCreate" else tmp_path / "f"), type=kind)
    ).exists()


def test_host_paths_of_the_wrong_type_are_trouble(tmp_path: Path) -> None:
    with pytest.raises(VolumeTrouble, match="is not a file"):
        ready(HostPathVolumeSource(path=str(tmp_path), type="File"))


def test_every_volume_file_is_in_the_catalog() -> None:
    here = Path(catalog.__file__).parent
    helpers = {"__init__", "catalog", "keeper", "payload", "volume"}
    files = {path.stem for path in here.glob("*.py")} - helpers
    assert {kind.mount.__module__.rpartition(".")[2] for kind in catalog.TYPES} == files


def test_a_volume_finds_its_type() -> None:
    assert catalog.type_of(Volume(name="v", empty_dir=EmptyDirVolumeSource())) is empty_dir.TYPE
    assert catalog.type_of(Volume(name="v")) is empty_dir.TYPE
    with pytest.raises(VolumeTrouble, match="no volume plugin matched"):
        catalog.type_of(Volume(name="v", image=ImageVolumeSource(reference="x")))
