"""A cluster as one file and back, without a server."""

from __future__ import annotations

import os
import sqlite3
import tarfile
from pathlib import Path

import pytest

from edgekube.app import backup
from edgekube.errors import EnvironmentError_, UsageError
from edgekube.store.backup import SKIPPED_REVISIONS, inspect
from edgekube.store.interface import Key, Put
from edgekube.store.lockfile import Lock
from edgekube.store.offload import InlineOffloader
from edgekube.store.sqlite import open_store

HEAD = b'{"metadata":{"resourceVersion":"'


def said(_: str) -> None:
    """Progress nobody looks at."""


async def cluster(data_dir: Path, *names: str) -> int:
    """A data directory with some objects and a key; its newest revision."""
    (data_dir / "pki").mkdir(parents=True, exist_ok=True)
    (data_dir / "pki" / "ca.key").write_text("secret")
    async with open_store(data_dir / "store.db", offloader=lambda _: InlineOffloader()) as store:
        for name in names:
            await store.write([Put(Key("/pods", "default", name), HEAD + b'"}}', len(HEAD), None)])
        return store.revision


def save(data_dir: Path, target: Path) -> backup.Contents:
    config = data_dir.parent / "config.yaml"
    return backup.save(data_dir, target, node_name="gw1", created="2026-01-01T00:00:00Z", config=config, progress=said)


async def names_in(data_dir: Path) -> list[str]:
    async with open_store(data_dir / "store.db", offloader=lambda _: InlineOffloader()) as store:
        return [row.key.name for row in store.list("/pods").rows]


async def test_a_backup_brings_everything_back_elsewhere(tmp_path: Path) -> None:
    await cluster(tmp_path / "a", "one", "two")
    (tmp_path / "config.yaml").write_text("node-name: gw1\n")
    contents = save(tmp_path / "a", tmp_path / "b.tar.gz")
    assert (contents.objects, (tmp_path / "b.tar.gz").stat().st_mode & 0o777) == (2, 0o600)
    config = tmp_path / "etc" / "config.yaml"
    restored, aside = backup.restore(tmp_path / "b.tar.gz", tmp_path / "c", config=config, force=False, progress=said)
    assert restored == contents
    assert aside is None
    assert await names_in(tmp_path / "c") == ["one", "two"]
    assert (tmp_path / "c" / "pki" / "ca.key").read_text() == "secret"
    assert config.read_text() == "node-name: gw1\n"
    assert sorted(os.listdir(tmp_path)) == ["a", "b.tar.gz", "c", "config.yaml", "etc"]


async def test_a_backup_is_made_while_a_server_writes(tmp_path: Path) -> None:
    await cluster(tmp_path / "a", "one")
    async with open_store(tmp_path / "a" / "store.db", offloader=lambda _: InlineOffloader()) as store:
        await store.write([Put(Key("/pods", "default", "two"), HEAD + b'"}}', len(HEAD), None)])
        assert save(tmp_path / "a", tmp_path / "b.tar.gz").objects == 2


async def test_revisions_given_out_after_the_backup_are_never_given_out_again(tmp_path: Path) -> None:
    await cluster(tmp_path / "a", "one")
    save(tmp_path / "a", tmp_path / "b.tar.gz")
    later = await cluster(tmp_path / "a", "two", "three")
    backup.restore(tmp_path / "b.tar.gz", tmp_path / "a", config=tmp_path / "none", force=True, progress=said)
    async with open_store(tmp_path / "a" / "store.db", offloader=lambda _: InlineOffloader()) as store:
        assert store.revision > later
        (row,) = await store.write([Put(Key("/pods", "default", "new"), HEAD + b'"}}', len(HEAD), None)])
    assert row.revision > SKIPPED_REVISIONS


async def test_what_was_there_is_set_aside_only_when_told(tmp_path: Path) -> None:
    await cluster(tmp_path / "a", "old")
    await cluster(tmp_path / "b", "new")
    save(tmp_path / "b", tmp_path / "b.tar.gz")
    with pytest.raises(EnvironmentError_, match="--force"):
        backup.restore(tmp_path / "b.tar.gz", tmp_path / "a", config=tmp_path / "none", force=False, progress=said)
    assert await names_in(tmp_path / "a") == ["old"]
    _, aside = backup.restore(
        tmp_path / "b.tar.gz", tmp_path / "a", config=tmp_path / "none", force=True, progress=said
    )
    assert aside is not None
    assert (await names_in(tmp_path / "a"), await names_in(aside)) == (["new"], ["old"])


async def test_a_running_server_is_not_restored_over(tmp_path: Path) -> None:
    await cluster(tmp_path / "a", "one")
    save(tmp_path / "a", tmp_path / "b.tar.gz")
    lock = Lock(tmp_path / "a" / "store.db.lock")
    try:
        with pytest.raises(EnvironmentError_, match="stop it first"):
            backup.restore(tmp_path / "b.tar.gz", tmp_path / "a", config=tmp_path / "none", force=True, progress=said)
    finally:
        lock.release()


@pytest.mark.parametrize("harm", ["cut", "changed", "other", "absent"])
async def test_a_damaged_backup_changes_nothing(tmp_path: Path, harm: str) -> None:
    await cluster(tmp_path / "a", "one")
    archive = tmp_path / "b.tar.gz"
    save(tmp_path / "a", archive)
    if harm == "cut":
        archive.write_bytes(archive.read_bytes()[:-200])
    elif harm == "changed":
        with tarfile.open(archive) as opened:
            opened.extractall(tmp_path / "x", filter="data")
        (tmp_path / "x" / "pki" / "ca.key").write_text("another")
        with tarfile.open(archive, "w:gz") as opened:
            opened.add(tmp_path / "x", ".")
    elif harm == "other":
        archive.write_bytes(b"not a backup")
    else:
        archive.unlink()
    with pytest.raises(UsageError):
        backup.restore(archive, tmp_path / "c", config=tmp_path / "none", force=False, progress=said)
    assert not (tmp_path / "c" / "store.db").exists()


async def test_a_copy_that_is_not_sound_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db") as connection:
        connection.execute("CREATE TABLE other (name TEXT)")
    connection.close()
    with pytest.raises(Exception, match="not a database of edgekube"):
        inspect(tmp_path / "x.db")


def test_no_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentError_, match="holds no server's data"):
        save(tmp_path / "empty", tmp_path / "b.tar.gz")
