"""Directories of our own provisioner: made for everybody, removed with all that is in them, and nothing else ever touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekube.node import localvolumes, mounting


def test_a_directory_is_made_for_everybody_and_found_again(tmp_path: Path) -> None:
    root = tmp_path / "volumes"
    made = localvolumes.made(root, "pvc-1_ns_c", None)
    assert made == root / "pvc-1_ns_c"
    assert made.stat().st_mode & 0o7777 == 0o777
    made.chmod(0o700)
    (made / "file").write_text("data")
    assert (localvolumes.made(root, "pvc-1_ns_c", None) / "file").read_text() == "data"
    assert made.stat().st_mode & 0o7777 == 0o700, "what a pod made of its directory stays"


def test_the_directory_belongs_to_the_pods_group(tmp_path: Path) -> None:
    group = os.getgid()
    made = localvolumes.made(tmp_path, "v", group)
    assert made.stat().st_gid == group
    assert made.stat().st_mode & 0o2070 == 0o2070


def test_a_link_in_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "v").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="v"):
        localvolumes.made(tmp_path / "volumes", "v", None)
    assert localvolumes.removed(tmp_path / "volumes", "v").endswith("is not a directory")
    assert (tmp_path / "other").exists()


def test_what_a_removed_directory_pointed_at_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("dear")
    made = localvolumes.made(tmp_path / "volumes", "v", None)
    (made / "link").symlink_to(outside)
    (made / "deep").mkdir()
    (made / "deep" / "file").write_text("x")
    assert localvolumes.removed(tmp_path / "volumes", "v") == ""
    assert not made.exists()
    assert (outside / "file").read_text() == "dear"


def test_what_is_not_there_counts_as_removed(tmp_path: Path) -> None:
    assert localvolumes.removed(tmp_path, "v") == ""
    assert localvolumes.removed(tmp_path / "never-made", "v") == ""


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../other", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "volumes").mkdir()
    assert "is not the name of" in localvolumes.removed(tmp_path / "volumes", name)
    assert (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "path", ["/etc", "/d/volumes", "/d/volumes/", "/d/volumes/..", "/d/volumes/a/b", "/e/volumes/a"]
)
def test_a_path_that_is_not_right_below_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not below"):
        localvolumes.name_in(Path("/d/volumes"), path)
    assert localvolumes.name_in(Path("/d/volumes"), "/d/volumes/a") == "a"


def test_a_directory_with_something_mounted_in_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = localvolumes.made(tmp_path, "v", None)
    monkeypatch.setattr(mounting, "mounts_below", lambda directory: [directory / "disk"])
    assert "something is mounted on" in localvolumes.removed(tmp_path, "v")
    assert made.exists()
