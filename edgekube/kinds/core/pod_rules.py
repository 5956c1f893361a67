"""Rules of pods and pod templates when they are made.

Source: ValidatePodSpec, ValidatePodTemplateSpec and ValidatePodCreate in upstream's core validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.quantity import amount
from edgekube.kinds.core import (
    address_rules,
    container_rules,
    meta_rules,
    resource_rules,
    scheduling_rules,
    security_rules,
    volume_rules,
)
from edgekube.kinds.core.container import ResourceRequirements
from edgekube.kinds.core.pod_resources import aggregate
from edgekube.kinds.core.podobject import Pod
from edgekube.kinds.core.podspec import PodDNSConfig, PodSpec

if TYPE_CHECKING:  # templates declare a kind that uses these rules
    from edgekube.kinds.core.podtemplate import PodTemplateSpec

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
RESTART_POLICIES = ("Always", "OnFailure", "Never")
NAMESERVERS_MAX, SEARCHES_MAX, SEARCH_LETTERS_MAX = 3, 32, 2048
INT32_MAX = 2**31 - 1


def pod(item: Pod) -> list[FieldError]:
    """A pod to be created, or any whole pod's state."""
    broken = _own_annotations("metadata.annotations", item.metadata.annotations, item.spec)
    broken += pod_spec("spec", item.spec, pod_name=item.metadata.name, is_pod=True)
    broken += _tokens_without_account(item.spec)
    for path, containers in (("containers", item.spec.containers or ()), ("initContainers", item.spec.init_containers)):
        for position, one in enumerate(containers):
            broken += container_rules.image_is_trimmed(f"spec.{path}[{position}]", one)
    if item.metadata.resource_version in ("", "0"):
        broken += _only_new_pods(item)
    return broken


