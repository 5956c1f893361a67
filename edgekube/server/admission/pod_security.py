"""PodSecurity: namespaces say by labels what their pods may ask for; what is more is refused, or warned of.

The rules themselves are `pod_security_checks`. Source: k8s.io/pod-security-admission admission.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edgekube.api import rules
from edgekube.api.kind import FieldError
from edgekube.kinds.core import namespace
from edgekube.kinds.core import pod as pod_kind
from edgekube.server import answers
from edgekube.server.admission.interface import CREATE, DELETE, UPDATE, Cluster, Review, Step
from edgekube.server.admission.pod_security_checks import LEVELS, PRIVILEGED, containers_of, violations

PREFIX = "pod-security.kubernetes.io/"
MODES = ("enforce", "audit", "warn")
LATEST_MINOR = 36
MOST_CHECKED_PODS = 3000  # upstream's bound on warnings about what is there already
VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")
# Where kinds other than pods keep the pods they will make.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "/podtemplates": ("template",),
    "/replicationcontrollers": ("spec", "template"),
    "apps/deployments": ("spec", "template"),
    "apps/replicasets": ("spec", "template"),
    "apps/statefulsets": ("spec", "template"),
    "apps/daemonsets": ("spec", "template"),
    "batch/jobs": ("spec", "template"),
    "batch/cronjobs": ("spec", "job_template", "spec", "template"),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A level, as of a release."""

    level: str = PRIVILEGED
    version: str = "latest"

    @property
    def minor(self) -> int:
        """The release whose rules count."""
        return LATEST_MINOR if self.version == "latest" else min(int(self.version.rpartition(".")[2]), LATEST_MINOR)

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"


def policy_of(labels: dict[str, str], mode: str) -> Policy:
    """What a namespace's labels say for a mode; labels that cannot be read were refused when they came."""
    level, version = labels.get(PREFIX + mode, PRIVILEGED), labels.get(f"{PREFIX}{mode}-version", "latest")
    return Policy(level if level in LEVELS else PRIVILEGED, version if _is_version(version) else "latest")


def _is_version(text: str) -> bool:
    return text == "latest" or VERSION.fullmatch(text) is not None


def label_errors(labels: dict[str, str]) -> list[FieldError]:
    """Levels and versions that there are not."""
    broken: list[FieldError] = []
    for mode in MODES:
        for key, fine, words in (
            (PREFIX + mode, LEVELS.__contains__, "must be one of privileged, baseline, restricted"),
            (f"{PREFIX}{mode}-version", _is_version, 'must be "latest" or "v1.x"'),
        ):
            if key in labels and not fine(labels[key]):
                broken.append(rules.invalid(f"metadata.labels[{key}]", labels[key], words))
    return broken


class PodSecurity(Step):
    """For pods, what makes pods, and namespaces."""

    name = "PodSecurity"

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden for a pod, Invalid for a namespace's labels; adds warnings."""
        if review.operation == DELETE:
            return
        if review.resource == "/namespaces":
            if not review.subresource:
                self._namespace(review, cluster)
        elif review.resource == "/pods":
            if review.subresource in ("", "ephemeralcontainers"):
                self._pod(review, cluster)
        elif review.resource in TEMPLATES and not review.subresource:
            self._workload(review, cluster)

    def _pod(self, review: Review, cluster: Cluster) -> None:
        if review.operation == UPDATE and not _matters(review.item, review.old):
            return
        labels = _labels(review, cluster)
        enforced = policy_of(labels, "enforce")
        review.context.annotations[f"{PREFIX}enforce-policy"] = str(enforced)
        self._note(review, policy_of(labels, "audit"), review.item)
        found = violations(review.item, enforced.level, enforced.minor)
        if found:
            words = f'violates PodSecurity "{enforced}": {", ".join(map(str, found))}'
            raise answers.forbidden(review.kind, review.name, words)
        self._warn(review, policy_of(labels, "warn"), review.item)

    def _workload(self, review: Review, cluster: Cluster) -> None:
        template = review.item
        for member in TEMPLATES[review.resource]:
            template = getattr(template, member, None)
        if template is not None and template.spec is not None:
            labels = _labels(review, cluster)
            self._note(review, policy_of(labels, "audit"), template)
            self._warn(review, policy_of(labels, "warn"), template)

    @staticmethod
    def _note(review: Review, policy: Policy, pod: Any) -> None:
        """For the audit log."""
        if policy.level != PRIVILEGED and (found := violations(pod, policy.level, policy.minor)):
            words = f'would violate PodSecurity "{policy}": {", ".join(map(str, found))}'
            review.context.annotations[f"{PREFIX}audit-violations"] = words

    @staticmethod
    def _warn(review: Review, policy: Policy, pod: Any) -> None:
        found = violations(pod, policy.level, policy.minor)
        if found:
            words = f'would violate PodSecurity "{policy}": {", ".join(map(str, found))}'
            review.context.warnings.append(words)

    def _namespace(self, review: Review, cluster: Cluster) -> None:
        labels = review.item.metadata.labels
        old = review.old.metadata.labels if review.old is not None else {}
        broken = label_errors(labels)
        if broken and (review.operation == CREATE or len(broken) > len(label_errors(old))):
            raise answers.invalid(review.kind, review.name, broken)
        new_policy, old_policy = policy_of(labels, "enforce"), policy_of(old, "enforce")
        if review.operation == UPDATE and new_policy != old_policy and new_policy.level != PRIVILEGED:
            review.context.warnings += existing_warnings(review.name, new_policy, cluster)


def existing_warnings(name: str, policy: Policy, cluster: Cluster) -> list[str]:
    """What a stricter namespace says about the pods that are in it already."""
    by_reason: dict[str, list[str]] = {}
    for pod in cluster.all(pod_kind.KIND, name)[:MOST_CHECKED_PODS]:
        found = violations(pod, policy.level, policy.minor)
        if found:
            by_reason.setdefault(", ".join(one.reason for one in found), []).append(pod.metadata.name)
    if not by_reason:
        return []
    told = [f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{policy}"']
    for reason, pods in sorted(by_reason.items(), key=lambda one: one[1][0]):
        others = len(pods) - 1
        more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
        told.append(f"{pods[0]}{more}: {reason}")
    return told


def _labels(review: Review, cluster: Cluster) -> dict[str, str]:
    found = cluster.find(namespace.KIND, "", review.namespace)
    return found.metadata.labels if found is not None else {}


def _matters(new: Any, old: Any) -> bool:
    """Whether an update could change what a pod may do: of what may change, only images and added containers."""
    mine, theirs = containers_of(new.spec), containers_of(old.spec)
    if len(mine) != len(theirs):
        return True
    return any(one.image != other.image for one, other in zip(mine, theirs, strict=True))
