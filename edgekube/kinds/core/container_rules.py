"""Rules of containers of all three sorts: ports, mounts, probes, hooks, and what only some of them may have.

Source: validateContainers, validateInitContainers and validateEphemeralContainers in upstream's core validation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.core import meta_rules, path_rules, resource_rules, security_rules
from edgekube.kinds.core.address_rules import PROTOCOLS, port_or_name
from edgekube.kinds.core.container import (
    Container,
    ContainerPort,
    ContainerResizePolicy,
    EphemeralContainer,
    Lifecycle,
    LifecycleHandler,
    Probe,
    VolumeDevice,
    VolumeMount,
)
from edgekube.kinds.core.env_rules import environment, environment_from
from edgekube.kinds.core.volume import Volume

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
RESTART_POLICIES = ("Always", "Never", "OnFailure")
NOT_FOR_INIT = "may not be set for init containers without restartPolicy=Always"
NOT_FOR_EPHEMERAL = "cannot be set for an Ephemeral Container"
_PROBES = (
    ("livenessProbe", "liveness_probe"),
    ("readinessProbe", "readiness_probe"),
    ("startupProbe", "startup_probe"),
)
AnyContainer = Container | EphemeralContainer


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules of one container need to know of its pod."""

    volumes: dict[str, Volume]
    claims: Collection[str]
    grace_s: int | None
    restart_policy: str
    host_users: bool


def containers(path: str, given: Sequence[Container], around: Surroundings) -> list[FieldError]:
    """The plain containers, at least one."""
    if not given:
        return [rules.required(path)]
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, one in enumerate(given):
        at = f"{path}[{position}]"
        broken += _common(at, one, around)
        if one.name in seen:
            broken.append(rules.duplicate(f"{at}.name", one.name))
        seen.add(one.name)
        broken += _hooks_and_probes(at, one, around)
        if one.restart_policy is not None and one.restart_policy not in RESTART_POLICIES:
            broken.append(rules.not_supported(f"{at}.restartPolicy", one.restart_policy, RESTART_POLICIES))
    return broken + _host_ports(path, given)


def init_containers(
    path: str, given: Sequence[Container], plain: Sequence[Container], around: Surroundings
) -> list[FieldError]:
    """Init containers; those restarted always are sidecars and may do what plain ones may."""
    broken: list[FieldError] = []
    seen = {one.name for one in plain}
    for position, one in enumerate(given):
        at = f"{path}[{position}]"
        broken += _common(at, one, around)
        if one.restart_policy is not None and one.restart_policy not in RESTART_POLICIES:
            broken.append(rules.not_supported(f"{at}.restartPolicy", one.restart_policy, RESTART_POLICIES))
        if one.name in seen:
            broken.append(rules.duplicate(f"{at}.name", one.name))
        elif one.name:
            seen.add(one.name)
        broken += _host_ports(path, [one])
        if one.restart_policy == "Always":
            broken += _hooks_and_probes(at, one, around)
        else:
            members = (("lifecycle", "lifecycle"), *_PROBES)
            broken += [rules.forbidden(f"{at}.{wire}", NOT_FOR_INIT) for wire, name in members if getattr(one, name)]
    return broken


def ephemeral_containers(
    path: str, given: Sequence[EphemeralContainer], others: Sequence[Container], around: Surroundings
) -> list[FieldError]:
    """Containers added for a look around: nothing the pod could come to rely on."""
    broken: list[FieldError] = []
    other_names = {one.name for one in others}
    seen = set(other_names)
    for position, one in enumerate(given):
        at = f"{path}[{position}]"
        broken += _common(at, one, around)
        broken += image_is_trimmed(at, one)
        if one.name in seen:
            broken.append(rules.duplicate(f"{at}.name", one.name))
        seen.add(one.name)
        if one.target_container_name and one.target_container_name not in other_names:
            broken.append(rules.not_found(f"{at}.targetContainerName", one.target_container_name))
        resources = one.resources.limits or one.resources.requests or one.resources.claims
        for wire, value in (
            ("ports", one.ports),
            ("resources", resources),
            ("resizePolicy", one.resize_policy),
            ("restartPolicy", one.restart_policy),
            ("livenessProbe", one.liveness_probe),
            ("readinessProbe", one.readiness_probe),
            ("startupProbe", one.startup_probe),
            ("lifecycle", one.lifecycle),
        ):
            if value:
                broken.append(rules.forbidden(f"{at}.{wire}", NOT_FOR_EPHEMERAL))
        for index, mount in enumerate(one.volume_mounts):
            for wire, text in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
                if text:
                    broken.append(rules.forbidden(f"{at}.volumeMounts[{index}].{wire}", NOT_FOR_EPHEMERAL))
    return broken


