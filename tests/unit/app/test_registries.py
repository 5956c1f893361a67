"""registries.yaml as containerd's own files, compared as text."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgekube.app import registries
from edgekube.errors import UsageError

WHOLE = """
mirrors:
  docker.io:
    endpoint: ["https://mirror.site:5000", "http://10.0.0.1/v2/docker"]
  "*":
    endpoint: [cache.site]
configs:
  mirror.site:5000:
    auth: {username: u, password: 'p"q'}
    tls: {ca_file: /etc/ca.pem, cert_file: /etc/c.pem, key_file: /etc/k.pem}
  registry.site:
    auth: {token: t}
    tls: {insecure_skip_verify: true}
"""


def test_mirrors_come_in_order_with_their_certificates() -> None:
    files = registries.host_files(registries.parse(yaml.safe_load(WHOLE)))
    assert files["docker.io"] == (
        'server = "https://registry-1.docker.io"\n'
        "\n"
        '[host."https://mirror.site:5000"]\n'
        '  capabilities = ["pull", "resolve"]\n'
        '  ca = "/etc/ca.pem"\n'
        '  client = [["/etc/c.pem", "/etc/k.pem"]]\n'
        "\n"
        '[host."http://10.0.0.1/v2/docker"]\n'
        '  capabilities = ["pull", "resolve"]\n'
        "  override_path = true\n"
    )
    assert tomllib.loads(files["_default"])["host"] == {"https://cache.site": {"capabilities": ["pull", "resolve"]}}
    assert tomllib.loads(files["registry.site"])["host"]["https://registry.site"]["skip_verify"] is True


def test_credentials_go_into_the_configuration_of_containerd() -> None:
    text = registries.credentials(registries.parse(yaml.safe_load(WHOLE)))
    configs = tomllib.loads(text)["plugins"]["io.containerd.grpc.v1.cri"]["registry"]["configs"]
    assert configs["mirror.site:5000"]["auth"] == {"username": "u", "password": 'p"q'}
    assert configs["registry.site"]["auth"] == {"identitytoken": "t"}
    assert registries.credentials(registries.Registries()) == ""


def test_secrets_do_not_show_in_logs() -> None:
    assert "p" not in repr(registries.parse(yaml.safe_load(WHOLE)).auth.get("nobody"))
    assert 'p"q' not in repr(registries.parse(yaml.safe_load(WHOLE)))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "the file is not a mapping"),
        ({"mirror": {}}, "has no 'mirror'"),
        ({"mirrors": {"a": {"endpoints": []}}}, "mirrors.a has no 'endpoints'"),
        ({"mirrors": {"a": {"endpoint": "https://x"}}}, "not a list"),
        ({"mirrors": {"a": {"endpoint": ["ftp://x"]}}}, "is not an address"),
        ({"mirrors": {"a": {"rewrite": {"x": "y"}}}}, "cannot rewrite"),
        ({"configs": {"a": {"tls": {"ca": "x"}}}}, "has no 'ca'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(told: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        registries.parse(told)


def test_the_directory_holds_what_is_configured_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path / "hosts"
    assert registries.write(registries.parse(yaml.safe_load(WHOLE)), directory) == directory
    assert sorted(path.name for path in directory.iterdir()) == [
        "_default",
        "docker.io",
        "mirror.site:5000",
        "registry.site",
    ]
    registries.write(registries.parse({"mirrors": {"a.b": {"endpoint": ["c.d"]}}}), directory)
    assert [path.name for path in directory.iterdir()] == ["a.b"]
    assert registries.write(registries.Registries(), directory) is None
    assert not directory.exists()


def test_no_file_is_no_configuration(tmp_path: Path) -> None:
    assert registries.read(tmp_path / "none") == registries.Registries()
    with pytest.raises(UsageError, match="no such file"):
        registries.read(tmp_path / "none", required=True)
    (tmp_path / "bad").write_text("mirrors: [")
    with pytest.raises(UsageError, match="bad"):
        registries.read(tmp_path / "bad")
