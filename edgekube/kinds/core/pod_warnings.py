"""What a client is warned about in pods and pod templates that are legal but look like mistakes.

Source: warningsForPodSpecAndMeta in upstream's pkg/api/pod/warnings.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from edgekube.api import names, rules
from edgekube.api.meta import ObjectMeta
from edgekube.kinds.core.container import Container, ContainerPort
from edgekube.kinds.core.podobject import Pod
from edgekube.kinds.core.podspec import PodSpec
from edgekube.kinds.core.quantities import is_fraction

if TYPE_CHECKING:
    from edgekube.kinds.core.podtemplate import PodTemplateSpec

DEAD_VOLUMES = (
    ("photonPersistentDisk", "photon_persistent_disk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "git_repo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scale_io", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageOS", "storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
OLD_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
OLD_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
BYTES = ("memory", "ephemeral-storage")


def pod(new: Pod, old: Pod | None) -> list[str]:
    """Of a pod: its name too, since it becomes a host name."""
    found = []
    if old is None and (problems := names.dns_label(new.metadata.name)):
        found.append(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
            f"a DNS label is recommended: [{' '.join(problems)}]"
        )
    return found + _spec("", new.spec, new.metadata)


def template(path: str, new: PodTemplateSpec | None) -> list[str]:
    """Of a template that stands at `path`."""
    return _spec(f"{path}.", new.spec, new.metadata) if new is not None else []


def _spec(prefix: str, spec: PodSpec, meta: ObjectMeta) -> list[str]:
    at = f"{prefix}spec"
    found = [
        f"{at}.nodeSelector[{key}]: {OLD_NODE_LABELS[key]}" for key in spec.node_selector if key in OLD_NODE_LABELS
    ]
    for position, spread in enumerate(spec.topology_spread_constraints):
        where = f"{at}.topologySpreadConstraints[{position}]"
        if spread.topology_key in OLD_NODE_LABELS:
            found.append(f"{where}.topologyKey: {spread.topology_key} is {OLD_NODE_LABELS[spread.topology_key]}")
        if spread.label_selector is None:
            found.append(f"{where}.labelSelector: a null labelSelector results in matching no pod")
    found += [
        f"{prefix}metadata.annotations[{key}]: {words}"
        for key, words in OLD_ANNOTATIONS.items()
        if key in meta.annotations
    ]
    for position, volume in enumerate(spec.volumes):
        for wire, member, words in DEAD_VOLUMES:
            if getattr(volume, member) is not None:
                found.append(f"{at}.volumes[{position}].{wire}: {words}")
    found += _repeated(f"{at}.hostAliases", "ip", [one.ip for one in spec.host_aliases])
    secrets = [one.name for one in spec.image_pull_secrets]
    found += _repeated(f"{at}.imagePullSecrets", "name", secrets)
    found += [
        f'{at}.imagePullSecrets[{position}].name: invalid empty name ""'
        for position, name in enumerate(secrets)
        if not name
    ]
    found += _fractions(f"{at}.overhead", spec.overhead)
    if spec.termination_grace_period_seconds is not None and spec.termination_grace_period_seconds < 0:
        found.append(
            f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    for where, one in _containers(at, spec):
        found += _fractions(f"{where}.resources.limits", one.resources.limits)
        found += _fractions(f"{where}.resources.requests", one.resources.requests)
        found += _hidden_variables(f"{where}.env", one)
    return found + _ports(at, spec)


def _containers(path: str, spec: PodSpec) -> Iterator[tuple[str, Container]]:
    for position, one in enumerate(spec.init_containers):
        yield f"{path}.initContainers[{position}]", one
    for position, one in enumerate(spec.containers or ()):
        yield f"{path}.containers[{position}]", one


def _repeated(path: str, member: str, texts: list[str]) -> list[str]:
    return [
        f"{path}[{position}].{member}: duplicate {member} {rules.quoted(text)}"
        for position, text in enumerate(texts)
        if text in texts[:position]
    ]


def _fractions(path: str, amounts: Mapping[str, str]) -> list[str]:
    return [
        f'{path}[{name}]: fractional byte value "{amounts[name]}" is invalid, must be an integer'
        for name in BYTES
        if name in amounts and is_fraction(amounts[name])
    ]


def _hidden_variables(path: str, one: Container) -> list[str]:
    found = []
    seen: set[str] = set()
    for position, variable in enumerate(one.env):
        reference = f"$({variable.name})"
        extends = variable.value_from is None and variable.value != reference and reference in variable.value
        if variable.name in seen and not extends:
            hidden = (
                f"hides previous definition of {rules.quoted(variable.name)}, which may be dropped when using apply"
            )
            found.append(f"{path}[{position}]: {hidden}")
        seen.add(variable.name)
    return found


def _ports(path: str, spec: PodSpec) -> list[str]:
    found = []
    seen: dict[tuple[int, str], list[tuple[str, ContainerPort]]] = {}
    for where, one in _containers(path, spec):
        for position, port in enumerate(one.ports):
            at = f"{where}.ports[{position}]"
            others = seen.setdefault((port.container_port, port.protocol), [])
            for other_at, other in others:
                if (port.host_ip, port.host_port) == (other.host_ip, other.host_port):
                    found.append(f"{at}: duplicate port definition with {other_at}")
                elif not port.host_port or not other.host_port:
                    found.append(f"{at}: overlapping port definition with {other_at}")
            others.append((at, port))
    return found