def image_is_trimmed(path: str, one: AnyContainer) -> list[FieldError]:
    """No blanks around an image's name (in pods; templates may have them)."""
    if one.image == one.image.strip():
        return []
    return [rules.invalid(f"{path}.image", one.image, "must not have leading or trailing whitespace")]


def _common(path: str, one: AnyContainer, around: Surroundings) -> list[FieldError]:
    broken = [] if one.name else [rules.required(f"{path}.name")]
    if one.name:
        broken += rules.each(f"{path}.name", one.name, names.dns_label(one.name))
    if not one.image:
        broken.append(rules.required(f"{path}.image"))
    broken += rules.one_of(f"{path}.terminationMessagePolicy", one.termination_message_policy, MESSAGE_POLICIES)
    broken += _ports(f"{path}.ports", one.ports)
    broken += environment(f"{path}.env", one.env)
    broken += environment_from(f"{path}.envFrom", one.env_from)
    broken += _mounts(f"{path}.volumeMounts", one, around.volumes)
    broken += _devices(f"{path}.volumeDevices", one, around.volumes)
    broken += rules.one_of(f"{path}.imagePullPolicy", one.image_pull_policy, PULL_POLICIES)
    broken += resource_rules.requirements(f"{path}.resources", one.resources, around.claims)
    broken += _resize_policy(f"{path}.resizePolicy", one.resize_policy, around.restart_policy)
    return broken + security_rules.container_context(
        f"{path}.securityContext", one.security_context, host_users=around.host_users
    )


def _ports(path: str, given: list[ContainerPort]) -> list[FieldError]:
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, port in enumerate(given):
        at = f"{path}[{position}]"
        if port.name:
            if problems := names.port_name(port.name):
                broken += rules.each(f"{at}.name", port.name, problems)
            elif port.name in seen:
                broken.append(rules.duplicate(f"{at}.name", port.name))
            seen.add(port.name)
        if not port.container_port:
            broken.append(rules.required(f"{at}.containerPort"))
        else:
            broken += rules.each(f"{at}.containerPort", port.container_port, names.port_number(port.container_port))
        if port.host_port:
            broken += rules.each(f"{at}.hostPort", port.host_port, names.port_number(port.host_port))
        broken += rules.one_of(f"{at}.protocol", port.protocol, PROTOCOLS)
    return broken


def _host_ports(path: str, given: Sequence[Container]) -> list[FieldError]:
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, one in enumerate(given):
        for index, port in enumerate(one.ports):
            if not port.host_port:
                continue
            shown = f"{port.protocol}/{port.host_ip}/{port.host_port}"
            if shown in seen:
                broken.append(rules.duplicate(f"{path}[{position}].ports[{index}].hostPort", shown))
            seen.add(shown)
    return broken


def _mounts(path: str, one: AnyContainer, volumes: dict[str, Volume]) -> list[FieldError]:
    broken: list[FieldError] = []
    devices = {device.name: device.device_path for device in one.volume_devices}
    points: set[str] = set()
    for position, mount in enumerate(one.volume_mounts):
        at = f"{path}[{position}]"
        if not mount.name:
            broken.append(rules.required(f"{at}.name"))
        volume = volumes.get(mount.name)
        if volume is None:
            broken.append(rules.not_found(f"{at}.name", mount.name))
        if not mount.mount_path:
            broken.append(rules.required(f"{at}.mountPath"))
        if mount.mount_path in points:
            broken.append(rules.invalid(f"{at}.mountPath", mount.mount_path, "must be unique"))
        points.add(mount.mount_path)
        if mount.name in devices:
            broken.append(rules.invalid(f"{at}.name", mount.name, "must not already exist in volumeDevices"))
        if mount.mount_path in devices.values():
            words = "must not already exist as a path in volumeDevices"
            broken.append(rules.invalid(f"{at}.mountPath", mount.mount_path, words))
        broken += _sub_path(path, at, mount)
        broken += _propagation(path, mount, one)
    return broken


