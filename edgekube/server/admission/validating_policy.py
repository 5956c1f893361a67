"""ValidatingAdmissionPolicy: expressions that refuse writes, warn about them, or note them for the audit log.

All policies are asked, whatever the first says; the first denial is what the client reads.
Source: k8s.io/apiserver pkg/admission/plugin/policy/validating/{dispatcher,validator}.go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekube import errors
from edgekube.api.kind import ENCODER
from edgekube.errors import Cause
from edgekube.kinds.admissionregistration import validatingadmissionpolicy, validatingadmissionpolicybinding
from edgekube.server import answers
from edgekube.server.admission.interface import Cluster, Review, Step
from edgekube.server.admission.policies import Binding, Invoked, Misconfigured, Policies, Policy
from edgekube.server.admission.webhook_tools import Webhooks

if TYPE_CHECKING:
    from edgekube.api.cel.program import Budget, CompileError, Program

log = logging.getLogger(__name__)
CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
FAILURE = "validation.policy.admission.k8s.io/validation_failure"
MESSAGE_BYTES, ANNOTATION_CHARACTERS = 5 * 1024, 10 * 1024


@dataclass(frozen=True, slots=True)
class Denial:
    """Something a policy has against a write. `position`: of the validation, -1 if it is about none."""

    message: str
    reason: str = ""
    position: int = -1


@dataclass(slots=True)
class Programs:
    """The expressions of one policy."""

    conditions: list[Program | CompileError]
    variables: dict[str, Program | CompileError]
    validations: list[Program | CompileError]
    messages: list[Program | CompileError | None]
    annotations: list[Program | CompileError]


def compiled(spec: Any) -> Programs:
    """All programs of a policy's spec; what cannot be compiled stands as its error."""
    from edgekube.api.cel.admission import Scope, compiled_conditions
    from edgekube.api.cel.errors import CompileError
    from edgekube.api.cel.types import BOOL, NULL, STRING

    params = spec.param_kind is not None
    scope = Scope(params=params, composed=bool(spec.variables))

    def program(text: str, *wanted: Any, authorizer: bool = True) -> Program | CompileError:
        try:
            return scope.compile(text, *wanted, authorizer=authorizer)
        except CompileError as problem:
            return problem

    conditions = compiled_conditions((one.expression for one in spec.match_conditions), Scope(params=params))
    variables: dict[str, Program | CompileError] = {}
    for one in spec.variables:
        try:
            variables[one.name] = scope.add(one.name, one.expression)
        except CompileError as problem:
            variables[one.name] = problem
    return Programs(
        conditions,
        variables,
        [program(one.expression, BOOL) for one in spec.validations],
        [
            program(one.message_expression, STRING, authorizer=False) if one.message_expression.strip() else None
            for one in spec.validations
        ],
        [program(one.value_expression.strip(), STRING, NULL) for one in spec.audit_annotations],
    )


