"""ServiceAccount tokens for projected volumes: asked of the API, bound to the pod, renewed at 80 % of their life.

Source: kubelet token/token_manager.go (behaviour).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgekube.api.meta import parse_time
from edgekube.client.interface import Client
from edgekube.clock import Clock
from edgekube.kinds.core.pod import Pod

RENEW_AT = 0.8
LONGEST_LIFE_S = 24 * 3600  # however long a token is valid, it is renewed at least this often


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    renew_at: float  # seconds since the epoch


@dataclass
class TokenKeeper:
    """Tokens by pod, audience and wanted life."""

    client: Client
    clock: Clock
    _held: dict[tuple[str, str, int], _Held] = field(default_factory=dict)

    async def token(self, pod: Pod, audience: str, expiration_s: int) -> str:
        """A token valid for a while. The old one is given when renewing fails and it is still valid; else raises ApiError."""
        key = (pod.metadata.uid, audience, expiration_s)
        held, now = self._held.get(key), self.clock.now().timestamp()
        if held is not None and now < held.renew_at:
            return held.token
        body = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {},
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": expiration_s,
                "boundObjectRef": {
                    "kind": "Pod",
                    "apiVersion": "v1",
                    "name": pod.metadata.name,
                    "uid": pod.metadata.uid,
                },
            },
        }
        account = pod.spec.service_account_name or "default"
        path = f"/api/v1/namespaces/{pod.metadata.namespace}/serviceaccounts/{account}/token"
        answer = (await self.client.call("POST", path, body))["status"]
        ends_at = parse_time(answer["expirationTimestamp"]).timestamp()
        life_s = max(0.0, ends_at - now)
        self._held[key] = _Held(answer["token"], now + min(life_s * RENEW_AT, LONGEST_LIFE_S))
        return str(answer["token"])

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        for key in [key for key in self._held if key[0] == uid]:
            del self._held[key]
