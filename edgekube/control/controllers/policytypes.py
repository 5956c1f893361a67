"""ValidatingAdmissionPolicy status: what its expressions would get wrong about the kinds it is for.

Policies are compiled when they are written without knowing what objects they will see; here they are read once more for each kind
their rules name outright, and what does not fit stands in status.typeChecking. It changes nothing about what a policy does.

Source: kubernetes pkg/controller/validatingadmissionpolicystatus, k8s.io/apiserver pkg/admission/plugin/policy/validating/
typechecking.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from msgspec.structs import replace as with_members

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.client.interface import Client
from edgekube.control.config import Config
from edgekube.kinds.admissionregistration import validatingadmissionpolicy as policies
from edgekube.kinds.admissionregistration.validatingadmissionpolicy import ExpressionWarning, ValidatingAdmissionPolicy
from edgekube.kinds.apiextensions import customresourcedefinition as definitions
from edgekube.kinds.catalog import built_in
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import Plan, Update

MOST_KINDS = 10  # of one rule


@dataclass(frozen=True, slots=True)
class Named:
    """A kind that a policy's rules name: `schema` is a custom one's."""

    group: str
    version: str
    kind: str
    built_in: Kind[Any] | None = None
    schema: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A policy that was not looked at yet, and the kinds it names; `lost`: resources no built-in kind has."""

    policy: ValidatingAdmissionPolicy
    kinds: tuple[Named, ...]
    params: Named | None
    lost: tuple[tuple[str, str, str], ...] = ()


def named(policy: ValidatingAdmissionPolicy) -> Iterator[tuple[str, str, str]]:
    """(group, version, resource) of every rule that says all three outright."""
    match = policy.spec.match_constraints
    for rule in match.resource_rules if match is not None else ():
        if any("*" in one for one in (*rule.api_groups, *rule.api_versions)):
            continue
        resources = [one for one in sorted(rule.resources) if "*" not in one and "/" not in one]
        triples = [(g, v, r) for g in sorted(rule.api_groups) for v in sorted(rule.api_versions) for r in resources]
        yield from triples[:MOST_KINDS]


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """A policy whose status is not of its present generation."""
    policy = caches.of(policies.KIND).get("", key.name)
    if policy is None or policy.metadata.deletion_timestamp is not None:
        return None
    status = policy.status
    if status.observed_generation == policy.metadata.generation and status.type_checking is not None:
        return None
    known = {(one.group, one.version, one.plural): one for one in built_in()}
    wanted = list(dict.fromkeys(named(policy)))
    found = tuple(Named(one[0], one[1], known[one].name, known[one]) for one in wanted if one in known)
    params, reference = None, policy.spec.param_kind
    if reference is not None:
        group, version = reference.api_version.rpartition("/")[::2]
        own = next(
            (one for one in known.values() if one.api_version == reference.api_version and one.name == reference.kind),
            None,
        )
        params = Named(group, version, reference.kind, own)
    return Seen(policy, found, params, tuple(one for one in wanted if one not in known))


async def inquire(client: Client, seen: Seen) -> Seen:
    """Schemas of custom resources, where a policy names any."""
    params = seen.params
    if not seen.lost and (params is None or params.built_in is not None):
        return seen
    found = list(seen.kinds)
    for definition in (await client.list(definitions.KIND)).items:
        spec = definition.spec
        for version in spec.versions or ():
            schema = version.schema.open_apiv3_schema if version.schema is not None else None
            made = Named(spec.group, version.name, spec.names.kind, schema=schema)
            if (spec.group, version.name, spec.names.plural) in seen.lost and version.served:
                found.append(made)
            if params is not None and (params.group, params.version, params.kind) == (
                made.group,
                made.version,
                made.kind,
            ):
                params = made
    return replace(seen, kinds=tuple(found), params=params)


def warnings(seen: Seen) -> list[ExpressionWarning]:
    """What does not fit, expression by expression."""
    made: list[ExpressionWarning] = []
    for at, validation in enumerate(seen.policy.spec.validations):
        for member, text in (
            ("expression", validation.expression),
            ("messageExpression", validation.message_expression),
        ):
            words = _checked(seen, text) if text else ""
            if words:
                made.append(ExpressionWarning(field_ref=f"spec.validations[{at}].{member}", warning=words))
    return made


def _checked(seen: Seen, text: str) -> str:
    from edgekube.api.cel.admission import Scope, checked
    from edgekube.api.cel.errors import CompileError

    spec, told = seen.policy.spec, []
    for kind in sorted(seen.kinds, key=lambda one: (one.group, one.version, one.kind)):
        made = _type(kind)
        known = {} if made is None else {"object": made, "oldObject": made}
        if seen.params is not None and (of_params := _type(seen.params)) is not None:
            known["params"] = of_params
        scope = Scope(params=spec.param_kind is not None, composed=bool(spec.variables), types_of=known)
        for variable in spec.variables:
            try:
                scope.add(variable.name, variable.expression)
            except CompileError:
                continue  # it may be anything then
        if wrong := checked(text, scope=scope):
            told.append(f"{kind}: {wrong}\n")
    return "\n".join(told)


def _type(kind: Named) -> Any | None:
    from edgekube.api.cel.structs import type_of
    from edgekube.api.schema_types import declared
    from edgekube.api.typed import node_of

    if kind.built_in is not None:
        return type_of(node_of(cast(Any, kind.built_in.type)))
    return None if kind.schema is None else declared(dict(kind.schema), root=True)


def reconcile(seen: Seen) -> Plan:
    """Write what was found, and of which generation."""
    policy = seen.policy
    checking = policies.TypeChecking(expression_warnings=warnings(seen))
    status = with_members(policy.status, observed_generation=policy.metadata.generation, type_checking=checking)
    return Plan([Update(kind=policies.KIND, item=with_members(policy, status=status), subresource="status")])


def of_policy(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """The policy itself."""
    yield Key("", item.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="validatingadmissionpolicy-status-controller",
        watches=(Watch(policies.KIND, of_policy),),
        observe=observe,
        inquire=inquire,
        reconcile=reconcile,
    )