class ValidatingPolicies(Step):
    """The step."""

    name = "ValidatingAdmissionPolicy"

    def __init__(self, tools: Webhooks) -> None:
        self._policies: Policies[Programs] = Policies(
            tools, validatingadmissionpolicy.KIND, validatingadmissionpolicybinding.KIND
        )

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises the first denial, as whatever error its reason stands for."""
        for_write = await self._policies.at_hand(review)
        if for_write:
            await self._dispatch(for_write, review, cluster)

    async def listens(self) -> bool:
        """Whether there are any policies."""
        return await self._policies.exist()

    async def connect(self, review: Review, cluster: Cluster) -> None:
        """The same for connections."""
        await self.validate(review, cluster)

    async def _dispatch(
        self, policies: list[tuple[Policy[Programs], list[Binding]]], review: Review, cluster: Cluster
    ) -> None:
        denied: list[tuple[Policy[Programs], Binding | None, Denial]] = []
        for policy, bindings in policies:
            notes: dict[str, list[str]] = {}
            for invoked in self._policies.concerned(policy, bindings, review, cluster):
                if isinstance(invoked, tuple):
                    binding, problem = invoked
                    denied += _misconfigured(policy, binding, problem)
                    continue
                bound = await self._policies.bindings(invoked, review, cluster)
                for denial, acts in _judged(invoked, bound, notes):
                    if not acts or "Deny" in invoked.binding.spec.validation_actions:
                        denied.append((policy, invoked.binding, denial))
                    if acts:
                        _tell(invoked, denial, review)
            for key, values in notes.items():
                review.context.annotations[f"{policy.name}/{key}"] = ", ".join(values)
        if denied:
            raise _refusal(review, *denied[0])


def _misconfigured(
    policy: Policy[Programs], binding: Binding | None, problem: Misconfigured
) -> list[tuple[Policy[Programs], Binding | None, Denial]]:
    if policy.ignores_failures:
        return []
    what = "policy" if binding is None else "binding"
    return [(policy, binding, Denial(f"failed to configure {what}: {problem}"))]


def _refusal(review: Review, policy: Policy[Programs], binding: Binding | None, denial: Denial) -> errors.ApiError:
    through = f" with binding '{binding.name}'" if binding is not None else ""
    message = f"ValidatingAdmissionPolicy '{policy.name}'{through} denied request: {denial.message}"
    name = "Unknown" if review.of_collection or not review.name else review.name
    made = answers.forbidden(review.kind, name, message, [Cause("", message)])
    made.reason = denial.reason or "Invalid"
    made.code = CODES.get(made.reason, 422)
    return made


def _tell(invoked: Invoked[Programs], denial: Denial, review: Review) -> None:
    """Warn and note, as the binding wishes."""
    policy, binding = invoked.policy.name, invoked.binding
    actions = binding.spec.validation_actions
    if "Warn" in actions:
        words = f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding.name}': "
        review.context.warnings.append(words + denial.message)
    if "Audit" in actions:
        told = {
            "message": denial.message,
            "policy": policy,
            "binding": binding.name,
            "expressionIndex": max(denial.position, 0),
            "validationActions": actions,
        }
        review.context.annotations[FAILURE] = ENCODER.encode([told]).decode()


def _judged(
    invoked: Invoked[Programs], bound: dict[str, Any], notes: dict[str, list[str]]
) -> list[tuple[Denial, bool]]:
    """What one policy has against a write through one binding: (denial, whether the binding's actions apply to it; a broken
    annotation denies whatever they are)."""
    from edgekube.api.cel.admission import Variables, conditions_hold
    from edgekube.api.cel.program import Budget

    policy = invoked.policy
    if policy.programs is None:
        policy.programs = compiled(policy.spec)
    programs, fails = policy.programs, not policy.ignores_failures
    match = conditions_hold(programs.conditions, bound)
    if match is False:
        return []
    if isinstance(match, list):
        text = match[0] if len(match) == 1 else f"[{', '.join(match)}]"
        return [(Denial(text), True)] if fails else []
    budget = Budget()
    if programs.variables:
        bound["variables"] = Variables(programs.variables, bound, budget)
    found = [(one, True) for one in _validated(policy, programs, bound, budget)]
    return found + [(one, False) for one in _noted(policy, programs, bound, notes)]


def _validated(policy: Policy[Programs], programs: Programs, bound: Mapping[str, Any], budget: Budget) -> list[Denial]:
    from edgekube.api.cel.admission import evaluated
    from edgekube.api.cel.errors import CelError, CostExceeded

    found: list[Denial] = []
    for at, program in enumerate(programs.validations):
        try:
            answer = evaluated(program, bound, budget)
        except CelError as problem:
            if not policy.ignores_failures:
                found.append(Denial(str(problem), position=at))
            if isinstance(problem, CostExceeded):
                break
            continue
        if answer is not True:
            validation = policy.spec.validations[at]
            message = _message(programs.messages[at], bound, budget)
            message = message or validation.message.strip() or f"failed expression: {validation.expression.strip()}"
            found.append(Denial(message, validation.reason or "", at))
    return found


def _message(program: Program | CompileError | None, bound: Mapping[str, Any], budget: Budget) -> str:
    """What a messageExpression says; "" if it says nothing usable."""
    from edgekube.api.cel.admission import evaluated
    from edgekube.api.cel.errors import CelError

    if program is None:
        return ""
    try:
        told = evaluated(program, bound, budget)
    except CelError as problem:
        log.info("a messageExpression cannot be evaluated: %s", problem)
        return ""
    text = told.strip() if isinstance(told, str) else ""
    return "" if "\n" in text or len(text.encode()) > MESSAGE_BYTES else text


def _noted(
    policy: Policy[Programs], programs: Programs, bound: Mapping[str, Any], notes: dict[str, list[str]]
) -> list[Denial]:
    """Put audit annotations into `notes`; what cannot be evaluated denies."""
    from edgekube.api.cel.admission import evaluated
    from edgekube.api.cel.errors import CelError
    from edgekube.api.cel.program import Budget

    found: list[Denial] = []
    budget = Budget()
    for annotation, program in zip(policy.spec.audit_annotations, programs.annotations, strict=True):
        try:
            value = evaluated(program, bound, budget)
        except CelError as problem:
            if not policy.ignores_failures:
                found.append(Denial(str(problem)))
            continue
        text = value.strip()[:ANNOTATION_CHARACTERS] if isinstance(value, str) else ""
        values = notes.setdefault(annotation.key, []) if text else []
        if text and text not in values:
            values.append(text)
    return found
