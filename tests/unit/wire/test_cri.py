"""The runtime's messages: made from descriptors that match their sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekube.wire import cri

HERE = Path(cri.__file__).parent


def test_messages_round_trip() -> None:
    made = cri.make(
        "PodSandboxConfig",
        metadata={"name": "a", "uid": "u"},
        labels={"x": "y"},
        linux={"security_context": {"run_as_user": {"value": 0}, "namespace_options": {"network": 2}}},
        hostname=None,
    )
    again = cri.message_type("PodSandboxConfig").FromString(made.SerializeToString())
    assert again == made
    assert again.linux.security_context.HasField("run_as_user")
    assert not again.linux.security_context.HasField("run_as_group")


def test_every_call_knows_its_messages() -> None:
    request, response = cri.call_types(cri.RUNTIME_SERVICE + "ContainerStatus")
    assert (request.DESCRIPTOR.name, response.DESCRIPTOR.name) == ("ContainerStatusRequest", "ContainerStatusResponse")
    with pytest.raises(KeyError):
        cri.call_types(cri.RUNTIME_SERVICE + "Nothing")


def test_unknown_members_of_newer_runtimes_are_carried_on() -> None:
    newer = cri.make("Int64Value", value=5).SerializeToString() + b"\xfa\x01\x03new"
    assert cri.message_type("Int64Value").FromString(newer).value == 5


def test_the_compiled_descriptors_are_those_of_the_sources(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "grpc_tools.protoc",
        f"-I{HERE}",
        f"--descriptor_set_out={tmp_path / 'made'}",
    ]
    subprocess.run([*command, "runtime.proto", "containerd.proto"], check=True, cwd=HERE)
    assert (tmp_path / "made").read_bytes() == (HERE / "messages.bin").read_bytes()
