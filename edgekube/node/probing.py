"""One probe or hook, once: exec, HTTP, TCP, gRPC. What its outcome means is decided elsewhere (`pods.tally`, `pods.worker`).

Source: kubelet pkg/probe/* (success criteria and wording).
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import trio

from edgekube.kinds.core.container import ExecAction, GRPCAction, HTTPGetAction, HTTPHeader, TCPSocketAction
from edgekube.net.grpc import GrpcChannel, RpcFailed
from edgekube.node.pods.configs import port_number
from edgekube.node.pods.restarts import go_duration
from edgekube.node.pods.seen import AnyContainer
from edgekube.node.runtime.cri import Runtime
from edgekube.wire import cri

OUTPUT_LIMIT_BYTES = 10 * 1024
REDIRECTS_AT_MOST = 10
AGENT = "kube-probe/1.36"
SERVING = 1
SERVING_NAMES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


@dataclass(frozen=True, slots=True)
class Result:
    """`passed` None: the probe itself could not be done (counted as nothing, told as an error)."""

    passed: bool | None
    output: str = ""


async def by_exec(runtime: Runtime, container_id: str, action: ExecAction, timeout_s: float) -> Result:
    """Exit status 0 passes."""
    try:
        status, output = await runtime.exec_sync(container_id, action.command, max(1, round(timeout_s)))
    except RpcFailed as failed:
        if failed.code == "DEADLINE_EXCEEDED":
            command = " ".join(action.command)
            return Result(False, f'command timed out: "{command}" timed out after {go_duration(timeout_s)}')
        return Result(None, f"rpc error: code = {failed.code.title().replace('_', '')} desc = {failed.message}")
    return Result(status == 0, output[:OUTPUT_LIMIT_BYTES].decode(errors="replace"))


async def by_tcp(container: AnyContainer, action: TCPSocketAction, ip: str, timeout_s: float) -> Result:
    """A connection that opens passes."""
    host = action.host or ip
    try:
        port = port_number(container, action.port)
    except ValueError as error:
        return Result(None, str(error))
    address = f"{host}:{port}"
    with trio.move_on_after(timeout_s):
        try:
            stream = await trio.open_tcp_stream(host, port)
        except OSError as error:
            return Result(False, f"dial tcp {address}: connect: {_os_words(error)}")
        await stream.aclose()
        return Result(True)
    return Result(False, f"dial tcp {address}: i/o timeout")


async def by_grpc(action: GRPCAction, ip: str, timeout_s: float) -> Result:
    """The standard health service answering SERVING passes."""
    address = f"{ip}:{action.port}"
    request = cri.make("containerd.v1.HealthCheckRequest", service=action.service or "")
    channel = GrpcChannel(address)
    try:
        with trio.fail_after(timeout_s):
            data = await channel.unary("/grpc.health.v1.Health/Check", request.SerializeToString())
    except trio.TooSlowError:
        within = go_duration(timeout_s)
        return Result(
            False, f'timeout: failed to connect service "{address}" within {within}: context deadline exceeded'
        )
    except RpcFailed as failed:
        if failed.code == "UNAVAILABLE":
            return Result(False, f'error: failed to connect service at "{address}": {failed.message}')
        return Result(False, f"error: health rpc probe failed: {failed.message}")
    finally:
        channel.close()
    status = cri.message_type("containerd.v1.HealthCheckResponse").FromString(data).status
    if status == SERVING:
        return Result(True)
    name = SERVING_NAMES[status] if 0 <= status < len(SERVING_NAMES) else str(status)
    return Result(False, f'service unhealthy (responded with "{name}")')


async def by_http(container: AnyContainer, action: HTTPGetAction, ip: str, timeout_s: float) -> Result:
    """A status from 200 to 399 passes. Redirects on the same host are followed."""
    try:
        port = port_number(container, action.port)
    except ValueError as error:
        return Result(None, str(error))
    scheme = (action.scheme or "HTTP").lower()
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    host = action.host or ip
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"
    with trio.move_on_after(timeout_s):
        try:
            status, body = await _get(url, action.http_headers)
        except _Elsewhere as elsewhere:
            return Result(True, f"Probe terminated redirects, Response body: {elsewhere}")
        except OSError as error:
            return Result(False, f'Get "{url}": dial tcp {host}:{port}: connect: {_os_words(error)}')
        except (trio.BrokenResourceError, ValueError) as error:
            return Result(False, f'Get "{url}": {error or "EOF"}')
        if 200 <= status < 400:
            return Result(True, body[:OUTPUT_LIMIT_BYTES].decode(errors="replace"))
        return Result(False, f"HTTP probe failed with statuscode: {status}")
    return Result(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')


class _Elsewhere(Exception):
    """A redirect to another host: the probe passes and goes no further."""


async def _get(url: str, headers: Sequence[HTTPHeader]) -> tuple[int, bytes]:
    for _ in range(REDIRECTS_AT_MOST):
        status, location, body = await _get_once(url, headers)
        if status not in (301, 302, 303, 307, 308) or not location:
            return status, body
        following = urljoin(url, location)
        if urlsplit(following).hostname != urlsplit(url).hostname:
            raise _Elsewhere(body[:OUTPUT_LIMIT_BYTES].decode(errors="replace"))
        url = following
    raise ValueError(f"stopped after {REDIRECTS_AT_MOST} redirects")


async def _get_once(url: str, headers: Sequence[HTTPHeader]) -> tuple[int, str, bytes]:
    import h11

    parts = urlsplit(url)
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    stream: trio.abc.Stream = await trio.open_tcp_stream(parts.hostname, port)
    if parts.scheme == "https":
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE  # a probe asks for life, not for identity
        stream = trio.SSLStream(stream, trust, server_hostname=parts.hostname, https_compatible=True)
    given = {header.name.lower(): header.value for header in headers}
    sent = {"host": parts.netloc, "user-agent": AGENT, "accept": "*/*", "connection": "close"} | given
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = h11.Connection(h11.CLIENT)
    try:
        await stream.send_all(
            (connection.send(h11.Request(method="GET", target=target, headers=list(sent.items()))) or b"")
            + (connection.send(h11.EndOfMessage()) or b"")
        )
        status, location, body = 0, "", b""
        while len(body) < OUTPUT_LIMIT_BYTES:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(OUTPUT_LIMIT_BYTES)))
            elif isinstance(event, h11.Response):
                status = event.status_code
                location = next((v.decode() for k, v in event.headers if k == b"location"), "")
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
        return status, location, body
    except h11.ProtocolError as error:
        raise ValueError(str(error)) from None
    finally:
        await trio.aclose_forcefully(stream)


def _os_words(error: OSError) -> str:
    import errno

    inner = error.__cause__ or error
    group = getattr(inner, "exceptions", None)
    number = group[0].errno if group else error.errno
    words = {
        errno.ECONNREFUSED: "connection refused",
        errno.EHOSTUNREACH: "no route to host",
        errno.ENETUNREACH: "network is unreachable",
        errno.ETIMEDOUT: "connection timed out",
    }
    return words.get(number or 0, str(error))
