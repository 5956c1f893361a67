"""Nobody gives what they do not have: the check on writes of roles and bindings, as a step of admission.

Exempt are system:masters, and those who hold `escalate` on the role (or `bind`, for bindings of it).
Source: k8s.io/kubernetes pkg/registry/rbac/*/policybased.
"""

from __future__ import annotations

from typing import Any

from edgekube.errors import Forbidden, NotFound
from edgekube.server.admission.interface import CREATE, UPDATE, Cluster, Review, Step
from edgekube.server.auth.authorization import Authorization
from edgekube.server.auth.rbac import GROUP, MASTERS, Rbac
from edgekube.server.auth.rules import Rule, quoted, uncovered
from edgekube.server.context import Attributes, User

EVERYTHING = (Rule(("*",), ("*",), ("*",)), Rule(("*",), urls=("*",)))


class EscalationStep(Step):
    """Refuses roles and bindings that hand out more than the writer holds."""

    name = "RBACEscalation"

    def __init__(self, rbac: Rbac, authorization: Authorization) -> None:
        self._rbac, self._authorization = rbac, authorization

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden, or NotFound for a binding to a role that is not there."""
        if review.kind.group != GROUP or review.operation not in (CREATE, UPDATE) or review.item is None:
            return
        if MASTERS in review.context.user.groups:
            return
        if review.kind.plural in ("roles", "clusterroles"):
            self._check_role(review)
        elif review.kind.plural in ("rolebindings", "clusterrolebindings"):
            self._check_binding(review)

    def _check_role(self, review: Review) -> None:
        item, old = review.item, review.old
        aggregates = getattr(item, "aggregation_rule", None)
        if old is not None and old.rules == item.rules and getattr(old, "aggregation_rule", None) == aggregates:
            return
        if self._may(review.context.user, "escalate", review.kind.plural, review.namespace, review.name):
            return
        if aggregates is not None and self._missing(review.context.user, review.namespace, EVERYTHING):
            raise _forbidden(review, "must have cluster-admin privileges to use the aggregationRule")
        self._confirm(review, tuple(rule_of(rule) for rule in item.rules or ()))

    def _check_binding(self, review: Review) -> None:
        item, old = review.item, review.old
        if old is not None and old.role_ref == item.role_ref and old.subjects == item.subjects:
            return
        reference = item.role_ref
        plural = "roles" if reference.kind == "Role" else "clusterroles"
        if self._may(review.context.user, "bind", plural, review.namespace, reference.name):
            return
        rules = self._rbac.rules_of_role(reference.kind, review.namespace, reference.name)
        if rules is None:
            raise NotFound(
                f'{review.kind.plural}.{GROUP} "{reference.name}" not found',
                name=reference.name,
                group=GROUP,
                kind=review.kind.plural,
            )
        self._confirm(review, rules)

    def _may(self, user: User, verb: str, plural: str, namespace: str, name: str) -> bool:
        asked = Attributes(
            user=user, verb=verb, group=GROUP, version="v1", resource=plural, namespace=namespace, name=name
        )
        return self._authorization.decide(asked)[0]

    def _missing(self, user: User, namespace: str, wanted: tuple[Rule, ...]) -> list[Rule]:
        return uncovered(self._rbac.rules_of(user, namespace), wanted)

    def _confirm(self, review: Review, wanted: tuple[Rule, ...]) -> None:
        user = review.context.user
        if missing := self._missing(user, review.namespace, wanted):
            listed = "\n".join(map(str, missing))
            raise _forbidden(
                review,
                f'user "{user.name}" (groups={quoted(user.groups)}) is attempting to grant RBAC permissions not currently '
                f"held:\n{listed}",
            )


def rule_of(rule: Any) -> Rule:
    """A rule from a typed PolicyRule."""
    return Rule(
        tuple(rule.verbs or ()),
        tuple(rule.api_groups),
        tuple(rule.resources),
        tuple(rule.resource_names),
        tuple(rule.non_resource_urls),
    )


def _forbidden(review: Review, why: str) -> Forbidden:
    plural, name = review.kind.plural, review.name
    return Forbidden(f'{plural}.{GROUP} "{name}" is forbidden: {why}', name=name, group=GROUP, kind=plural)
