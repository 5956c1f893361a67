"""What validating and mutating admission policies share: which policy concerns a write, through which bindings, with which
parameters; and what their expressions may speak of.

Policies and bindings are kept as webhooks' configurations are, so that a write where there are none pays one look. What the
policies of each kind do is in their own steps. Source: k8s.io/apiserver pkg/admission/plugin/policy/{generic,matching}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from edgekube import errors
from edgekube.api import selectors
from edgekube.api.kind import Kind
from edgekube.api.selectors import LabelQuery
from edgekube.kinds.core import namespace as namespace_kind
from edgekube.server import answers
from edgekube.server.admission.interface import Cluster, Review
from edgekube.server.admission.kept import Kept
from edgekube.server.admission.webhook_calls import document_of
from edgekube.server.admission.webhook_matching import (
    GROUP,
    Invocation,
    concerns_namespace,
    concerns_object,
    kind_of,
    matches_rules,
    resource_of,
    siblings,
)
from edgekube.server.admission.webhook_tools import Webhooks
from edgekube.server.stored import in_version

EXEMPT = frozenset(
    f"{GROUP}/{plural}"
    for plural in (
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    )
)
NO_PARAMS = "no params found for policy binding with `Deny` parameterNotFoundAction"
P = TypeVar("P")


class Misconfigured(Exception):
    """A policy or binding that cannot be used for this write; its failurePolicy says what follows."""


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a policy or a binding is about, ready to be asked."""

    namespaces: LabelQuery
    objects: LabelQuery
    rules: Sequence[Any]
    excluded: Sequence[Any]
    equivalent: bool


def constraints_of(match: Any | None) -> Constraints | None:
    """From matchConstraints or matchResources; None matches everything."""
    if match is None:
        return None
    try:
        namespaces = selectors.from_label_selector(match.namespace_selector)
        objects = selectors.from_label_selector(match.object_selector)
    except ValueError:  # refused when it was written
        namespaces = objects = selectors.NOTHING
    equivalent = match.match_policy != "Exact"
    return Constraints(namespaces, objects, match.resource_rules, match.exclude_resource_rules, equivalent)


