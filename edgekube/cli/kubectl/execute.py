"""`exec`: run a command in a container over a WebSocket (v5.channel.k8s.io), with the terminal when asked.

One thread reads the socket, the main one the keyboard; nothing else is shared between them than the socket.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import click

from edgekube.cli.kubectl.logs import pod_of
from edgekube.cli.kubectl.session import CommandFailed, Session, _failure, connection_options

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOL = "v5.channel.k8s.io"


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("pod", metavar="(POD | TYPE/NAME)")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND [args...]")
@click.option("--container", "-c", default="", metavar="NAME", help="Container name.")
@click.option("--stdin", "-i", is_flag=True, help="Pass stdin to the container.")
@click.option("--tty", "-t", is_flag=True, help="Stdin is a TTY.")
@click.option("--quiet", "-q", is_flag=True, help="Only print output from the remote session.")
@connection_options
def COMMAND(
    pod: str, command: tuple[str, ...], container: str, stdin: bool, tty: bool, quiet: bool, **where: Any
) -> int:
    """Execute a command in a container.

    \b
    edgekube exec web -- date
    edgekube exec -it deployment/web -- sh
    """
    if not command:
        raise CommandFailed("you must specify at least one command for the container")
    session = Session(**where)
    tty = tty and stdin and sys.stdin.isatty()
    query: list[tuple[str, str]] = [("command", word) for word in command]
    query += [("container", container)] if container else []
    query += [("stdout", "true"), ("stdin", str(stdin).lower()), ("tty", str(tty).lower())]
    query += [] if tty else [("stderr", "true")]
    path = f"/api/v1/namespaces/{session.namespace}/pods/{pod_of(session, pod)}/exec?{urlencode(query)}"
    channel = Socket(session, path)
    with _raw_terminal() if tty else _as_it_is():
        return _converse(channel, stdin=stdin, tty=tty)


class Socket:
    """A client WebSocket that carries channel frames. wsproto speaks, an http.client connection carries."""

    def __init__(self, session: Session, path: str) -> None:
        connection = session.connect()
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Protocol": PROTOCOL,
        }
        connection.request("GET", path, headers=session.headers(headers))
        answer = connection.getresponse()
        if answer.status != 101:
            raise _failure(answer.status, answer.read())
        from wsproto.connection import Connection, ConnectionType

        self._protocol = Connection(ConnectionType.CLIENT)
        self._answer = answer  # its buffer may already hold the first frames
        self._socket = connection.sock
        self._lock = threading.Lock()

    def send(self, channel: int, data: bytes) -> None:
        """One frame on a channel."""
        from wsproto.events import BytesMessage

        with self._lock:
            self._socket.sendall(self._protocol.send(BytesMessage(data=bytes([channel]) + data)))

    def receive(self) -> Iterator[tuple[int, bytes]]:
        """Frames until the server closes."""
        from wsproto.events import BytesMessage, CloseConnection, Ping

        message = b""
        while True:
            data = self._answer.fp.read1(65536) if self._answer.fp else self._socket.recv(65536)
            self._protocol.receive_data(data or None)
            for event in self._protocol.events():
                if isinstance(event, BytesMessage):
                    message += event.data
                    if event.message_finished:
                        if message:
                            yield message[0], message[1:]
                        message = b""
                elif isinstance(event, Ping):
                    with self._lock:
                        self._socket.sendall(self._protocol.send(event.response()))
                elif isinstance(event, CloseConnection):
                    return
            if not data:
                return


def _converse(channel: Socket, *, stdin: bool, tty: bool) -> int:
    ended_read, ended_write = os.pipe()
    if stdin:
        threading.Thread(target=_feed, args=(channel, ended_read), daemon=True).start()
    if tty:
        _send_size(channel)
        signal.signal(signal.SIGWINCH, lambda *_: _send_size(channel))
    status: dict[str, Any] = {}
    for number, data in channel.receive():
        if number == STDOUT:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        elif number == STDERR:
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
        elif number == ERROR and data:
            status = json.loads(data)
    os.close(ended_write)
    return _exit_status(status)


def _exit_status(status: dict[str, Any]) -> int:
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    if status.get("reason") == "NonZeroExitCode":
        code = next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), 1)
        click.echo(f"command terminated with exit code {code}", err=True)
        return code
    raise CommandFailed(status.get("message") or "the connection was lost before the command ended")


def _feed(channel: Socket, ended: int) -> None:
    while True:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            return
        data = os.read(0, 32768)
        try:
            if not data:
                channel.send(CLOSE, bytes([STDIN]))
                return
            channel.send(STDIN, data)
        except OSError:
            return


def _send_size(channel: Socket) -> None:
    size = os.get_terminal_size(0)
    channel.send(RESIZE, json.dumps({"Width": size.columns, "Height": size.lines}).encode())


@contextmanager
def _raw_terminal() -> Iterator[None]:
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield
