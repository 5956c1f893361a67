"""MutatingAdmissionPolicy: expressions that change objects on their way in, as an applied configuration or as a JSON patch.

Policies are asked in the order of their names, each sees what the one before it made. When one changed something, all steps are
asked a second time, and of the policies those that wish to be. Source: k8s.io/apiserver pkg/admission/plugin/policy/mutating.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from edgekube import errors
from edgekube.api import merging, typed
from edgekube.api.patching import json_patch
from edgekube.api.typed import Node
from edgekube.errors import Cause
from edgekube.kinds.admissionregistration import mutatingadmissionpolicy, mutatingadmissionpolicybinding
from edgekube.server import answers
from edgekube.server.admission.interface import Cluster, Review, Step
from edgekube.server.admission.mutating_webhook import Rounds, put_in_place
from edgekube.server.admission.policies import Binding, Invoked, Policies, Policy
from edgekube.server.admission.webhook_calls import document_of
from edgekube.server.admission.webhook_tools import Webhooks
from edgekube.server.schemas import schema_for
from edgekube.server.stored import in_version

if TYPE_CHECKING:
    from edgekube.api.cel.program import CompileError, Program

Document = dict[str, Any]


class Failed(Exception):
    """A mutation cannot be carried out."""


@dataclass(slots=True)
class Programs:
    """The expressions of one policy."""

    conditions: list[Program | CompileError]
    variables: dict[str, Program | CompileError]
    mutations: list[Program | CompileError]


def compiled(spec: Any) -> Programs:
    """All programs of a policy's spec; what cannot be compiled stands as its error."""
    from edgekube.api.cel.admission import APPLIED, PATCHES, Scope, compiled_conditions
    from edgekube.api.cel.errors import CompileError

    params = spec.param_kind is not None
    scope = Scope(params=params, patching=True, composed=bool(spec.variables))
    conditions = compiled_conditions((one.expression for one in spec.match_conditions), Scope(params=params))
    variables: dict[str, Program | CompileError] = {}
    for one in spec.variables:
        try:
            variables[one.name] = scope.add(one.name, one.expression)
        except CompileError as problem:
            variables[one.name] = problem
    mutations: list[Program | CompileError] = []
    for one in spec.mutations:
        given, wanted = (
            (one.json_patch, PATCHES) if one.patch_type == "JSONPatch" else (one.apply_configuration, APPLIED)
        )
        try:
            mutations.append(scope.compile(given.expression, wanted))
        except CompileError as problem:
            mutations.append(problem)
    return Programs(conditions, variables, mutations)


