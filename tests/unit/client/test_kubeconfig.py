"""kubeconfig files: read as kubectl reads them, written private, merged without harm."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
import yaml

from edgekube.client.kubeconfig import Access, default_paths, load, merge_into, render, write
from edgekube.errors import UsageError

ACCESS = Access(server="https://127.0.0.1:6443", ca=b"CA\n", certificate=b"CERT\n", key=b"KEY\n")


def test_what_is_written_is_read_again_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.yaml"
    write(path, render(ACCESS))
    assert load([path]) == ACCESS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["config.yaml"]


def test_a_token_takes_the_place_of_a_certificate(tmp_path: Path) -> None:
    access = Access(server="https://h:1", ca=b"CA", token="t0ken")
    write(tmp_path / "c", render(access))
    assert load([tmp_path / "c"]) == access


def test_merging_keeps_everything_else_and_renews_ours(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "work",
                "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
                "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me", "namespace": "team"}}],
                "users": [{"name": "me", "user": {"token": "abc"}}],
                "preferences": {"colors": True},
            }
        )
    )
    merge_into(path, ACCESS, "edgekube")
    merge_into(path, Access(server="https://127.0.0.1:7000", ca=b"NEW"), "edgekube")
    assert load([path]) == Access(server="https://work", token="abc", namespace="team")
    ours = load([path], "edgekube")
    assert (ours.server, ours.ca) == ("https://127.0.0.1:7000", b"NEW")
    document = yaml.safe_load(path.read_text())
    assert document["preferences"] == {"colors": True}
    assert len(document["clusters"]) == 2


def test_several_files_are_read_as_one_and_the_first_wins(tmp_path: Path) -> None:
    write(tmp_path / "one", render(Access(server="https://one"), "a"))
    write(tmp_path / "two", render(Access(server="https://two"), "a") + "")
    write(tmp_path / "three", render(Access(server="https://three"), "b"))
    paths = [tmp_path / "absent", tmp_path / "one", tmp_path / "two", tmp_path / "three"]
    assert load(paths).server == "https://one"
    assert load(paths, "b").server == "https://three"


def test_files_named_inside_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    text = render(Access(server="https://h")).replace("server:", "certificate-authority: ca.pem\n    server:")
    write(tmp_path / "config", text)
    assert load([tmp_path / "config"]).ca == b"PEM"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "not a mapping"),
        ("apiVersion: v1", "no current-context"),
        (
            render(ACCESS).replace("current-context: default", "current-context: absent"),
            'context "absent" does not exist',
        ),
        (render(ACCESS).replace("cluster: default", "cluster: absent"), 'cluster "absent" does not exist'),
        (render(Access(server="https://h")).replace("user: {}", "user: {exec: {command: x}}"), "plugins"),
        (
            render(ACCESS).replace(base64.b64encode(b"CA\n").decode(), "'%%%'"),
            "cannot read certificate-authority",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(UsageError, match=words):
        load([tmp_path / "config"])
    with pytest.raises(UsageError, match="no kubeconfig found"):
        load([tmp_path / "absent"])


def test_the_usual_places_are_looked_at(tmp_path: Path) -> None:
    assert default_paths({"KUBECONFIG": "/a:/b"}) == [Path("/a"), Path("/b")]
    own = tmp_path / "own"
    assert default_paths({"HOME": str(tmp_path)}, own) == [own]
    write(tmp_path / ".kube" / "config", "")
    assert default_paths({"HOME": str(tmp_path)}, own) == [tmp_path / ".kube" / "config"]
