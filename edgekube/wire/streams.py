"""The channel protocols of exec, attach and port-forward, as data: their names, and how they differ. No I/O.

Source: k8s.io/apimachinery pkg/util/remotecommand/constants.go and the kubelet's streaming documentation (KEP 4006).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STDIN, STDOUT, STDERR, ERROR, RESIZE = 0, 1, 2, 3, 4
CLOSE = 255  # v5: what follows is the number of a channel that has ended
STREAM_TYPES = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}

VERSION_HEADER = "X-Stream-Protocol-Version"
SPDY_UPGRADE = "SPDY/3.1"
PORT_FORWARD = "portforward.k8s.io"
TUNNEL_PREFIX = "SPDY/3.1+"  # a WebSocket subprotocol: SPDY frames as binary messages


@dataclass(frozen=True, slots=True)
class ChannelProtocol:
    """How one version differs from another."""

    name: str
    status_json: bool  # the error channel ends with a Status object, not with words (and only on failure)
    resize: bool
    base64: bool = False  # WebSocket text messages
    half_close: bool = False  # the client can end stdin


def _named(*protocols: ChannelProtocol) -> Mapping[str, ChannelProtocol]:
    return {protocol.name: protocol for protocol in protocols}


SPDY = _named(
    ChannelProtocol("v4.channel.k8s.io", status_json=True, resize=True, half_close=True),
    ChannelProtocol("v3.channel.k8s.io", status_json=False, resize=True, half_close=True),
    ChannelProtocol("v2.channel.k8s.io", status_json=False, resize=False, half_close=True),
    ChannelProtocol("channel.k8s.io", status_json=False, resize=False, half_close=True),
)
WEBSOCKET = _named(
    ChannelProtocol("v5.channel.k8s.io", status_json=True, resize=True, half_close=True),
    ChannelProtocol("v4.channel.k8s.io", status_json=True, resize=True),
    ChannelProtocol("v4.base64.channel.k8s.io", status_json=True, resize=True, base64=True),
    ChannelProtocol("channel.k8s.io", status_json=False, resize=False),
    ChannelProtocol("base64.channel.k8s.io", status_json=False, resize=False, base64=True),
    ChannelProtocol("", status_json=False, resize=False),
)
WEBSOCKET_PORT_FORWARD = _named(  # numbered channels; two a port
    ChannelProtocol("v4.channel.k8s.io", status_json=False, resize=False),
    ChannelProtocol("v4.base64.channel.k8s.io", status_json=False, resize=False, base64=True),
    ChannelProtocol("", status_json=False, resize=False),
)


def choose(offered: Sequence[str], known: Iterable[str]) -> str | None:
    """The first offered name that is known; of no offer the unversioned "", if that is known; None: no agreement."""
    names = set(known)
    if not offered:
        return "" if "" in names else None
    return next((name for name in offered if name in names), None)


def status_bytes(status: dict[str, Any], protocol: ChannelProtocol) -> bytes:
    """What the error channel says at the end."""
    if protocol.status_json:
        return json.dumps(status, separators=(",", ":")).encode()
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()


class ResizeReader:
    """Terminal sizes out of a stream of JSON objects. Bytes that are none are dropped, and so is an endless one."""

    MAX_BYTES = 4096

    def __init__(self) -> None:
        self._text = ""

    def feed(self, data: bytes) -> list[tuple[int, int]]:
        """The (width, height) pairs that are complete now."""
        self._text += data.decode("utf-8", "replace")
        sizes: list[tuple[int, int]] = []
        while (end := self._text.find("}")) >= 0:  # sizes are flat objects
            start = max(0, self._text.rfind("{", 0, end))
            words, self._text = self._text[start : end + 1], self._text[end + 1 :]
            try:
                found = json.loads(words)
            except ValueError:
                continue
            width, height = found.get("Width"), found.get("Height")
            if isinstance(width, int) and isinstance(height, int) and 0 < width < 65536 and 0 < height < 65536:
                sizes.append((width, height))
        if len(self._text) > self.MAX_BYTES:
            self._text = ""
        return sizes


def resize_bytes(width: int, height: int) -> bytes:
    """A terminal size as the resize stream carries it."""
    return b'{"Width":%d,"Height":%d}\n' % (width, height)
