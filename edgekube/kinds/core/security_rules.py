"""Rules of security contexts of pods and containers.

Source: validatePodSpecSecurityContext and ValidateSecurityContext in upstream's core validation.
"""

from __future__ import annotations

import re
from typing import Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.core import path_rules
from edgekube.kinds.core.container import (
    AppArmorProfile,
    SeccompProfile,
    SecurityContext,
    WindowsSecurityContextOptions,
)
from edgekube.kinds.core.podspec import PodSecurityContext, PodSpec

PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
PROFILE_PATH_MAX_BYTES = 4095
SYSCTL_MAX_LETTERS = 253
_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"({_SEGMENT}[\./])*{_SEGMENT}"
_is_sysctl = re.compile(_SYSCTL).fullmatch
_NETWORK_SYSCTLS = ("net.",)
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_CREDENTIAL_SPEC_MAX_BYTES = 64 * 1024


def seccomp(path: str, profile: SeccompProfile | None) -> list[FieldError]:
    """A seccomp profile: its kind, and a file only for Localhost."""
    if profile is None:
        return []
    broken: list[FieldError] = []
    if not profile.type:
        broken.append(rules.required(f"{path}.type", "type is required when seccompProfile is set"))
    elif profile.type not in PROFILE_TYPES:
        broken.append(rules.not_supported(f"{path}.type", profile.type, PROFILE_TYPES))
    file = profile.localhost_profile
    if profile.type == "Localhost":
        if file is None:
            words = "must be set when seccomp type is Localhost"
            broken.append(rules.required(f"{path}.localhostProfile", words))
        else:
            broken += path_rules.descending(f"{path}.localhostProfile", file)
    elif file is not None:
        words = "can only be set when seccomp type is Localhost"
        broken.append(rules.invalid(f"{path}.localhostProfile", profile, words))
    return broken


def app_armor(path: str, profile: AppArmorProfile | None) -> list[FieldError]:
    """An AppArmor profile, likewise."""
    if profile is None:
        return []
    at, file = f"{path}.localhostProfile", profile.localhost_profile
    if not profile.type:
        return [rules.required(f"{path}.type", "type is required when appArmorProfile is set")]
    if profile.type not in PROFILE_TYPES:
        return [rules.not_supported(f"{path}.type", profile.type, PROFILE_TYPES)]
    if profile.type != "Localhost":
        return [] if file is None else [rules.invalid(at, file, "can only be set when AppArmor type is Localhost")]
    if not (file or "").strip() and (file or "") == "":
        return [rules.required(at, "must be set when AppArmor type is Localhost")]
    assert file is not None
    if file != file.strip():
        return [rules.invalid(at, file, "must not be padded with whitespace")]
    return [rules.too_long(at, PROFILE_PATH_MAX_BYTES)] if len(file.encode()) > PROFILE_PATH_MAX_BYTES else []