@dataclass(slots=True)
class Policy(Generic[P]):
    """A policy at hand. `programs` are compiled when a write first concerns it."""

    name: str
    spec: Any
    about: Constraints | None
    programs: P | None = None

    @property
    def ignores_failures(self) -> bool:
        """Whether a write passes that the policy cannot decide about."""
        return bool(self.spec.failure_policy == "Ignore")


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a policy is in force."""

    name: str
    spec: Any
    about: Constraints | None


@dataclass(slots=True)
class Invoked(Generic[P]):
    """A policy, a binding and one parameter that a write is to be held against, as the version it is seen in."""

    policy: Policy[P]
    binding: Binding
    kind: Kind[Any]
    params: Mapping[str, Any] | None


def _prepared_policies(items: Sequence[Any]) -> tuple[Policy[Any], ...]:
    ordered = sorted(items, key=lambda one: one.metadata.name)
    return tuple(Policy(one.metadata.name, one.spec, constraints_of(one.spec.match_constraints)) for one in ordered)


def _prepared_bindings(items: Sequence[Any]) -> dict[str, list[Binding]]:
    made: dict[str, list[Binding]] = {}
    for one in sorted(items, key=lambda one: one.metadata.name):
        binding = Binding(one.metadata.name, one.spec, constraints_of(one.spec.match_resources))
        made.setdefault(one.spec.policy_name, []).append(binding)
    return made


# ------------------------------------------------------------------------------------------------- matching


def _meant(
    rules: Iterable[Any], review: Review, about: Constraints, others: Callable[[], list[Kind[Any]]]
) -> Kind[Any] | None:
    """The version as which a rule means the write, or None."""
    ruled = list(rules)

    def named(rule: Any) -> bool:
        return not rule.resource_names or review.name in rule.resource_names

    if any(matches_rules((rule,), resource_of(review.kind), review) and named(rule) for rule in ruled):
        return review.kind
    if not about.equivalent or not ruled:
        return None
    for kind in others():
        if any(matches_rules((rule,), resource_of(kind), review) and named(rule) for rule in ruled):
            return kind
    return None


def matching(
    about: Constraints | None, review: Review, cluster: Cluster, kinds: Callable[[], Iterable[Kind[Any]]]
) -> Kind[Any] | None:
    """The version in which a write is to be seen; None when it is not meant. Raises NotFound for a missing namespace."""
    if about is None:
        return review.kind
    in_namespace = concerns_namespace(about.namespaces, review, cluster)
    if in_namespace is False or not concerns_object(about.objects, review):
        return None

    def others() -> list[Kind[Any]]:
        return siblings(review.kind, kinds())

    if about.excluded and _meant(about.excluded, review, about, others) is not None:
        return None
    found = _meant(about.rules, review, about, others) if about.rules else review.kind
    if found is not None and isinstance(in_namespace, errors.ApiError):
        raise in_namespace
    return found


# ------------------------------------------------------------------------------------------------- at work


class Policies(Generic[P]):
    """The policies of one kind, with their bindings."""

    def __init__(self, tools: Webhooks, policies: Kind[Any], bindings: Kind[Any]) -> None:
        self._tools = tools
        self._policies: Kept[tuple[Policy[P], ...]] = Kept(tools.store, policies, _prepared_policies)
        self._bindings = Kept(tools.store, bindings, _prepared_bindings)

    async def now(self) -> tuple[Policy[P], ...]:
        """All policies of this moment, bound or not."""
        return await self._policies.now()

    async def at_hand(self, review: Review) -> list[tuple[Policy[P], list[Binding]]]:
        """Policies that are bound anywhere, unless the write is none of theirs."""
        policies = await self._policies.now()
        if not policies or review.resource in EXEMPT:
            return []
        bindings = await self._bindings.now()
        return [(one, bindings[one.name]) for one in policies if one.name in bindings]

    async def exist(self) -> bool:
        """Whether there are any policies at all."""
        return bool(await self._policies.now())

    def concerned(
        self, policy: Policy[P], bindings: Sequence[Binding], review: Review, cluster: Cluster
    ) -> Iterator[Invoked[P] | tuple[Binding | None, Misconfigured]]:
        """Every way a policy is to be asked about a write, or why it cannot be (with the binding that is at fault)."""
        try:
            kind = matching(policy.about, review, cluster, self._tools.kinds)
            if kind is None:
                return
            of_params = self._param_kind(policy)
        except errors.ApiError as problem:
            yield None, Misconfigured(problem.message)
            return
        except Misconfigured as problem:
            yield None, problem
            return
        for binding in bindings:
            try:
                if matching(binding.about, review, cluster, self._tools.kinds) is None:
                    continue
                for params in _params(policy, binding, of_params, review, cluster):
                    yield Invoked(policy, binding, kind, params)
            except errors.ApiError as problem:
                yield binding, Misconfigured(problem.message)
            except Misconfigured as problem:
                yield binding, problem

    def _param_kind(self, policy: Policy[P]) -> Kind[Any] | None:
        wanted = policy.spec.param_kind
        if wanted is None:
            return None
        for kind in self._tools.kinds():
            if kind.api_version == wanted.api_version and kind.name == wanted.kind:
                return kind
        group, _, version = wanted.api_version.rpartition("/")
        shown = f"{group}/{version}, Kind={wanted.kind}"
        raise Misconfigured(f"failed to find resource referenced by paramKind: '{shown}'")

    async def objects(self, kind: Kind[Any], review: Review) -> tuple[Any, Any]:
        """(object, oldObject) in a version."""
        made: list[Any] = []
        for item in (review.item, review.old):
            if review.view is not None and item is not None:
                made.append(review.view(item))
                continue
            document = document_of(review.kind, item)
            if document is not None and kind is not review.kind and not review.subresource_object:
                document = await in_version(review.kind, kind, document)
            made.append(document)
        return made[0], made[1]

    async def bindings(self, invoked: Invoked[P], review: Review, cluster: Cluster) -> dict[str, Any]:
        """What expressions may speak of. Raises NotFound for a missing namespace."""
        from edgekube.api.cel.admission import namespace_value
        from edgekube.server.admission.webhook_conditions import bindings

        call = Invocation(_NO_HOOK, invoked.kind)
        made = dict(bindings(call, review, await self.objects(invoked.kind, review), self._tools.authorizer))
        request = made["request"] = dict(made["request"])
        if review.of_collection:
            request.pop("name", None)
        namespace = "" if kind_of(review.kind, review).to_kind() == _NAMESPACE else review.namespace
        found = cluster.find(namespace_kind.KIND, "", namespace) if namespace else None
        if namespace and found is None:
            raise answers.not_found(namespace_kind.KIND, namespace)
        made["namespaceObject"] = namespace_value(None if found is None else namespace_kind.KIND.to_dict(found))
        made["params"] = invoked.params
        return made


_NO_HOOK: Any = None  # a request is made of the same parts, whoever it is for
_NAMESPACE = {"group": "", "version": "v1", "kind": "Namespace"}


def _params(
    policy: Policy[Any], binding: Binding, kind: Kind[Any] | None, review: Review, cluster: Cluster
) -> list[Mapping[str, Any] | None]:
    """The parameters a binding names; [None] where none are asked for. Raises Misconfigured."""
    reference = binding.spec.param_ref
    if kind is None or reference is None:
        return [None]
    if reference.namespace and not kind.namespaced:
        raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    namespace = (reference.namespace or review.namespace) if kind.namespaced else ""
    if kind.namespaced and not namespace:
        raise Misconfigured("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    if reference.name:
        one = cluster.find(kind, namespace, reference.name)
        found = [] if one is None else [one]
    else:
        query = selectors.from_label_selector(reference.selector)
        found = [one for one in cluster.all(kind, namespace) if query.matches(one.metadata.labels or {})]
    if not found and reference.parameter_not_found_action == "Deny":
        raise Misconfigured(NO_PARAMS)
    return [{**kind.to_dict(one), "kind": kind.name, "apiVersion": kind.api_version} for one in found]