def _sub_path(path: str, at: str, mount: VolumeMount) -> list[FieldError]:
    broken: list[FieldError] = []
    if mount.sub_path:
        broken += path_rules.descending(f"{path}.subPath", mount.sub_path)  # upstream names the list, not the mount
    if mount.sub_path_expr:
        if mount.sub_path:
            words = "subPathExpr and subPath are mutually exclusive"
            broken.append(rules.invalid(f"{at}.subPathExpr", mount.sub_path_expr, words))
        broken += path_rules.descending(f"{path}.subPathExpr", mount.sub_path_expr)
    return broken


def _propagation(path: str, mount: VolumeMount, one: AnyContainer) -> list[FieldError]:
    broken: list[FieldError] = []
    mode, recursive = mount.mount_propagation, mount.recursive_read_only
    if mode is not None:
        at = f"{path}.mountPropagation"
        if mode not in ("Bidirectional", "HostToContainer", "None"):
            broken.append(rules.not_supported(at, mode, ("Bidirectional", "HostToContainer", "None")))
        privileged = one.security_context is not None and one.security_context.privileged
        if mode == "Bidirectional" and not privileged:
            words = "Bidirectional mount propagation is available only to privileged containers"
            broken.append(rules.forbidden(at, words))
    at = f"{path}.recursiveReadOnly"
    if recursive in ("Enabled", "IfPossible"):
        if not mount.read_only:
            broken.append(rules.forbidden(at, "may only be specified when readOnly is true"))
        if mode not in (None, "None"):
            words = "may only be specified when mountPropagation is None or not specified"
            broken.append(rules.forbidden(at, words))
    elif recursive not in (None, "Disabled"):
        broken.append(rules.not_supported(at, recursive, ("Disabled", "Enabled", "IfPossible")))
    return broken


def _devices(path: str, one: AnyContainer, volumes: dict[str, Volume]) -> list[FieldError]:
    broken: list[FieldError] = []
    mounts = {mount.name: mount.mount_path for mount in one.volume_mounts}
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for position, device in enumerate(one.volume_devices):
        at = f"{path}[{position}]"
        broken += _device_name(f"{at}.name", device, volumes, seen_names)
        text = device.device_path
        if not text:
            broken.append(rules.required(f"{at}.devicePath"))
        if text in seen_paths:
            broken.append(rules.invalid(f"{at}.devicePath", text, "must be unique"))
        if text and path_rules.no_steps_back(path, text):
            broken.append(rules.invalid(f"{at}.devicePath", text, "can not contain backsteps ('..')"))
        else:
            seen_paths.add(text)
        if device.name in mounts:
            broken.append(rules.invalid(f"{at}.name", device.name, "must not already exist in volumeMounts"))
        if text in mounts.values():
            words = "must not already exist as a path in volumeMounts"
            broken.append(rules.invalid(f"{at}.devicePath", text, words))
        seen_names.add(device.name)
    return broken


def _device_name(path: str, device: VolumeDevice, volumes: dict[str, Volume], seen: set[str]) -> list[FieldError]:
    broken = [] if device.name else [rules.required(path)]
    if device.name and device.name in seen:
        broken.append(rules.invalid(path, device.name, "must be unique"))
    volume = volumes.get(device.name)
    if volume is None:
        broken.append(rules.not_found(path, device.name))
    elif volume.persistent_volume_claim is None and volume.ephemeral is None:
        words = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
        broken.append(rules.invalid(path, device.name, words))
    return broken