def _ids(path: str, context: PodSecurityContext | SecurityContext) -> list[FieldError]:
    broken: list[FieldError] = []
    for member, value in (("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)):
        if value is not None:
            broken += rules.each(f"{path}.{member}", value, names.user_id(value))
    return broken


def pod_context(path: str, spec: PodSpec) -> list[FieldError]:
    """The security context of a pod; `path` is its own."""
    context = spec.security_context
    if context is None:
        return []
    broken: list[FieldError] = []
    if context.fs_group is not None:
        broken += rules.each(f"{path}.fsGroup", context.fs_group, names.user_id(context.fs_group))
    broken += _ids(path, context)
    for position, group in enumerate(context.supplemental_groups):
        broken += rules.each(f"{path}.supplementalGroups[{position}]", group, names.user_id(group))
    if spec.share_process_namespace and spec.host_pid:
        words = "ShareProcessNamespace and HostPID cannot both be enabled"
        broken.append(rules.invalid(f"{path}.shareProcessNamespace", True, words))
    broken += _sysctls(f"{path}.sysctls", spec, context)
    broken += _choice(f"{path}.fsGroupChangePolicy", context.fs_group_change_policy, ("Always", "OnRootMismatch"))
    broken += seccomp(f"{path}.seccompProfile", context.seccomp_profile)
    broken += _windows(f"{path}.windowsOptions", context.windows_options)
    broken += app_armor(f"{path}.appArmorProfile", context.app_armor_profile)
    broken += _choice(f"{path}.supplementalGroupsPolicy", context.supplemental_groups_policy, ("Merge", "Strict"))
    return broken + _choice(f"{path}.seLinuxChangePolicy", context.se_linux_change_policy, ("MountOption", "Recursive"))


def _choice(path: str, value: str | None, allowed: tuple[str, ...]) -> list[FieldError]:
    return [] if value is None or value in allowed else [rules.not_supported(path, value, allowed)]


def _sysctls(path: str, spec: PodSpec, context: PodSecurityContext) -> list[FieldError]:
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, sysctl in enumerate(context.sysctls):
        at, name = f"{path}[{position}].name", sysctl.name
        dotted = name.replace("/", ".")
        if not name:
            broken.append(rules.required(at))
        elif len(name) > SYSCTL_MAX_LETTERS or not _is_sysctl(name):
            words = f"must have at most {SYSCTL_MAX_LETTERS} characters and match regex ^{_SYSCTL}$"
            broken.append(rules.invalid(at, name, words))
        elif name in seen:
            broken.append(rules.duplicate(at, name))
        if spec.host_network and dotted.startswith(_NETWORK_SYSCTLS):
            broken.append(rules.invalid(at, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.host_ipc and dotted.startswith(_IPC_SYSCTLS):
            broken.append(rules.invalid(at, name, "may not be specified when 'hostIPC' is true"))
        seen.add(name)
    return broken


def container_context(path: str, context: SecurityContext | None, *, host_users: bool) -> list[FieldError]:
    """The security context of a container."""
    if context is None:
        return []
    broken = _ids(path, context)
    if context.proc_mount is not None:
        broken += _choice(f"{path}.procMount", context.proc_mount, ("Default", "Unmasked"))
        if host_users and context.proc_mount == "Unmasked":
            words = "`hostUsers` must be false to use `Unmasked`"
            broken.append(rules.invalid(f"{path}.procMount", context.proc_mount, words))
    broken += seccomp(f"{path}.seccompProfile", context.seccomp_profile)
    if context.allow_privilege_escalation is False:
        if context.privileged:
            words = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            broken.append(rules.invalid(path, context, words))
        if context.capabilities is not None and "CAP_SYS_ADMIN" in context.capabilities.add:
            words = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            broken.append(rules.invalid(path, context, words))
    broken += _windows(f"{path}.windowsOptions", context.windows_options)
    return broken + app_armor(f"{path}.appArmorProfile", context.app_armor_profile)


def _windows(path: str, options: WindowsSecurityContextOptions | None) -> list[FieldError]:
    """Only what can be said without a Windows node: these run nowhere here."""
    if options is None:
        return []
    broken: list[FieldError] = []
    if (name := options.gmsa_credential_spec_name) is not None:
        broken += rules.each(f"{path}.gmsaCredentialSpecName", name, names.dns_subdomain(name))
    if (spec := options.gmsa_credential_spec) is not None:
        if not spec:
            words = "gmsaCredentialSpec cannot be an empty string"
            broken.append(rules.invalid(f"{path}.gmsaCredentialSpec", spec, words))
        elif len(spec.encode()) > _CREDENTIAL_SPEC_MAX_BYTES:
            broken.append(
                rules.invalid(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec size must be under 64 KiB")
            )
    if options.run_as_user_name == "":
        broken.append(rules.invalid(f"{path}.runAsUserName", "", "runAsUserName cannot be an empty string"))
    return broken


_LINUX_POD = (
    ("hostUsers", "host_users"),
    ("hostPID", "host_pid"),
    ("hostIPC", "host_ipc"),
    ("shareProcessNamespace", "share_process_namespace"),
)
_LINUX_POD_CONTEXT = (
    ("appArmorProfile", "app_armor_profile"),
    ("seLinuxOptions", "se_linux_options"),
    ("seccompProfile", "seccomp_profile"),
    ("fsGroup", "fs_group"),
    ("fsGroupChangePolicy", "fs_group_change_policy"),
    ("sysctls", "sysctls"),
    ("runAsUser", "run_as_user"),
    ("runAsGroup", "run_as_group"),
    ("supplementalGroups", "supplemental_groups"),
    ("supplementalGroupsPolicy", "supplemental_groups_policy"),
    ("seLinuxChangePolicy", "se_linux_change_policy"),
)
_LINUX_CONTAINER_CONTEXT = (
    ("appArmorProfile", "app_armor_profile"),
    ("seLinuxOptions", "se_linux_options"),
    ("seccompProfile", "seccomp_profile"),
    ("capabilities", "capabilities"),
    ("readOnlyRootFilesystem", "read_only_root_filesystem"),
    ("privileged", "privileged"),
    ("allowPrivilegeEscalation", "allow_privilege_escalation"),
    ("procMount", "proc_mount"),
    ("runAsUser", "run_as_user"),
    ("runAsGroup", "run_as_group"),
)


def _given(holder: Any, member: str) -> bool:
    value = getattr(holder, member)
    return value is not None and value is not False and value != []


def operating_system(path: str, spec: PodSpec, containers: list[tuple[str, Any]]) -> list[FieldError]:
    """The named system, and nothing that only the other one has. `path` is the spec's."""
    if spec.os is None:
        return []
    if not spec.os.name:
        return [rules.required(f"{path}.os.name", "cannot be empty")]
    if spec.os.name not in ("linux", "windows"):
        return [rules.not_supported(f"{path}.os", spec.os.name, ("linux", "windows"))]
    contexts = [(f"{path}.securityContext", spec.security_context)]
    contexts += [(f"{at}.securityContext", one.security_context) for at, one in containers]
    if spec.os.name == "linux":
        words = "windows options cannot be set for a linux pod"
        return [
            rules.forbidden(f"{at}.windowsOptions", words)
            for at, one in contexts
            if one and one.windows_options is not None
        ]
    words = "cannot be set for a windows pod"
    broken = [rules.forbidden(f"{path}.{wire}", words) for wire, member in _LINUX_POD if _given(spec, member)]
    for position, (at, one) in enumerate(contexts):
        members = _LINUX_CONTAINER_CONTEXT if position else _LINUX_POD_CONTEXT
        broken += [rules.forbidden(f"{at}.{wire}", words) for wire, member in members if one and _given(one, member)]
    return broken
