"""Who is asking: a client certificate, a bearer token, or nobody.

The first that proves something wins, certificates before tokens as upstream has it. A token that proves nothing is a 401; no
token at all, or a scheme we do not know, is the anonymous user. What the user may do is not known here.
Source: k8s.io/apiserver pkg/authentication/request (union, x509, bearertoken, anonymous).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from edgekube.api.certificates import NODE_GROUP, NODE_USER, end_of, key_print
from edgekube.errors import Unauthorized
from edgekube.net.exchange import Request
from edgekube.server.auth.jwt import BadToken
from edgekube.server.auth.nodekeys import NodeKeys
from edgekube.server.auth.serviceaccounts import EXTRA, Rejected, ServiceAccountTokens
from edgekube.server.context import ANONYMOUS, User

AUTHENTICATED = "system:authenticated"
REMEMBERED_CERTIFICATES = 256
FRONT_PROXY = "system:auth-proxy"  # the only name that may vouch for others
REMOTE_EXTRA = "x-remote-extra-"

TokenHook = Callable[[str], Awaitable[User | None]]
"""Another kind of bearer token (bootstrap tokens): the user, or None when it is not one of these."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate of our client CA, read: whose, until when, and the fingerprint of its key."""

    user: User
    until: datetime
    key: str

    @property
    def node(self) -> str:
        """The node it lets in, "" for anybody else."""
        user = self.user
        is_node = user.name.startswith(NODE_USER) and NODE_GROUP in user.groups
        return user.name.removeprefix(NODE_USER) if is_node else ""