def _only_new_pods(item: Pod) -> list[FieldError]:
    """What a pod may not have when it is created, but may get later."""
    broken: list[FieldError] = []
    if item.spec.ephemeral_containers:
        broken.append(rules.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if item.spec.node_name and item.spec.scheduling_gates:
        words = "cannot be set until all schedulingGates have been cleared"
        broken.append(rules.forbidden("spec.nodeName", words))
    return broken


def template(path: str, item: PodTemplateSpec) -> list[FieldError]:
    """A pod to be, inside another object."""
    broken = meta_rules.labels(f"{path}.labels", item.metadata.labels)
    broken += meta_rules.annotation_keys(f"{path}.annotations", item.metadata.annotations)
    broken += _own_annotations(f"{path}.annotations", item.metadata.annotations, item.spec)
    broken += pod_spec(f"{path}.spec", item.spec)
    if item.spec.ephemeral_containers:
        words = "ephemeral containers not allowed in pod template"
        broken.append(rules.forbidden(f"{path}.spec.ephemeralContainers", words))
    return broken


def _own_annotations(path: str, given: Mapping[str, str], spec: PodSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    if MIRROR_ANNOTATION in given and not spec.node_name:
        words = "must set spec.nodeName if mirror pod annotation is set"
        broken.append(rules.invalid(f"{path}[{MIRROR_ANNOTATION}]", given[MIRROR_ANNOTATION], words))
    cost = given.get(DELETION_COST)
    if cost is not None and not _is_int32(cost):
        broken.append(rules.invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    return broken


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or (len(digits) > 1 and digits.startswith("0")) or text == "-0":
        return False
    return -INT32_MAX - 1 <= int(text) <= INT32_MAX


def _tokens_without_account(spec: PodSpec) -> list[FieldError]:
    if spec.service_account_name:
        return []
    words = "must not be specified when serviceAccountName is not set"
    return [
        rules.forbidden(f"spec.volumes[{position}].projected.sources[{index}].serviceAccountToken", words)
        for position, volume in enumerate(spec.volumes)
        if volume.projected is not None
        for index, source in enumerate(volume.projected.sources or ())
        if source.service_account_token is not None
    ]


def pod_spec(path: str, spec: PodSpec, *, pod_name: str = "", is_pod: bool = False) -> list[FieldError]:
    """The spec of a pod (`is_pod`), or of one to be."""
    sound, broken = volume_rules.volumes(f"{path}.volumes", spec.volumes, pod_name)
    claims = {claim.name for claim in spec.resource_claims if claim.name}
    broken += _resource_claims(f"{path}.resourceClaims", spec)
    around = container_rules.Surroundings(
        volumes=sound,
        claims=claims,
        grace_s=spec.termination_grace_period_seconds,
        restart_policy=spec.restart_policy,
        host_users=spec.host_users is not False,
    )
    plain = spec.containers or []
    broken += container_rules.containers(f"{path}.containers", plain, around)
    broken += container_rules.init_containers(f"{path}.initContainers", spec.init_containers, plain, around)
    broken += container_rules.ephemeral_containers(
        f"{path}.ephemeralContainers", spec.ephemeral_containers, [*plain, *spec.init_containers], around
    )
    broken += _pod_resources(f"{path}.resources", spec)
    broken += _host_network(path, spec, is_pod=is_pod)
    broken += rules.one_of(f"{path}.restartPolicy", spec.restart_policy, RESTART_POLICIES)
    broken += rules.one_of(f"{path}.dnsPolicy", spec.dns_policy, DNS_POLICIES)
    broken += meta_rules.labels(f"{path}.nodeSelector", spec.node_selector)
    broken += security_rules.pod_context(f"{path}.securityContext", spec)
    broken += scheduling_rules.affinity(f"{path}.affinity", spec.affinity)
    broken += _dns_config(f"{path}.dnsConfig", spec.dns_config, spec.dns_policy)
    for position, gate in enumerate(spec.readiness_gates):
        at = f"{path}.readinessGates[{position}].conditionType"
        broken += rules.each(at, gate.condition_type, names.qualified_name(gate.condition_type))
    broken += scheduling_rules.gates(f"{path}.schedulingGates", spec.scheduling_gates)
    broken += scheduling_rules.spread(f"{path}.topologySpreadConstraints", spec.topology_spread_constraints)
    broken += _host_users(path, spec)
    broken += _names(path, spec)
    broken += scheduling_rules.tolerations(f"{path}.tolerations", spec.tolerations)
    broken += _host_aliases(f"{path}.hostAliases", spec)
    broken += _classes(path, spec)
    containers: list[tuple[str, Any]] = [
        (f"{path}.{member}[{position}]", one)
        for member, given in (("initContainers", spec.init_containers), ("containers", plain))
        for position, one in enumerate(given)
    ]
    return broken + security_rules.operating_system(path, spec, containers)


def _resource_claims(path: str, spec: PodSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, claim in enumerate(spec.resource_claims):
        at = f"{path}[{position}]"
        if not claim.name:
            broken.append(rules.required(f"{at}.name"))
        elif claim.name in seen:
            broken.append(rules.duplicate(f"{at}.name", claim.name))
        else:
            broken += rules.each(f"{at}.name", claim.name, names.dns_label(claim.name))
        seen.add(claim.name)
        direct, made = claim.resource_claim_name, claim.resource_claim_template_name
        if direct is not None and made is not None:
            words = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            broken.append(rules.invalid(at, claim, words))
        if direct is None and made is None:
            words = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            broken.append(rules.invalid(at, claim, words))
        for wire, name in (("resourceClaimName", direct), ("resourceClaimTemplateName", made)):
            if name is not None:
                broken += rules.each(f"{at}.{wire}", name, names.dns_subdomain(name))
    return broken


def _pod_resources(path: str, spec: PodSpec) -> list[FieldError]:
    own = spec.resources
    if own is None:
        return []
    broken: list[FieldError] = []
    if own.claims:
        broken.append(rules.forbidden(f"{path}.claims", "claims cannot be set for Resources at pod-level"))
    broken += resource_rules.requirements(path, own, (), resource_rules.pod_resource_name)
    for name, wanted in aggregate(spec, lambda one: one.resources.requests).items():
        given = own.requests.get(name)
        if given is not None and wanted > amount(given):
            words = f"must be greater than or equal to aggregate container requests of {wanted.normalize():f}"
            broken.append(rules.invalid(f"{path}.requests[{name}]", str(given), words))
    for position, one in enumerate(spec.containers or ()):
        for name, limit in one.resources.limits.items():
            most = own.limits.get(name)
            if most is not None and amount(limit) > amount(most):
                words = f"must be less than or equal to pod limits of {most}"
                broken.append(rules.invalid(f"{path}.containers[{position}][{name}].limits", str(limit), words))
    return broken


def _host_network(path: str, spec: PodSpec, *, is_pod: bool) -> list[FieldError]:
    """On the host's network a host port is the container port; only templates may leave it open."""
    if not spec.host_network:
        return []
    words = "must match `containerPort` when `hostNetwork` is true"
    return [
        rules.invalid(f"{path}.containers[{position}].ports[{index}].hostPort", port.host_port, words)
        for position, one in enumerate(spec.containers or ())
        for index, port in enumerate(one.ports)
        if (is_pod or port.host_port) and port.host_port != port.container_port
    ]


def _dns_config(path: str, config: PodDNSConfig | None, policy: str) -> list[FieldError]:
    if policy == "None":
        if config is None:
            return [rules.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.nameservers:
            words = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [rules.required(f"{path}.nameservers", words)]
    if config is None:
        return []
    broken: list[FieldError] = []
    if len(config.nameservers) > NAMESERVERS_MAX:
        words = f"must not have more than {NAMESERVERS_MAX} nameservers"
        broken.append(rules.invalid(f"{path}.nameservers", config.nameservers, words))
    for position, server in enumerate(config.nameservers):
        broken += address_rules.ip(f"{path}.nameservers[{position}]", server)
    if len(config.searches) > SEARCHES_MAX:
        words = f"must not have more than {SEARCHES_MAX} search paths"
        broken.append(rules.invalid(f"{path}.searches", config.searches, words))
    if len(" ".join(config.searches)) > SEARCH_LETTERS_MAX:
        words = f"must not have more than {SEARCH_LETTERS_MAX} characters (including spaces) in the search list"
        broken.append(rules.invalid(f"{path}.searches", config.searches, words))
    for position, search in enumerate(config.searches):
        if search != ".":
            bare = search.removesuffix(".")
            broken += rules.each(f"{path}.searches[{position}]", bare, names.dns_subdomain_underscore(bare))
    for position, option in enumerate(config.options):
        if not option.name:
            broken.append(rules.required(f"{path}.options[{position}]", "must not be empty"))
    return broken


def _host_users(path: str, spec: PodSpec) -> list[FieldError]:
    if spec.host_users is not False:
        return []
    words = "when `hostUsers` is false"
    given = (("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc))
    return [rules.forbidden(f"{path}.{wire}", words) for wire, value in given if value]


def _names(path: str, spec: PodSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    if spec.service_account_name:
        name = spec.service_account_name
        broken += rules.each(f"{path}.serviceAccountName", name, names.dns_subdomain(name))
    if spec.node_name:
        broken += rules.each(f"{path}.nodeName", spec.node_name, names.dns_subdomain(spec.node_name))
    deadline = spec.active_deadline_seconds
    if deadline is not None:
        broken += rules.each(f"{path}.activeDeadlineSeconds", deadline, names.in_range(deadline, 1, INT32_MAX))
    if spec.hostname:
        broken += rules.each(f"{path}.hostname", spec.hostname, names.dns_label(spec.hostname))
    if spec.subdomain:
        broken += rules.each(f"{path}.subdomain", spec.subdomain, names.dns_label(spec.subdomain))
    if spec.hostname_override is not None:
        name = spec.hostname_override
        broken += rules.each(f"{path}.hostnameOverride", name, names.dns_subdomain(name))
        if spec.set_hostname_as_fqdn:
            words = "hostnameOverride cannot be set when setHostnameAsFQDN is true"
            broken.append(rules.forbidden(f"{path}.hostnameOverride", words))
        if spec.host_network:
            words = "hostnameOverride cannot be set when hostNetwork is true"
            broken.append(rules.forbidden(f"{path}.hostnameOverride", words))
    return broken


def _host_aliases(path: str, spec: PodSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    for position, alias in enumerate(spec.host_aliases):
        broken += address_rules.ip(f"{path}[{position}].ip", alias.ip)
        for index, name in enumerate(alias.hostnames):
            broken += rules.each(f"{path}[{position}].hostnames[{index}]", name, names.dns_subdomain(name))
    return broken


def _classes(path: str, spec: PodSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    if spec.priority_class_name:
        name = spec.priority_class_name
        broken += rules.each(f"{path}.priorityClassName", name, names.dns_subdomain(name))
    if spec.runtime_class_name is not None:
        name = spec.runtime_class_name
        broken += rules.each(f"{path}.runtimeClassName", name, names.dns_subdomain(name))
    if spec.preemption_policy is not None:
        allowed = ("PreemptLowerPriority", "Never")
        broken += rules.one_of(f"{path}.preemptionPolicy", spec.preemption_policy, allowed)
    if spec.overhead:
        broken += resource_rules.requirements(f"{path}.overhead", ResourceRequirements(limits=spec.overhead), ())
    return broken