class MutatingPolicies(Step):
    """The step."""

    name = "MutatingAdmissionPolicy"

    def __init__(self, tools: Webhooks) -> None:
        self._policies: Policies[Programs] = Policies(
            tools, mutatingadmissionpolicy.KIND, mutatingadmissionpolicybinding.KIND
        )

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden where a policy that must be carried out cannot be."""
        for_write = await self._policies.at_hand(review)
        if for_write and review.operation != "DELETE":
            await self._dispatch(for_write, review, cluster)

    async def _dispatch(
        self, policies: list[tuple[Policy[Programs], list[Binding]]], review: Review, cluster: Cluster
    ) -> None:
        rounds: Rounds = review.memory.setdefault(self.name, Rounds())
        if review.again and rounds.output != document_of(review.kind, review.item):
            rounds.changed()
        failures: list[tuple[str, str]] = []
        for policy, bindings in policies:
            for invoked in self._policies.concerned(policy, bindings, review, cluster):
                if isinstance(invoked, tuple):
                    binding, problem = invoked
                    what = "policy" if binding is None else "binding"
                    failures += _failure(policy, binding, f"failed to configure {what}: {problem}", "")
                    continue
                for words in await self._invoke(invoked, review, cluster, rounds):
                    failures += _failure(policy, invoked.binding, words, "Invalid")
        rounds.output = document_of(review.kind, review.item)
        if failures:
            raise _refusal(review, failures)

    async def _invoke(self, invoked: Invoked[Programs], review: Review, cluster: Cluster, rounds: Rounds) -> list[str]:
        """Carry out one policy through one binding; what went wrong."""
        from edgekube.api.cel.admission import conditions_hold

        policy = invoked.policy
        if policy.programs is None:
            policy.programs = compiled(policy.spec)
        bound = await self._policies.bindings(invoked, review, cluster)
        match = conditions_hold(policy.programs.conditions, bound)
        if match is False:
            return []
        if isinstance(match, list):
            return [match[0] if len(match) == 1 else f"[{', '.join(match)}]"]
        metadata = (invoked.params or {}).get("metadata") or {}
        uid = f"{policy.name}/{invoked.binding.name}/{metadata.get('namespace', '')}/{metadata.get('name', '')}"
        if review.again and uid not in rounds.again:
            return []
        failures, changed = [], False
        for at, mutation in enumerate(policy.spec.mutations):
            if review.item is None or review.view is not None:  # a Scale is what it is
                continue
            if at:
                bound = await self._policies.bindings(invoked, review, cluster)
            try:
                changed |= await self._mutated(invoked, policy.programs, at, mutation, bound, review)
            except Failed as problem:
                failures.append(str(problem))
        if changed:
            rounds.changed()
            review.changed = True
        if policy.spec.reinvocation_policy == "IfNeeded":
            rounds.invoked.add(uid)
        return failures

    @staticmethod
    async def _mutated(
        invoked: Invoked[Programs],
        programs: Programs,
        at: int,
        mutation: Any,
        bound: dict[str, Any],
        review: Review,
    ) -> bool:
        """Whether one mutation changed the object. Raises Failed."""
        from edgekube.api.cel.admission import Variables, evaluated
        from edgekube.api.cel.errors import CelError
        from edgekube.api.cel.program import Budget

        budget, before, kind = Budget(), bound["object"], invoked.kind
        if programs.variables:
            bound["variables"] = Variables(programs.variables, bound, budget)
        try:
            value = evaluated(programs.mutations[at], bound, budget)
            after = patched(before, value) if mutation.patch_type == "JSONPatch" else applied(before, value, kind)
        except CelError as problem:
            raise Failed(str(problem)) from problem
        if after == before:
            return False
        if review.subresource_object or isinstance(review.item, dict):
            review.item = after
            return True
        if kind is not review.kind:
            after = await in_version(kind, review.kind, after)
        try:
            item = review.kind.from_dict(after)
        except msgspec.ValidationError as problem:
            raise Failed(str(problem)) from problem
        put_in_place(review, item)
        return True


def _failure(policy: Policy[Programs], binding: Binding | None, words: str, reason: str) -> list[tuple[str, str]]:
    if policy.ignores_failures:
        return []
    if binding is None:
        return [(f'policy "{policy.name}" denied request: {words}', reason)]
    return [(f"policy '{policy.name}' with binding '{binding.name}' denied request: {words}", reason)]


def _refusal(review: Review, failures: list[tuple[str, str]]) -> errors.ApiError:
    """Forbidden, with the reason of the first failure and the words of all."""
    message, reason = failures[0]
    made = answers.forbidden(review.kind, review.name or "Unknown", "", [Cause("", words) for words, _ in failures])
    made.message = message
    if reason:
        made.reason = reason
    return made


# ------------------------------------------------------------------------------------------------- applied configurations


def applied(before: Document, value: Any, kind: Any) -> Document:
    """The object with a configuration applied that an expression made. Raises Failed."""
    from edgekube.api.cel.admission import misnamed, plain

    if wrong := misnamed(value):
        raise Failed("type mismatch: " + "\n".join(wrong))
    schema = schema_for(kind)
    patch: Document = {**plain(value), "apiVersion": before.get("apiVersion"), "kind": before.get("kind")}
    if broken := merging.problems(patch, schema.node):
        words = broken[0] if len(broken) == 1 else "errors:\n  " + "\n  ".join(broken)
        raise Failed(f"error applying patch: failed to convert patch object to typed object: {words}")
    if whole := atomics(patch, schema.node):
        words = f"may not mutate atomic arrays, maps or structs: {', '.join(whole)}"
        raise Failed(f"error applying patch: invalid ApplyConfiguration: {words}")
    try:
        merged: Document = merging.merge(before, patch, schema.node)
    except merging.BadElement as problem:
        raise Failed(f"error applying patch: failed to merge patch: {problem}") from problem
    return merged


def atomics(value: Any, node: Node, path: str = "") -> list[str]:
    """The places where a configuration would replace something as a whole."""
    found: list[str] = []
    if isinstance(value, dict) and node.kind in (typed.STRUCT, typed.MAP):
        if node.atomic:
            found.append(path)
        for name, item in value.items():
            below = (node.members or {}).get(name)
            if below is not None:
                found += atomics(item, below, f"{path}.{name}")
    elif isinstance(value, list) and node.kind == typed.LIST:
        if node.list_type == "atomic":
            found.append(path)
        for at, item in enumerate(value):
            if node.element is not None:
                found += atomics(item, node.element, f"{path}[{at}]")
    return found


# ------------------------------------------------------------------------------------------------- JSON patches


def patched(before: Document, operations: Any) -> Document:
    """The object with a patch applied that an expression made; as it was, if a test fails. Raises Failed."""
    from edgekube.api.cel.admission import misnamed, plain
    from edgekube.api.cel.values import Struct

    document = before
    for operation in operations:
        one = dict(operation)
        value = one.get("value")
        if isinstance(value, Struct) and (wrong := misnamed(value)):
            raise Failed("type mismatch: " + "\n".join(wrong))
        made = {name: plain(part) for name, part in one.items() if name == "value" or part}
        try:
            document = json_patch(document, [made])
        except errors.ApiError as problem:
            if made.get("op") == "test":
                return before
            raise Failed(f"JSON Patch: {why_not(document, made)}") from problem
    return document


def _reached(document: Any, parts: list[str]) -> Any:
    for part in parts:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def why_not(document: Document, operation: Mapping[str, Any]) -> str:
    """Why an operation cannot be carried out, in the words of evanphx/json-patch."""
    op, path = str(operation.get("op", "")), str(operation.get("path", ""))
    if op not in ("add", "remove", "replace", "move", "copy", "test"):
        return f"Unexpected kind: {op}"
    at = str(operation.get("from", "")) if op in ("move", "copy") else path
    parts = [part.replace("~1", "/").replace("~0", "~") for part in at.split("/")[1:]]
    container = _reached(document, parts[:-1]) if parts else None
    key = parts[-1] if parts else ""
    if not isinstance(container, dict | list):
        shown = f'"{at}"' if op in ("add", "remove") else at
        return f"{op} operation does not apply: doc is missing path: {shown}: missing value"
    if isinstance(container, list):
        words = f"Unable to access invalid index: {key}: invalid index referenced"
        return f"error in {op} for path: '{at}': {words}"
    if op == "remove":
        return f"error in remove for path: '{at}': Unable to remove nonexistent key: {key}: missing value"
    return f"{op} operation does not apply: doc is missing key: {at}: missing value"
