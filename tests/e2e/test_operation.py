"""Starting, stopping, killing, and everything that may be wrong with the machine: one line, and nothing lost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import FLAGS, IMAGE, node_ready, tear_down
from tests.support import ROOT, Server, eventually, start

HERE = ("--disable-agent", "--bind-address", "127.0.0.1")


def refused(*flags: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit status and standard error of a server that must not start."""
    done = subprocess.run(
        [sys.executable, "-m", "edgekube", "server", *flags],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
    )  # fmt: skip
    return done.returncode, done.stderr


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def test_a_restart_disturbs_no_container_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "again"
    subprocess.run(
        [sys.executable, "packaging/pack-busybox.py", IMAGE, str(directory / "data/images/test.tar")],
        cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    flags = (
        *FLAGS[4:],
        "--cluster-cidr", "10.144.0.0/16", "--service-cidr", "10.145.0.0/16",
    )  # fmt: skip
    server = start(directory, *flags)
    try:
        eventually(lambda: node_ready(server), within_s=90)
        eventually(lambda: server.kubectl_raw("get", "serviceaccount", "default").returncode == 0)
        server.kubectl("run", "steady", f"--image={IMAGE}", "--image-pull-policy=Never", "--", "sleep", "3600")
        server.kubectl("wait", "pod/steady", "--for=condition=Ready", "--timeout=60s")
        before = server.json("get", "pod", "steady")

        for kind_of_end in ("stop", "kill"):
            getattr(server, kind_of_end)()
            server = start(directory, *flags)
            eventually(lambda s=server: node_ready(s), within_s=90)
            eventually(lambda s=server: s.kubectl_raw("exec", "steady", "--", "true").returncode == 0, within_s=30)
            after = server.json("get", "pod", "steady")
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            for key in ("containerID", "restartCount", "state"):
                assert after["status"]["containerStatuses"][0][key] == before["status"]["containerStatuses"][0][key]
            assert after["status"]["podIP"] == before["status"]["podIP"]
    finally:
        tear_down(server, "10.145.0.10")


def test_two_servers_with_different_directories_live_side_by_side(tmp_path: Path) -> None:
    one, other = start(tmp_path / "one", *HERE), start(tmp_path / "other", *HERE)
    try:
        one.kubectl("create", "configmap", "only-here")
        assert other.kubectl_raw("get", "configmap", "only-here").returncode == 1
    finally:
        one.stop()
        other.stop()


def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    first = start(tmp_path, *HERE)
    try:
        status, words = refused(
            *HERE, "--data-dir", str(tmp_path / "data"), "--https-listen-port", "0",
            "--write-kubeconfig", str(tmp_path / "second.yaml"),
        )  # fmt: skip
        assert status == 1
        assert last_line(words).startswith("error: ")
        assert "Traceback" not in words
        assert first.get("/readyz")[0] == 200
    finally:
        first.stop()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, words = refused(
            *HERE, "--data-dir", str(tmp_path / "d"), "--https-listen-port", str(port),
            "--write-kubeconfig", str(tmp_path / "k.yaml"),
        )  # fmt: skip
    assert status == 1
    assert last_line(words).startswith("error: ")
    assert str(port) in last_line(words)
    assert "Traceback" not in words


def test_a_machine_without_containerd_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, words = refused(
        "--data-dir", str(tmp_path / "d"), "--https-listen-port", "0", "--write-kubeconfig", str(tmp_path / "k.yaml"),
        "--bind-address", "127.0.0.1", environment={"PATH": str(tmp_path / "empty")},
    )  # fmt: skip
    assert status == 1
    assert "containerd" in last_line(words)
    assert "Traceback" not in words


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--cluster-cidr", "nonsense"), "--cluster-cidr"),
        (("--https-listen-port", "99999"), "99999 is not a port"),
        (("--no-such-flag",), "no-such-flag"),
        (("--config", "/nonexistent"), "/nonexistent"),
    ],
)
def test_wrong_words_are_exit_status_two(flags: tuple[str, ...], words: str) -> None:
    status, said = refused(*flags)
    assert status == 2
    assert words.lower() in last_line(said).lower()


@pytest.fixture(name="plain", scope="module")
def _plain(tmp_path_factory: pytest.TempPathFactory) -> object:
    server = start(tmp_path_factory.mktemp("plain"), *HERE)
    yield server
    server.stop()


def test_a_full_disk_refuses_writes_and_keeps_reading(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(mount)], check=True)
    try:
        server = start(mount, *HERE)
        try:
            server.kubectl("create", "configmap", "kept", "--from-literal=a=b")
            filler = mount / "filler"
            with filler.open("wb") as file:
                try:
                    while True:
                        file.write(os.urandom(65536))
                        file.flush()
                except OSError:
                    pass
            big = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "big"},
                "data": {"x": os.urandom(300000).hex()},
            }
            done = server.kubectl_raw("create", "-f", "-", stdin=json.dumps(big))
            assert done.returncode == 1, done.stdout
            assert server.json("get", "configmap", "kept")["data"] == {"a": "b"}
            filler.unlink()
            eventually(
                lambda: server.kubectl_raw("create", "configmap", "after").returncode == 0,
                within_s=30,
                why="writes again",
            )
            assert "Traceback" not in server.log.read_text()
        finally:
            server.stop()
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{", "error parsing"),
        ("apiVersion: v1\nkind: Nothing\nmetadata: {name: x}\n", 'no matches for kind "Nothing"'),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatum: {}\n", 'unknown field "datum"'),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: 7\n", "data"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_Good}\n", "a lowercase RFC 1123 subdomain"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}\n", "spec.containers: Required value"),
    ],
)
def test_a_broken_manifest_gets_the_words_of_kubernetes(plain: Server, manifest: str, words: str) -> None:
    done = plain.kubectl_raw("create", "-f", "-", stdin=manifest)
    assert done.returncode == 1
    assert words in done.stderr


def test_a_body_past_the_limit_and_a_name_twice(plain: Server) -> None:
    big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "huge"}, "data": {"x": "y" * 4_000_000}}
    done = plain.kubectl_raw("create", "-f", "-", stdin=json.dumps(big))
    assert done.returncode == 1
    assert "too large" in done.stderr.lower()
    plain.kubectl("create", "configmap", "twice")
    done = plain.kubectl_raw("create", "configmap", "twice")
    assert done.stderr == 'error: failed to create configmap: configmaps "twice" already exists\n'
    assert plain.get("/readyz")[0] == 200
