"""Sockets inside another network namespace, for port-forward.

setns(2) changes a whole thread, so a thread of its own makes each socket and ends; the socket stays in the namespace it was made in.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
from collections.abc import Mapping

import trio

CLONE_NEWNET = 0x40000000
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def namespace_path(info: Mapping[str, str]) -> str:
    """The network namespace in a runtime's verbose sandbox information; "" for the host's own. Raises OSError when it is not told."""
    try:
        told = json.loads(info.get("info", "{}"))
    except ValueError:
        told = {}
    for namespace in told.get("runtimeSpec", {}).get("linux", {}).get("namespaces", []):
        if namespace.get("type") == "network":
            return namespace.get("path") or (f"/proc/{told['pid']}/ns/net" if told.get("pid") else "")
    if told.get("runtimeSpec"):
        return ""
    raise OSError("the runtime does not tell the pod's network namespace")


def socket_in(path: str, family: int) -> socket.socket:
    """A TCP socket in the namespace at `path` ("" = here). Blocks for microseconds. Raises OSError."""
    if not path:
        return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number))
                made.append(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            finally:
                os.close(descriptor)
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make, name="netns", daemon=True)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


async def connect(path: str, port: int) -> trio.SocketStream:
    """A stream to localhost:`port` inside a namespace. Raises OSError."""
    failure: OSError | None = None
    for family, host in LOOPBACK:
        made = trio.socket.from_stdlib_socket(socket_in(path, family))
        try:
            await made.connect((host, port))
        except OSError as error:
            made.close()
            failure = failure or error
        except BaseException:
            made.close()
            raise
        else:
            return trio.SocketStream(made)
    assert failure is not None
    raise failure
