"""Where settings come from, in which order, and what a wrong one is answered with."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from edgekube.app.config import OPTIONS, ServerConfig, combine, read_file
from edgekube.errors import UsageError


def test_flags_win_over_environment_over_file_over_defaults() -> None:
    file = {"https-listen-port": 1, "node-name": "from-file", "cluster-domain": "file.local"}
    environment = {"EDGEKUBE_HTTPS_LISTEN_PORT": "2", "EDGEKUBE_NODE_NAME": "from-environment"}
    found = combine({"https_listen_port": 3}, environment, file)
    assert (found.https_listen_port, found.node_name, found.cluster_domain) == (3, "from-environment", "file.local")
    assert found.bind_address == "0.0.0.0"


def test_addresses_that_are_not_given_follow_from_the_ranges() -> None:
    found = combine({"service_cidr": "10.99.0.0/16"}, {})
    assert found.api_service_ip == "10.99.0.1"
    assert found.dns_ip == "10.99.0.10"
    assert found.service_cidr == IPv4Network("10.99.0.0/16")


def test_only_an_unusual_data_directory_needs_names_of_its_own() -> None:
    assert combine({}, {}).instance == ""
    assert len(combine({"data_dir": "/tmp/a"}, {}).instance) == 6


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"cluster_cidr": "10.42.0.0/99"}, "--cluster-cidr"),
        ({"cluster_cidr": "10.43.0.0/17"}, "overlap"),
        ({"node_ip": "here"}, "'here' is not an IP address"),
        ({"cluster_dns": "9.9.9.9"}, "not inside --service-cidr"),
        ({"https_listen_port": 70000}, "70000 is not a port"),
        ({"node_label": ("a",)}, "'a' is not key=value"),
        ({"node_taint": ("a=b",)}, "key=value:effect"),
        ({"log_format": "xml"}, "neither text nor json"),
        ({"node_name": "Under_Score"}, "not a valid node name"),
        ({"service_node_port_range": "9-1"}, "FROM-TO"),
        ({"agent_heartbeat": "30s"}, "half of --node-monitor-grace-period"),
        ({"agent_heartbeat": "often"}, "'often' is not a time"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_flag(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        combine(flags, {})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "not YAML"), ("- 1", "expected keys"), ("no-such-key: 1", "unknown key 'no-such-key'")],
)
def test_a_broken_file_is_one_line_that_names_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_file(path, required=True)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_matters_only_when_it_was_asked_for(tmp_path: Path) -> None:
    assert read_file(tmp_path / "none", required=False) == {}
    with pytest.raises(UsageError):
        read_file(tmp_path / "none", required=True)


def test_every_option_is_a_field_and_every_field_an_option() -> None:
    assert {option.attribute for option in OPTIONS} == set(ServerConfig.__dataclass_fields__)
