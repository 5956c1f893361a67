"""Becoming a node: from a pasted line to a certificate, in an order that never shows the secret to a stranger.

    the machine fits? -> the server's CA, unverified -> its hash is the token's? -> (from here on verified) settings and version
    -> own key -> certificate request with the token -> certificate -> identity on disk -> service -> Ready

Interrupted anywhere, the same command goes on with the key that is on disk. What an agent then does is `app.agentmode`'s.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import trio

from edgekube.api.certificates import APPROVED, DENIED, FAILED, NODE_CLIENT
from edgekube.api.jointoken import JoinToken
from edgekube.api.meta import ObjectMeta, parse_time
from edgekube.api.skew import VERSION
from edgekube.app.identity import SERVER_NAME, AgentConfig, Identity, certificate_request
from edgekube.client.kubeconfig import Access
from edgekube.client.remote import RemoteClient, open_remote
from edgekube.clock import TrustedClock
from edgekube.errors import ApiError, ConnectionFailed, EnvironmentError_, Forbidden, NotFound, Unauthorized, UsageError
from edgekube.kinds.certificates import certificatesigningrequest
from edgekube.kinds.certificates.certificatesigningrequest import (
    CertificateSigningRequest,
    CertificateSigningRequestSpec,
)
from edgekube.kinds.core import node as node_kind
from edgekube.net.tls import ClientTls

REQUESTS = certificatesigningrequest.KIND
AGENT_PAGE = f"/edgekube/v1/agent?version={VERSION}"
PROGRAMS = ("nft", "ip", "runc", "conntrack")
KUBELET_PORT = 10250
POLL_S = (0.1, 2.0)
SIGNED_WITHIN_S = 60.0
FORMER_SELF_S = 120.0  # a server notices within this that the machine of this name is gone
CONNECTED = "is connected right now"

Say = Callable[[str], None]


def check_server(text: str) -> str:
    """The URL a person typed, made whole. Raises UsageError."""
    url = urlsplit(text if "://" in text else f"https://{text}")
    if url.scheme != "https" or not url.hostname or url.path.strip("/") or url.query:
        raise UsageError(f"{text!r} is not a server's address; it reads https://HOST:6443")
    try:
        port = url.port or 6443
    except ValueError:
        raise UsageError(f"{text!r} has no valid port") from None
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"https://{host}:{port}"


def check_machine(config: AgentConfig, identity: Identity) -> None:
    """Whether this machine can be a node. Raises EnvironmentError_ with everything that is in the way."""
    if os.geteuid() != 0:
        raise EnvironmentError_("joining needs root: run it with sudo")
    if identity.complete:
        held = identity.read_config()
        raise EnvironmentError_(
            f"this machine has joined {held.server} as {held.node_name} already; `edgekube leave` undoes that"
        )
    if (config.data_dir / "store.db").exists():
        raise EnvironmentError_(f"{config.data_dir} holds a server's data: a server's machine is a node already")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    wanted = PROGRAMS if config.container_runtime_endpoint else ("containerd", *PROGRAMS)
    missing = [program for program in wanted if not shutil.which(program, path=path)]
    if missing:
        raise EnvironmentError_(f"missing on this machine: {', '.join(missing)}")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", KUBELET_PORT)) == 0:
            raise EnvironmentError_(f"another Kubernetes node runs on this machine (port {KUBELET_PORT} is in use)")


async def fetch_authority(server: str, token: JoinToken) -> bytes:
    """The cluster's CA (PEM), if it is the one the token was made for. Nothing is told to who answers."""
    try:
        async with open_remote(Access(server=server, insecure=True)) as anybody:
            pem = await anybody.request("GET", "/cacerts")
    except ConnectionFailed as error:
        raise EnvironmentError_(f"cannot reach {server}: {error}") from error
    except ApiError as error:
        raise EnvironmentError_(f"{server} is not an edgekube server: {error.message}") from error
    if not token.trusts(pem.decode(errors="replace")):
        raise EnvironmentError_(
            f"{server} is not the server this token is from (its CA is another): nothing was sent to it. "
            "Check the address, and that nobody is in between"
        )
    return pem


