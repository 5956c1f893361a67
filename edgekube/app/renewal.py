"""An agent's certificates over the years: renewed long before they end, by the key they always had, without restarting anything.

In touch with its server a node asks for its next certificate by CertificateSigningRequest, as a kubelet does. A node whose
certificate is over (it was away for longer) proves its key to the server's /edgekube/v1/renew, which asks for no certificate.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import Protocol

import trio

from edgekube.api.certificates import NODE_CLIENT, NODE_SERVING, ends_at
from edgekube.app.identity import SERVER_NAME, AgentConfig, Identity, certificate_request
from edgekube.app.joining import REQUESTS, node_request, signed
from edgekube.client.kubeconfig import Access
from edgekube.client.remote import RemoteClient, open_remote
from edgekube.clock import TrustedClock
from edgekube.errors import ApiError, ConnectionFailed, EnvironmentError_, Forbidden, NotFound, Unauthorized
from edgekube.kinds.core import node as node_kind
from edgekube.net.tls import ClientTls

RENEW_PAGE = "/edgekube/v1/renew"
RENEW_LEFT = timedelta(days=90)  # of a year
SPREAD_DAYS = 30  # so that machines set up on one day do not all come on one day
LOOK_S = 3600.0
LOOK_FIRST_S = 30.0  # the Node object has its addresses by then
ASK_AGAIN_S = 10.0  # after the server refused this machine
REFUSALS = 2  # in a row, before it is believed that this machine is no node any more

LOG = logging.getLogger("edgekube.certificates")


class Online(Protocol):
    """What is asked of a replica."""

    async def wait_online(self) -> None: ...


class Renewal:
    """One agent's certificates. `removed` is set when the server said that this machine is no node any more."""

    def __init__(
        self, config: AgentConfig, identity: Identity, clock: TrustedClock, tls: ClientTls, removed: trio.Event
    ) -> None:
        self.config, self.identity, self._clock, self._tls = config, identity, clock, tls
        self.removed = removed
        self._refusals = 0
        self._refused = trio.Event()
        self._renewed = trio.Event()
        self._coming_back = trio.Lock()

    def show(self) -> None:
        """Show what is on disk from the next connection on."""
        self._tls.show(self.identity.certificate().read_bytes(), self.identity.key().read_bytes())

    def is_due(self, name: str) -> bool:
        """Whether a certificate is missing or soon over."""
        path = self.identity.certificate(name)
        try:
            ends = ends_at(path.read_bytes())
        except (OSError, ValueError):
            return True
        spread = int.from_bytes(hashlib.sha256(self.config.node_name.encode()).digest()[:4], "big") % (SPREAD_DAYS + 1)
        return self._clock.now() > ends - RENEW_LEFT - timedelta(days=spread)

    async def keep(self, remote: RemoteClient, link: Online) -> None:
        """Renew for ever what is due."""
        await trio.sleep(LOOK_FIRST_S)
        while True:
            await link.wait_online()
            try:
                if self.is_due("client"):
                    await self._renew_client(remote)
                await self._renew_serving(remote)
            except Unauthorized:
                await self.come_back()
            except (ApiError, ConnectionFailed, EnvironmentError_) as error:
                LOG.info("certificates are renewed later: %s", error)
            await trio.sleep(LOOK_S)

    async def _renew_client(self, remote: RemoteClient) -> None:
        pem = certificate_request(self.identity.key().read_bytes(), self.config.node_name)
        made = await remote.create(REQUESTS, node_request(pem, NODE_CLIENT, "client auth"))
        self._take(await _granted(remote, made.metadata.name))
        LOG.info("the certificate was renewed")

    async def _renew_serving(self, remote: RemoteClient) -> None:
        """The certificate this machine shows to who calls it; asked for again when its addresses change."""
        try:
            node = await remote.get(node_kind.KIND, self.config.node_name)
        except NotFound:
            return
        addresses = sorted({one.address for one in node.status.addresses if one.type.endswith("IP")})
        names = [self.config.node_name, *addresses]
        noted = self.identity.directory / "serving.names"
        same = noted.exists() and noted.read_text().split() == names
        if same and not self.is_due("serving"):
            return
        pem = certificate_request(self.identity.ensure_key("serving"), self.config.node_name, names)
        made = await remote.create(REQUESTS, node_request(pem, NODE_SERVING, "server auth"))
        self.identity.put(self.identity.certificate("serving"), await _granted(remote, made.metadata.name))
        self.identity.put(noted, " ".join(names).encode())
        LOG.info("this node can show who it is: %s", ", ".join(names))

    async def come_back(self) -> bool:
        """Get in again by the key alone; whether that worked. Who asks while another one is at it shares the outcome."""
        before = self._renewed
        async with self._coming_back:
            return before.is_set() or await self._come_back()

    async def _come_back(self) -> bool:
        authority = self.identity.authority.read_bytes()
        tls = ClientTls(authority, self._clock.certain)
        access = Access(server=self.config.server, ca=authority, server_name=SERVER_NAME)
        try:
            pem = certificate_request(self.identity.key().read_bytes(), self.config.node_name)
            async with open_remote(access, tls=tls.context) as anybody:
                certificate = await anybody.request(
                    "POST", RENEW_PAGE, None, pem, content_type="application/x-pem-file"
                )
        except Forbidden as error:
            LOG.error("%s", error.message)
            self._refusals += 1
            if self._refusals >= REFUSALS:
                self.removed.set()
            return False
        except (ApiError, ConnectionFailed, EnvironmentError_) as error:
            LOG.info("the certificate is renewed later: %s", error)
            return False
        self._take(certificate)
        LOG.info("the server knew the key of this machine and gave it a new certificate")
        return True

    def refused(self) -> None:
        """The server did not believe the certificate."""
        self._refused.set()

    async def keep_welcome(self) -> None:
        """Come back by the key, for ever, whenever the certificate is not believed."""
        while True:
            await self._refused.wait()
            came = await self.come_back()
            await trio.sleep(ASK_AGAIN_S)
            if came or not self._refusals:
                self._refused = trio.Event()

    def _take(self, certificate: bytes) -> None:
        ends_at(certificate)
        self._refusals = 0
        self.identity.put(self.identity.certificate(), certificate)
        self.show()
        renewed, self._renewed = self._renewed, trio.Event()
        renewed.set()

    async def wait_renewed(self) -> None:
        """Until there is another certificate: what lives as long as the tunnel is opened again with it."""
        await self._renewed.wait()


async def _granted(remote: RemoteClient, name: str) -> bytes:
    answer = await signed(remote, name)
    if isinstance(answer, str):
        raise EnvironmentError_(answer)
    return answer
