"""Authentication and authorisation put together over a store: what `app` opens and the server is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from edgekube.clock import Clock
from edgekube.server.admission.interface import Step
from edgekube.server.auth.authentication import Authentication, CertificateUsers, TokenHook
from edgekube.server.auth.authorization import Authorization
from edgekube.server.auth.bootstrap_tokens import BootstrapTokens
from edgekube.server.auth.escalation import EscalationStep
from edgekube.server.auth.jwt import Signer
from edgekube.server.auth.node import open_node_authorizer
from edgekube.server.auth.node_restriction import NodeRestriction
from edgekube.server.auth.nodekeys import NodeKeys
from edgekube.server.auth.rbac import Rbac, open_rbac
from edgekube.server.auth.reviews import Reviews
from edgekube.server.auth.serviceaccounts import ISSUER, ServiceAccountTokens
from edgekube.server.context import User
from edgekube.server.resources import Subresource
from edgekube.store.interface import Store


@dataclass(frozen=True, slots=True)
class Auth:
    """`steps` go into admission, `special` into `Resources`; `tokens` also serves OIDC discovery."""

    authentication: Authentication
    authorization: Authorization
    rbac: Rbac
    tokens: ServiceAccountTokens
    steps: tuple[Step, ...]
    special: dict[str, Subresource]
    keys: NodeKeys


@asynccontextmanager
async def open_auth(
    store: Store,
    clock: Clock,
    *,
    client_ca: bytes,
    signing_key: bytes,
    static_tokens: Mapping[str, User] | None = None,
    hooks: Sequence[TokenHook] = (),
    issuer: str = ISSUER,
    certain: Callable[[], datetime] | None = None,
    request_header_ca: bytes = b"",
) -> AsyncIterator[Auth]:
    """`client_ca` and `signing_key` are PEM (`app.pki`); `certain` gives a time that has surely come (default: the clock's)."""
    async with open_rbac(store) as rbac, open_node_authorizer(store) as nodes:
        tokens = ServiceAccountTokens(store, Signer(signing_key), clock, issuer=issuer)
        keys = NodeKeys(store)
        authentication = Authentication(
            certificates=CertificateUsers(client_ca, certain=certain or clock.now, keys=keys),
            service_accounts=tokens,
            static_tokens=static_tokens,
            hooks=(BootstrapTokens(store, clock), *hooks),
            front_proxies=(
                CertificateUsers(request_header_ca, certain=certain or clock.now) if request_header_ca else None
            ),
        )
        authorization = Authorization(nodes, rbac)
        reviews = Reviews(authentication, authorization, rbac, tokens, clock)
        steps: tuple[Step, ...] = (NodeRestriction(), EscalationStep(rbac, authorization))
        yield Auth(authentication, authorization, rbac, tokens, steps, reviews.handlers(), keys)
