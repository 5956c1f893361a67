"""How many bytes went over the connections of each peer, as the kernel counts them: nothing is added to any read or write.

What is counted is what a metered link charges: TCP segments with their IP and TCP headers, acknowledgements and repeats included. A
connection is looked at when figures are wanted and once more when it ends. Source: Linux include/uapi/linux/tcp.h, struct tcp_info.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass

import trio

from edgekube.net.connection import Connection
from edgekube.net.listener import OpenConnections

TCP_INFO_BYTES = 192
COUNTERS = struct.Struct("<QQII")  # bytes acknowledged by the peer, bytes received, segments sent, segments received
COUNTERS_AT = 120
HEADER_BYTES = 52  # IPv4 20, TCP 20, timestamps 12


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes from a peer and to it."""

    received: int = 0
    sent: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.received + other.received, self.sent + other.sent)


def traffic_of(stream: trio.abc.Stream) -> Traffic:
    """What a TCP connection (below TLS or not) has carried so far; nothing for what is no TCP connection or is closed."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if not isinstance(stream, trio.SocketStream):
        return Traffic()
    try:
        told = stream.socket.getsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_INFO, TCP_INFO_BYTES)
        acknowledged, received, segments_out, segments_in = COUNTERS.unpack_from(told, COUNTERS_AT)
    except (OSError, ssl.SSLError, struct.error):
        return Traffic()
    return Traffic(received + HEADER_BYTES * segments_in, acknowledged + HEADER_BYTES * segments_out)


class PeerTraffic:
    """Sums by peer over the connections of a listener. `peer_of` names whose a client certificate (DER) is, "" for uncounted ones."""

    def __init__(self, opened: OpenConnections, peer_of: Callable[[bytes], str]) -> None:
        self._opened, self._peer_of = opened, peer_of
        self._ended: dict[str, Traffic] = {}
        opened.ended = self._settle

    def _settle(self, connection: Connection) -> None:
        peer = self._peer(connection)
        if peer:
            self._ended[peer] = self._ended.get(peer, Traffic()) + traffic_of(connection.stream)

    def _peer(self, connection: Connection) -> str:
        return self._peer_of(connection.peer_certificate) if connection.peer_certificate is not None else ""

    def sums(self) -> dict[str, Traffic]:
        """Everything so far, by peer."""
        found = dict(self._ended)
        for connection in self._opened.all:
            peer = self._peer(connection)
            if peer:
                found[peer] = found.get(peer, Traffic()) + traffic_of(connection.stream)
        return found
