"""Protobuf messages of the Container Runtime Interface and of containerd, made on first use from compiled descriptors.

Bytes to messages and back; what they mean is `node.runtime`'s business, and how they travel `net.grpc`'s.
`messages.bin` holds the descriptors of the two `.proto` files beside this one. After changing those:

    python -m grpc_tools.protoc -Iedgekube/wire/cri --descriptor_set_out=edgekube/wire/cri/messages.bin \
        runtime.proto containerd.proto

Loading them this way costs less memory than generated modules, and protobuf itself is imported only by who asks.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from typing import Any

RUNTIME_SERVICE = "/runtime.v1.RuntimeService/"
IMAGE_SERVICE = "/runtime.v1.ImageService/"

Message = Any  # protobuf's classes are made at run time; nothing static describes them


@cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool

    packed = pkgutil.get_data(__name__, "messages.bin")
    assert packed is not None, "messages.bin is shipped beside this module"
    files = descriptor_pb2.FileDescriptorSet.FromString(packed)
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def message_type(name: str) -> Any:
    """The class of a message by short name ("ContainerConfig") or full name ("containerd.v1.Envelope")."""
    from google.protobuf import message_factory

    full = name if "." in name else f"runtime.v1.{name}"
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(full))


def make(name: str, /, **members: Any) -> Message:
    """A message; nested messages may be given as dicts, None members are left out."""
    return message_type(name)(**{key: value for key, value in members.items() if value is not None})


@cache
def call_types(path: str) -> tuple[Any, Any]:
    """(request class, response class) of a CRI method path such as "/runtime.v1.RuntimeService/Version"."""
    from google.protobuf import message_factory

    service, _, method = path.strip("/").rpartition("/")
    found = _pool().FindServiceByName(service).methods_by_name[method]
    return message_factory.GetMessageClass(found.input_type), message_factory.GetMessageClass(found.output_type)