def _resize_policy(path: str, given: list[ContainerResizePolicy], restart_policy: str) -> list[FieldError]:
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, policy in enumerate(given):
        if policy.resource_name in seen:
            broken.append(rules.duplicate(f"{path}[{position}]", policy.resource_name))
        seen.add(policy.resource_name)
        broken += rules.one_of(path, policy.resource_name, ("cpu", "memory"))
        broken += rules.one_of(path, policy.restart_policy, ("NotRequired", "RestartContainer"))
        if restart_policy == "Never" and policy.restart_policy != "NotRequired":
            words = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            broken.append(rules.invalid(path, policy.restart_policy, words))
    return broken


def _hooks_and_probes(path: str, one: Container, around: Surroundings) -> list[FieldError]:
    broken = _lifecycle(f"{path}.lifecycle", one.lifecycle, around.grace_s)
    for wire, member in _PROBES:
        probe: Probe | None = getattr(one, member)
        if probe is not None:
            broken += _probe(f"{path}.{wire}", probe, around.grace_s, member)
    return broken


def _lifecycle(path: str, given: Lifecycle | None, grace_s: int | None) -> list[FieldError]:
    broken: list[FieldError] = []
    if given is not None:
        for wire, handler in (("postStart", given.post_start), ("preStop", given.pre_stop)):
            if handler is not None:
                broken += _handler(f"{path}.{wire}", handler, grace_s)
    return broken


def _probe(path: str, probe: Probe, grace_s: int | None, member: str) -> list[FieldError]:
    broken = _handler(path, probe, grace_s)
    for wire, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):
        broken += rules.not_negative(f"{path}.{wire}", value)
    grace = probe.termination_grace_period_seconds
    at = f"{path}.terminationGracePeriodSeconds"
    if grace is not None and grace <= 0:
        broken.append(rules.invalid(at, grace, "must be greater than 0"))
    if member == "readiness_probe":
        if grace is not None:
            broken.append(rules.invalid(at, grace, "must not be set for readinessProbes"))
    elif probe.success_threshold != 1:
        broken.append(rules.invalid(f"{path}.successThreshold", probe.success_threshold, "must be 1"))
    return broken


def _handler(path: str, handler: LifecycleHandler | Probe, grace_s: int | None) -> list[FieldError]:
    checks: list[tuple[str, Any, list[FieldError]]] = [
        ("exec", handler.exec, _exec(f"{path}.exec", handler.exec)),
        ("httpGet", handler.http_get, _http_get(f"{path}.httpGet", handler.http_get)),
        ("tcpSocket", handler.tcp_socket, _socket(f"{path}.tcpSocket", handler.tcp_socket)),
        ("grpc", getattr(handler, "grpc", None), _socket(f"{path}.grpc", getattr(handler, "grpc", None))),
        ("sleep", getattr(handler, "sleep", None), _sleep(f"{path}.sleep", getattr(handler, "sleep", None), grace_s)),
    ]
    given = [(wire, own) for wire, value, own in checks if value is not None]
    if not given:
        return [rules.required(path, "must specify a handler type")]
    broken = list(given[0][1])
    broken += [rules.forbidden(f"{path}.{wire}", "may not specify more than 1 handler type") for wire, _ in given[1:]]
    return broken


def _exec(path: str, action: Any) -> list[FieldError]:
    return meta_rules.required_members(path, action, ("command",)) if action is not None else []


def _http_get(path: str, action: Any) -> list[FieldError]:
    if action is None:
        return []
    broken = meta_rules.required_members(path, action, ("path",))
    broken += port_or_name(f"{path}.port", action.port)
    if action.scheme not in ("HTTP", "HTTPS"):
        broken.append(rules.not_supported(f"{path}.scheme", action.scheme, ("HTTP", "HTTPS")))
    for header in action.http_headers:
        broken += rules.each(f"{path}.httpHeaders", header.name, names.http_header_name(header.name))
    return broken


def _socket(path: str, action: Any) -> list[FieldError]:
    return [] if action is None else port_or_name(f"{path}.port", action.port)


def _sleep(path: str, action: Any, grace_s: int | None) -> list[FieldError]:
    if action is None or grace_s is None or 0 <= action.seconds <= grace_s:
        return []
    words = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
    return [rules.invalid(path, action.seconds, words)]