async def join(config: AgentConfig, token: JoinToken, identity: Identity, say: Say) -> AgentConfig:
    """Get a certificate and remember everything. Raises EnvironmentError_ in one line."""
    authority = await fetch_authority(config.server, token)
    say("the server is the one the token was made for")
    clock = TrustedClock()
    tls = ClientTls(authority, clock.certain)
    access = Access(server=config.server, ca=authority, server_name=SERVER_NAME, token=token.bearer)
    async with open_remote(access, tls=tls.context, manager="edgekube-join") as client:
        try:
            page = await client.call("GET", AGENT_PAGE)
            clock.learn(parse_time(page["now"]), parse_time(page["certain"]))
            config = replace(config, cluster=dict(page["settings"]))
            certificate = await _ask(client, config, identity.ensure_key(), say)
        except Unauthorized:
            raise EnvironmentError_(
                "the server does not accept the token: it expired, was used up or was revoked; "
                "make a fresh one with: edgekube token create"
            ) from None
        except Forbidden as error:
            raise EnvironmentError_(error.message) from error
        except (ApiError, ConnectionFailed) as error:
            raise EnvironmentError_(f"joining {config.server} failed: {error}") from error
    identity.put(identity.authority, authority)
    identity.put(identity.certificate(), certificate)
    learnt = TrustedClock(identity.directory / "time")
    learnt.learn(clock.now(), clock.certain())
    learnt.write()
    identity.write_config(config)
    say(f"this machine is the node {config.node_name}")
    return config


async def _ask(client: RemoteClient, config: AgentConfig, key: bytes, say: Say) -> bytes:
    """The node's certificate. While the server still holds a connection of the machine's former self, ask again."""
    request = certificate_request(key, config.node_name)
    deadline = trio.current_time() + FORMER_SELF_S
    told = False
    while True:
        made = await client.create(REQUESTS, node_request(request, NODE_CLIENT, "client auth"))
        answer = await signed(client, made.metadata.name)
        if isinstance(answer, bytes):
            return answer
        if CONNECTED not in answer or trio.current_time() > deadline:
            raise EnvironmentError_(f"the server refused: {answer}")
        if not told:
            say(
                f"a machine named {config.node_name} is connected; waiting up to {FORMER_SELF_S:.0f} s for it to be gone"
            )
            told = True
        await trio.sleep(POLL_S[1])


def node_request(pem: bytes, signer: str, purpose: str) -> CertificateSigningRequest:
    """A request of a node, ready to be created."""
    return CertificateSigningRequest(
        metadata=ObjectMeta(generate_name="node-csr-"),
        spec=CertificateSigningRequestSpec(request=pem, signer_name=signer, usages=["digital signature", purpose]),
    )


async def signed(client: Any, name: str, within_s: float = SIGNED_WITHIN_S) -> bytes | str:
    """The certificate of a request once it is there, or the words it was refused with. Raises EnvironmentError_ when neither comes."""
    pause_s, longest_s = POLL_S
    deadline = trio.current_time() + within_s
    while trio.current_time() < deadline:
        request = await client.get(REQUESTS, name)
        if request.status.certificate:
            return bytes(request.status.certificate)
        for condition in request.status.conditions:
            if condition.type in (DENIED, FAILED):
                return str(condition.message or condition.reason)
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, longest_s)
    waits = any(condition.type == APPROVED for condition in request.status.conditions)
    raise EnvironmentError_(
        f"the server did not sign the request {name} within {within_s:.0f} s"
        if waits
        else f"the request {name} was not approved within {within_s:.0f} s: `kubectl certificate approve {name}`, then join again"
    )


async def wait_ready(config: AgentConfig, identity: Identity, within_s: float) -> bool:
    """Whether the server sees this node Ready within a while."""
    tls = ClientTls(identity.authority.read_bytes(), TrustedClock(identity.directory / "time").certain)
    tls.show(identity.certificate().read_bytes(), identity.key().read_bytes())
    with trio.move_on_after(within_s):
        async with open_remote(identity.access(config.server), tls=tls.context) as client:
            while True:
                try:
                    node = await client.get(node_kind.KIND, config.node_name)
                    if any(one.type == "Ready" and one.status == "True" for one in node.status.conditions):
                        return True
                except (NotFound, ConnectionFailed):
                    pass
                await trio.sleep(POLL_S[0] * 2)
    return False
