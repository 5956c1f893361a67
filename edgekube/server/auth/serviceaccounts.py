"""ServiceAccount tokens: what is in them, giving them out, and taking them back when what they are bound to is gone.

A token is as good as the objects it names: the account, and the pod, secret or node it is bound to must still be there with the
same uid. They are read from the store at every use (microseconds), so that a deletion is felt at once. Only the signature check
is remembered. Source: k8s.io/kubernetes pkg/serviceaccount/claims.go, pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from edgekube.api.meta import format_time, parse_time
from edgekube.clock import Clock
from edgekube.errors import BadRequest, Cause, Conflict, Invalid, NotFound
from edgekube.server.auth.jwt import BadToken, Signer
from edgekube.server.context import User
from edgekube.store.interface import Key, Store

ISSUER = "https://kubernetes.default.svc.cluster.local"
SHORTEST_S, LONGEST_S = 10 * 60, 2**32
DEFAULT_S = 3600
EXTENDED_FOR_S = 3607  # what kubelets ask for: clients that never read a token again are given a year, and a warning
EXTENDED_S = 365 * 24 * 3600
DELETED_GRACE = timedelta(seconds=60)  # an object that is going still vouches for its tokens this long
REMEMBERED_TOKENS = 1024

PREFIX = "system:serviceaccount:"
LEGACY_ISSUER, LEGACY = "kubernetes/serviceaccount", "kubernetes.io/serviceaccount/"
BOUND = {
    "Pod": ("pod", "/pods", "pods"),
    "Secret": ("secret", "/secrets", "secrets"),
    "Node": ("node", "/nodes", "nodes"),
}
EXTRA = "authentication.kubernetes.io/"


class Rejected(Exception):
    """The token is ours but no longer (or not here) good; the text says why."""


@dataclass(frozen=True, slots=True)
class Verified:
    """Whom a token stands for, and for which of the asked audiences."""

    user: User
    audiences: tuple[str, ...]


class _Meta(msgspec.Struct, rename="camel"):
    uid: str = ""
    deletion_timestamp: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    service_account_name: str = ""


class _Head(msgspec.Struct):
    metadata: _Meta
    spec: _Spec | None = None


_HEADS = msgspec.json.Decoder(_Head)


class ServiceAccountTokens:
    """Gives out and verifies tokens. `audiences` are what this API server answers to."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        clock: Clock,
        *,
        issuer: str = ISSUER,
        audiences: Sequence[str] = (),
    ) -> None:
        self._store, self._signer, self._clock = store, signer, clock
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)
        self._opened: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def grant(self, namespace: str, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """Answer a TokenRequest (decoded, type-checked) for an account. Raises NotFound, Invalid, BadRequest, Conflict."""
        spec = document.get("spec") or {}
        asked = spec.get("expirationSeconds")
        seconds = DEFAULT_S if asked is None else asked
        _check_expiration(seconds)
        account = self._head("/serviceaccounts", namespace, name)
        if account is None:
            raise NotFound(f'serviceaccounts "{name}" not found', name=name, kind="serviceaccounts")
        _check_name(document.get("metadata") or {}, name)
        audiences = list(spec.get("audiences") or self.audiences)
        now = int(self._clock.now().timestamp())
        private: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": account.metadata.uid},
        }
        bound = spec.get("boundObjectRef")
        if bound is not None:
            private |= self._bind(namespace, bound)
        expires = now + seconds
        claims = {
            "aud": audiences,
            "exp": expires,
            "iat": now,
            "iss": self.issuer,
            "jti": self._clock.uid(),
            "kubernetes.io": private,
            "nbf": now,
            "sub": f"{PREFIX}{namespace}:{name}",
        }
        if "pod" in private and seconds == EXTENDED_FOR_S and set(audiences) <= set(self.audiences):
            claims["exp"], private["warnafter"] = now + EXTENDED_S, expires
        until = datetime.fromtimestamp(expires, UTC)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": account.metadata.uid,
                "creationTimestamp": str(format_time(self._clock.now())),
            },
            "spec": {"audiences": audiences, "expirationSeconds": seconds}
            | ({} if bound is None else {"boundObjectRef": bound}),
            "status": {"token": self._signer.sign(claims), "expirationTimestamp": str(format_time(until))},
        }

    def pod(self, namespace: str, name: str) -> tuple[str, str, str] | None:
        """(uid, node, service account) of a pod a token may be bound to."""
        head = self._head("/pods", namespace, name)
        if head is None or head.spec is None:
            return None
        return head.metadata.uid, head.spec.node_name, head.spec.service_account_name

    def is_ours(self, token: str) -> bool:
        """Whether a token claims to be one of these (nothing is verified)."""
        return token.count(".") == 2

    def verify(self, token: str, audiences: Sequence[str] = ()) -> Verified:
        """Whom a token stands for. `audiences` empty: this server's own. Raises BadToken, Rejected."""
        claims = self._open(token)
        if claims.get("iss") == LEGACY_ISSUER:
            return Verified(self._legacy_user(claims, token), self._own(audiences))
        if claims.get("iss") != self.issuer:
            raise BadToken
        given = claims.get("aud") or []
        given = [given] if isinstance(given, str) else given
        wanted = tuple(audiences) or self.audiences
        shared = tuple(audience for audience in wanted if audience in given)
        if not shared:
            raise Rejected(f"token audiences {_quoted(given)} is invalid for the target audiences {_quoted(wanted)}")
        now = self._clock.now().timestamp()
        if now >= claims.get("exp", 0):
            raise Rejected("service account token has expired")
        if now < claims.get("nbf", 0):
            raise Rejected("service account token is not valid yet")
        return Verified(self._user(claims), shared)

    def legacy(self, namespace: str, name: str, uid: str, secret: str) -> str:
        """A token without an end, as old as Secrets of type service-account-token: good while its Secret holds it."""
        claims = {
            "iss": LEGACY_ISSUER,
            f"{LEGACY}namespace": namespace,
            f"{LEGACY}secret.name": secret,
            f"{LEGACY}service-account.name": name,
            f"{LEGACY}service-account.uid": uid,
            "sub": f"{PREFIX}{namespace}:{name}",
        }
        return self._signer.sign(claims)

    def _own(self, audiences: Sequence[str]) -> tuple[str, ...]:
        shared = tuple(audience for audience in audiences or self.audiences if audience in self.audiences)
        if not shared:
            raise Rejected(
                f"token audiences {_quoted(self.audiences)} is invalid for the target audiences {_quoted(audiences)}"
            )
        return shared

    def _legacy_user(self, claims: dict[str, Any], token: str) -> User:
        try:
            namespace, name = claims[f"{LEGACY}namespace"], claims[f"{LEGACY}service-account.name"]
            uid, secret = claims[f"{LEGACY}service-account.uid"], claims[f"{LEGACY}secret.name"]
        except KeyError:
            raise BadToken from None
        self._vouch("/serviceaccounts", namespace, name, uid, "service account")
        row = self._store.get(Key("/secrets", namespace, secret))
        held = msgspec.json.decode(row.value).get("data", {}).get("token", "") if row is not None else ""
        if base64.b64decode(held) != token.encode():
            raise Rejected("the secret of the token is gone or holds another")
        return User(f"{PREFIX}{namespace}:{name}", groups_of(namespace), uid)

    def discovery(self, host: str) -> dict[str, Any]:
        """The document at /.well-known/openid-configuration."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"https://{host}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def key_set(self) -> dict[str, Any]:
        """The document at /openid/v1/jwks."""
        return self._signer.key_set()

    def _open(self, token: str) -> dict[str, Any]:
        if (claims := self._opened.get(token)) is None:
            claims = self._opened[token] = self._signer.open(token)
            if len(self._opened) > REMEMBERED_TOKENS:
                self._opened.popitem(last=False)
        else:
            self._opened.move_to_end(token)
        return claims

    def _user(self, claims: dict[str, Any]) -> User:
        try:
            private = claims["kubernetes.io"]
            namespace, account = private["namespace"], private["serviceaccount"]
            name, uid = account["name"], account["uid"]
        except (KeyError, TypeError):
            raise BadToken from None
        if claims.get("sub") != f"{PREFIX}{namespace}:{name}":
            raise BadToken
        self._vouch("/serviceaccounts", namespace, name, uid, "service account")
        extra: dict[str, tuple[str, ...]] = {}
        if jti := claims.get("jti"):
            extra[f"{EXTRA}credential-id"] = (f"JTI={jti}",)
        if pod := private.get("pod"):
            self._vouch("/pods", namespace, pod["name"], pod["uid"], "pod")
            extra |= {f"{EXTRA}pod-name": (pod["name"],), f"{EXTRA}pod-uid": (pod["uid"],)}
        if secret := private.get("secret"):
            self._vouch("/secrets", namespace, secret["name"], secret["uid"], "secret")
        if node := private.get("node"):
            if not private.get("pod"):
                self._vouch("/nodes", "", node["name"], node.get("uid", ""), "node")
            extra[f"{EXTRA}node-name"] = (node["name"],)
            if node.get("uid"):
                extra[f"{EXTRA}node-uid"] = (node["uid"],)
        return User(f"{PREFIX}{namespace}:{name}", groups_of(namespace), uid, extra)

    def _vouch(self, resource: str, namespace: str, name: str, uid: str, what: str) -> None:
        head = self._head(resource, namespace, name)
        if head is None or head.metadata.uid != uid:
            raise Rejected(f"the {what} {name} of the token is gone")
        going = head.metadata.deletion_timestamp
        if going and parse_time(going) < self._clock.now() - DELETED_GRACE:
            raise Rejected(f"the {what} {name} of the token has been deleted")

    def _bind(self, namespace: str, reference: dict[str, Any]) -> dict[str, Any]:
        kind, version = reference.get("kind") or "", reference.get("apiVersion") or ""
        if kind not in BOUND or version != "v1":
            group, _, version = version.rpartition("/")
            raise BadRequest(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        claim, resource, plural = BOUND[kind]
        name = reference.get("name") or ""
        head = self._head(resource, "" if kind == "Node" else namespace, name)
        if head is None:
            raise NotFound(f'{plural} "{name}" not found', name=name, kind=plural)
        uid = head.metadata.uid
        if reference.get("uid") and reference["uid"] != uid:
            raise Conflict(
                f'Operation cannot be fulfilled on {kind} "{name}": the UID in the bound object reference '
                f"({reference['uid']}) does not match the UID in record. The object might have been deleted and then recreated",
                name=name,
                kind=kind,
            )
        made = {claim: {"name": name, "uid": uid}}
        if kind == "Pod" and head.spec is not None and head.spec.node_name:
            node = self._head("/nodes", "", head.spec.node_name)
            made["node"] = {"name": head.spec.node_name} | ({"uid": node.metadata.uid} if node is not None else {})
        return made

    def _head(self, resource: str, namespace: str, name: str) -> _Head | None:
        row = self._store.get(Key(resource, namespace, name))
        return None if row is None else _HEADS.decode(row.value)


def groups_of(namespace: str) -> tuple[str, ...]:
    """The groups of every account of a namespace."""
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")


def split_username(username: str) -> tuple[str, str] | None:
    """(namespace, name) of a service account's user name."""
    if not username.startswith(PREFIX):
        return None
    namespace, _, name = username.removeprefix(PREFIX).partition(":")
    return (namespace, name) if namespace and name and ":" not in name else None


def _check_expiration(seconds: int) -> None:
    if seconds < SHORTEST_S:
        problem = "may not specify a duration less than 10 minutes"
    elif seconds > LONGEST_S:
        problem = "may not specify a duration larger than 2^32 seconds"
    else:
        return
    raise _invalid("", "spec.expirationSeconds", f"Invalid value: {seconds}: {problem}")


def _check_name(metadata: dict[str, Any], name: str) -> None:
    if metadata.get("name") and metadata["name"] != name:
        problem = f'Invalid value: "{metadata["name"]}": must match the service account name if specified'
        raise _invalid(name, "metadata.name", problem)


def _invalid(name: str, path: str, problem: str) -> Invalid:
    return Invalid(
        f'TokenRequest.authentication.k8s.io "{name}" is invalid: {path}: {problem}',
        name=name,
        group="authentication.k8s.io",
        kind="TokenRequest",
        causes=[Cause("FieldValueInvalid", problem, path)],
    )


def _quoted(names: Sequence[str]) -> str:
    return "[" + " ".join(f'"{name}"' for name in names) + "]"