class CertificateUsers:
    """Users of client certificates: CN is the name, each O a group. TLS has verified the chain but not the time, which is ours to
    tell; here it is asked which CA it was, whether it has expired, and for nodes whether the key is still the node's."""

    def __init__(
        self, client_ca: bytes, *, certain: Callable[[], datetime] | None = None, keys: NodeKeys | None = None
    ) -> None:
        """`client_ca` is PEM. A certificate of another CA that TLS lets in (a front proxy's) names nobody. `certain` is a time that
        has surely come."""
        self._ca_pem = client_ca
        self._ca: Any = None
        self._certain, self._keys = certain, keys
        self._known: OrderedDict[bytes, Shown | None] = OrderedDict()

    def user_of(self, certificate: bytes) -> User | None:
        """The user of a DER certificate. Raises Unauthorized for one that was good once and is no more."""
        shown = self._shown(certificate)
        if shown is None:
            return None
        if self._is_over(shown):
            raise Unauthorized
        return shown.user

    def is_over(self, certificate: bytes) -> bool:
        """Whether a DER certificate let somebody in and does no more."""
        shown = self._shown(certificate)
        return shown is not None and self._is_over(shown)

    def node_of(self, certificate: bytes) -> str:
        """The node a DER certificate is for, "" for anybody else's."""
        shown = self._shown(certificate)
        return shown.node if shown is not None else ""

    def _is_over(self, shown: Shown) -> bool:
        if self._certain is not None and shown.until < self._certain():
            return True
        return self._keys is not None and bool(node := shown.node) and shown.key not in self._keys.of(node)

    def _shown(self, certificate: bytes) -> Shown | None:
        if certificate not in self._known:
            self._known[certificate] = self._read(certificate)
            if len(self._known) > REMEMBERED_CERTIFICATES:
                self._known.popitem(last=False)
        return self._known[certificate]

    def _read(self, der: bytes) -> Shown | None:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.x509.oid import NameOID

        try:
            certificate = x509.load_der_x509_certificate(der)
            if self._ca is None:
                self._ca = x509.load_pem_x509_certificate(self._ca_pem)
            certificate.verify_directly_issued_by(self._ca)
        except (ValueError, TypeError, InvalidSignature):
            return None
        names = [str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = [str(part.value) for part in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        if not names or not names[0]:
            return None
        proof = f"X509SHA256={hashlib.sha256(der).hexdigest()}"
        user = User(names[0], with_authenticated(groups), "", {f"{EXTRA}credential-id": (proof,)})
        return Shown(user, end_of(certificate), key_print(certificate.public_key()))


class Authentication:
    """`server.context.Authenticator`. `static_tokens` maps a token to its user; `hooks` are asked last."""

    def __init__(
        self,
        *,
        certificates: CertificateUsers | None = None,
        service_accounts: ServiceAccountTokens | None = None,
        static_tokens: Mapping[str, User] | None = None,
        hooks: tuple[TokenHook, ...] = (),
        anonymous: bool = True,
        front_proxies: CertificateUsers | None = None,
    ) -> None:
        """`front_proxies`: whose certificates may speak for others, by request headers."""
        self._front_proxies = front_proxies
        self._certificates, self._service_accounts = certificates, service_accounts
        self._static = [
            (hashlib.sha256(token.encode()).digest(), user) for token, user in (static_tokens or {}).items()
        ]
        self._hooks = hooks
        self._anonymous = anonymous

    async def authenticate(self, request: Request) -> User:
        """The user. Raises Unauthorized."""
        if request.peer_certificate is not None and self._front_proxies is not None:
            vouched = self._vouched(request, request.peer_certificate)
            if vouched is not None:
                return vouched
        token = bearer_token(request)
        if request.peer_certificate is not None and self._certificates is not None:
            try:
                shown = self._certificates.user_of(request.peer_certificate)
            except Unauthorized:
                if not token:
                    raise
                shown = None
            if shown is not None:
                return shown
        if token:
            user = await self.user_of_token(token)
            if user is None:
                raise Unauthorized
            return user
        if not self._anonymous:
            raise Unauthorized
        return ANONYMOUS

    def _vouched(self, request: Request, certificate: bytes) -> User | None:
        """Whom a front proxy says it speaks for. Source: k8s.io/apiserver authentication/request/headerrequest."""
        name = request.header("x-remote-user").strip()
        assert self._front_proxies is not None
        if not name or (proxy := self._front_proxies.user_of(certificate)) is None or proxy.name != FRONT_PROXY:
            return None
        extra: dict[str, tuple[str, ...]] = {}
        for header, value in request.headers:
            if header.startswith(REMOTE_EXTRA):
                key = unquote(header.removeprefix(REMOTE_EXTRA)).lower()
                extra[key] = (*extra.get(key, ()), value)
        groups = with_authenticated(request.all_headers("x-remote-group"))
        return User(name, groups, request.header("x-remote-uid"), extra)

    def is_over(self, certificate: bytes) -> bool:
        """Whether a client certificate (DER) let somebody in and does no more: what it opened is to be ended."""
        return self._certificates is not None and self._certificates.is_over(certificate)

    def node_of(self, certificate: bytes) -> str:
        """The node a client certificate (DER) is for, "" for anybody else's."""
        return self._certificates.node_of(certificate) if self._certificates is not None else ""

    def static_user(self, token: str) -> User | None:
        """Whom a configured token stands for."""
        digest = hashlib.sha256(token.encode()).digest()
        for known, user in self._static:
            if hmac.compare_digest(known, digest):
                return user
        return None

    async def user_of_token(self, token: str) -> User | None:
        """Whom a token lets in here, None when it does not."""
        if (known := self.static_user(token)) is not None:
            return known
        if self._service_accounts is not None and self._service_accounts.is_ours(token):
            try:
                return self._service_accounts.verify(token).user
            except (BadToken, Rejected):
                pass
        for hook in self._hooks:
            found = await hook(token)
            if found is not None:
                return User(found.name, with_authenticated(found.groups), found.uid, found.extra)
        return None


def bearer_token(request: Request) -> str:
    """The token of the Authorization header; a WebSocket client may hide it among its protocols, as browsers must."""
    scheme, _, token = request.header("authorization").strip().partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    prefix = "base64url.bearer.authorization.k8s.io."
    for protocol in request.header("sec-websocket-protocol").split(","):
        if protocol.strip().startswith(prefix):
            import base64

            encoded = protocol.strip().removeprefix(prefix)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except ValueError:
                return ""
    return ""


def with_authenticated(groups: Any) -> tuple[str, ...]:
    """The groups and, once, that of everybody who proved who they are."""
    return tuple(groups) if AUTHENTICATED in groups else (*groups, AUTHENTICATED)


def administrator(name: str = "system:admin") -> User:
    """Who the static admin token stands for."""
    return User(name, ("system:masters", AUTHENTICATED))
