"""Questions about identity and permission, asked as objects: access reviews, rules reviews, token reviews, "who am I", and tokens.

Each is a create-only resource that is answered and never stored. Source: k8s.io/kubernetes pkg/registry/authorization,
pkg/registry/authentication, pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec

from edgekube.api import applying, decoding, rules
from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import ObjectMeta, decode_scalar, format_time
from edgekube.clock import Clock
from edgekube.errors import BadRequest
from edgekube.kinds.authentication import selfsubjectreview, tokenrequest, tokenreview
from edgekube.kinds.authorization import (
    localsubjectaccessreview,
    selfsubjectaccessreview,
    selfsubjectrulesreview,
    subjectaccessreview,
)
from edgekube.net.exchange import Request
from edgekube.server import answers, bodies, negotiation
from edgekube.server.auth.authentication import Authentication
from edgekube.server.auth.authorization import Authorization
from edgekube.server.auth.jwt import BadToken
from edgekube.server.auth.node_restriction import check_token
from edgekube.server.auth.rbac import Rbac
from edgekube.server.auth.serviceaccounts import DEFAULT_S, Rejected, ServiceAccountTokens
from edgekube.server.context import Attributes, Context, User
from edgekube.server.paths import Asked
from edgekube.server.resources import Answer, Subresource
from edgekube.server.writing import Target

Document = dict[str, Any]
Respond = Callable[[Document, Any, Target, User], Document]
AUTHORIZATION = "authorization.k8s.io"
EITHER = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


class _Review:
    """A create-only resource: reads the body, lets `respond` fill in the status, answers 201."""

    def __init__(self, kind: Kind[Any], respond: Respond, clock: Clock) -> None:
        self._kind, self._respond, self._clock = kind, respond, clock

    async def __call__(self, asked: Asked, target: Target, request: Request, body: bytes, context: Context) -> Answer:
        kind, struct_type = self._kind, cast(Any, self._kind.type)
        form = negotiation.negotiate(request.header("accept"), kind, shapes=False)
        document = bodies.read_object(kind, body, request.header("content-type"), context)
        item = decoding.decode(kind, document)
        document = kind.to_dict(item) | {"kind": kind.name, "apiVersion": kind.api_version}
        if kind is tokenrequest.KIND and document["spec"].get("expirationSeconds") is None:
            document["spec"]["expirationSeconds"] = DEFAULT_S
        document.setdefault("metadata", {})["managedFields"] = applying.track_update(
            None,
            document,
            manager=context.field_manager,
            api_version=kind.api_version,
            subresource=target.subresource,
            now_text=str(format_time(self._clock.now())),
            schema=applying.schema_of(struct_type),
        )
        made = self._respond(document, item, target, context.user)
        made["kind"], made["apiVersion"] = kind.name, kind.api_version
        return Answer(201, negotiation.encode(form.media, kind, msgspec.json.encode(made)), form.media)


class Reviews:
    """Answers every kind of review."""

    def __init__(
        self,
        authentication: Authentication,
        authorization: Authorization,
        rbac: Rbac,
        tokens: ServiceAccountTokens,
        clock: Clock,
    ) -> None:
        self._authentication, self._authorization = authentication, authorization
        self._rbac, self._tokens, self._clock = rbac, tokens, clock

    def handlers(self) -> dict[str, Subresource]:
        """By "group/plural" and "group/plural/subresource", as `server.resources` wants them."""
        table: list[tuple[Kind[Any], Respond]] = [
            (subjectaccessreview.KIND, self.access),
            (localsubjectaccessreview.KIND, self.local_access),
            (selfsubjectaccessreview.KIND, self.own_access),
            (selfsubjectrulesreview.KIND, self.own_rules),
            (selfsubjectreview.KIND, self.who_am_i),
            (tokenreview.KIND, self.token),
        ]
        made: dict[str, Subresource] = {
            f"{kind.group}/{kind.plural}": _Review(kind, respond, self._clock) for kind, respond in table
        }
        made["/serviceaccounts/token"] = _Review(tokenrequest.KIND, self.grant, self._clock)
        return made

    def access(self, document: Document, item: Any, target: Target, user: User) -> Document:
        """SubjectAccessReview: about anybody."""
        _check_empty_metadata(document)
        _check_subject(item.spec)
        _check_attributes(item.spec)
        return self._judged(document, item.spec, _subject(item.spec))

    def local_access(self, document: Document, item: Any, target: Target, user: User) -> Document:
        """LocalSubjectAccessReview: about anybody, in the namespace of the request."""
        _check_subject(item.spec)
        if item.spec.non_resource_attributes is not None:
            raise _invalid([rules.invalid("spec.nonResourceAttributes", None, "disallowed on this kind of request")])
        _check_attributes(item.spec)
        if item.metadata.namespace not in ("", target.namespace):
            raise BadRequest(answers.WRONG_NAMESPACE)
        asked = item.spec.resource_attributes
        if asked.namespace != target.namespace:
            raise _invalid(
                [rules.invalid("spec.resourceAttributes.namespace", asked.namespace, "must match metadata.namespace")]
            )
        document.setdefault("metadata", {})["namespace"] = target.namespace
        return self._judged(document, item.spec, _subject(item.spec))

    def own_access(self, document: Document, item: Any, target: Target, user: User) -> Document:
        """SelfSubjectAccessReview."""
        _check_empty_metadata(document)
        _check_attributes(item.spec)
        return self._judged(document, item.spec, user)

    def own_rules(self, document: Document, item: Any, target: Target, user: User) -> Document:
        """SelfSubjectRulesReview. The rules come sorted, so that two answers can be compared."""
        namespace = item.spec.namespace
        if not namespace:
            raise BadRequest("no namespace on request")
        found = [rule.to_wire() for rule in self._rbac.rules_of(user, namespace)]
        found = sorted(found, key=lambda rule: msgspec.json.encode({key: rule[key] for key in sorted(rule)}))
        return {
            "metadata": {},
            "spec": {},
            "status": {
                "resourceRules": [rule for rule in found if "resources" in rule],
                "nonResourceRules": [rule for rule in found if "nonResourceURLs" in rule],
                "incomplete": False,
            },
        }

    def who_am_i(self, document: Document, item: Any, target: Target, user: User) -> Document:
        """SelfSubjectReview."""
        return {
            "metadata": {"creationTimestamp": str(format_time(self._clock.now()))},
            "status": {"userInfo": _user_info(user)},
        }

    def token(self, document: Document, item: Any, target: Target, user: User) -> Document:
        """TokenReview: whom a token stands for."""
        if not item.spec.token:
            raise BadRequest("token is required for TokenReview in authentication")
        document["status"] = self._token_status(item.spec.token, item.spec.audiences)
        return document

    def grant(self, document: Document, item: Any, target: Target, user: User) -> Document:
        """TokenRequest: a token for a service account."""
        if item.metadata.namespace not in ("", target.namespace):
            raise BadRequest(answers.WRONG_NAMESPACE)
        check_token(user, target.namespace, target.name, item.spec.bound_object_ref, self._tokens.pod)
        made = self._tokens.grant(target.namespace, target.name, document)
        made["metadata"]["managedFields"] = document["metadata"]["managedFields"]
        return made

    def _token_status(self, token: str, audiences: Sequence[str]) -> Document:
        known = self._authentication.static_user(token)
        if known is not None:
            wanted = list(audiences) or list(self._tokens.audiences)
            shared = [audience for audience in wanted if audience in self._tokens.audiences]
            if shared:
                return {"authenticated": True, "user": _user_info(known), "audiences": shared}
        if not self._tokens.is_ours(token):
            return {"user": {}, "error": "invalid bearer token"}
        try:
            verified = self._tokens.verify(token, audiences)
        except BadToken:
            return {"user": {}, "error": "invalid bearer token"}
        except Rejected as why:
            return {"user": {}, "error": f"[invalid bearer token, {why}]"}
        return {"authenticated": True, "user": _user_info(verified.user), "audiences": list(verified.audiences)}

    def _judged(self, document: Document, spec: Any, user: User) -> Document:
        allowed, reason = self._authorization.decide(_attributes(spec, user))
        document["status"] = {"allowed": allowed} | ({"reason": reason} if reason else {})
        return document


def _attributes(spec: Any, user: User) -> Attributes:
    if spec.resource_attributes is None:
        plain = spec.non_resource_attributes
        return Attributes(user=user, verb=plain.verb, path=plain.path)
    asked = spec.resource_attributes
    return Attributes(
        user=user,
        verb=asked.verb,
        group=asked.group,
        version=asked.version,
        resource=asked.resource,
        subresource=asked.subresource,
        namespace=asked.namespace,
        name=asked.name,
        field_selector=asked.field_selector.raw_selector if asked.field_selector else "",
        label_selector=asked.label_selector.raw_selector if asked.label_selector else "",
    )


def _subject(spec: Any) -> User:
    extra = {key.lower(): tuple(values) for key, values in spec.extra.items()}
    return User(spec.user, tuple(spec.groups), spec.uid, extra)


def _user_info(user: User) -> Document:
    made: Document = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        made["uid"] = user.uid
    if user.extra:
        made["extra"] = {key: list(values) for key, values in user.extra.items()}
    return made


def _check_subject(spec: Any) -> None:
    if not spec.user and not spec.groups:
        raise _invalid([rules.invalid("spec.user", spec.user, "at least one of user or group must be specified")])


def _check_attributes(spec: Any) -> None:
    resource, plain = spec.resource_attributes, spec.non_resource_attributes
    if resource is not None and plain is not None:
        words = "cannot be specified in combination with resourceAttributes"
        raise _invalid([rules.invalid("spec.nonResourceAttributes", msgspec.to_builtins(plain), words)])
    if resource is None and plain is None:
        raise _invalid([rules.invalid("spec.resourceAttributes", None, EITHER)])


def _check_empty_metadata(document: Document) -> None:
    metadata = document["metadata"]
    if metadata.keys() - {"managedFields"}:
        typed = msgspec.convert(metadata, ObjectMeta, dec_hook=decode_scalar)  # shown in the order of its members
        raise _invalid([rules.invalid("metadata", typed, "must be empty")])


def _invalid(broken: list[FieldError]) -> Exception:
    return answers.invalid_named(f".{AUTHORIZATION}", "", AUTHORIZATION, "", broken)
