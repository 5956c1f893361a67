"""Bootstrap tokens: short-lived secrets by which a machine that is nobody yet may ask for its certificate.

They are Secrets `bootstrap-token-<id>` in kube-system; a token reads `<id>.<secret>`. Made and thrown away by others, only
believed here. Source: k8s.io/kubernetes plugin/pkg/auth/authenticator/token/bootstrap.
"""

from __future__ import annotations

import base64
import hmac
import re

import msgspec

from edgekube.api.meta import parse_time
from edgekube.clock import Clock
from edgekube.server.context import User
from edgekube.store.interface import Key, Store

TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
TYPE = "bootstrap.kubernetes.io/token"
GROUP = "system:bootstrappers"
EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class BootstrapTokens:
    """An `authentication.TokenHook`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def __call__(self, token: str) -> User | None:
        """The user of a bootstrap token, None when it is none, or not good for this."""
        parts = TOKEN.fullmatch(token)
        if parts is None:
            return None
        id_, secret = parts.groups()
        row = self._store.get(Key("/secrets", "kube-system", f"bootstrap-token-{id_}"))
        if row is None:
            return None
        document = msgspec.json.decode(row.value)
        if document.get("type") != TYPE or document["metadata"].get("deletionTimestamp"):
            return None
        data = {
            name: base64.b64decode(value).decode(errors="replace") for name, value in document.get("data", {}).items()
        }
        if data.get("token-id") != id_ or not hmac.compare_digest(
            data.get("token-secret", "").encode(), secret.encode()
        ):
            return None
        if data.get("usage-bootstrap-authentication") != "true" or self._is_over(data.get("expiration", "")):
            return None
        extra = [group for group in data.get("auth-extra-groups", "").split(",") if group]
        if not all(EXTRA_GROUP.fullmatch(group) for group in extra):
            return None
        return User(f"system:bootstrap:{id_}", (GROUP, *sorted(extra)))

    def _is_over(self, expiration: str) -> bool:
        if not expiration:
            return False
        try:
            return parse_time(expiration) <= self._clock.now()
        except ValueError:
            return True
