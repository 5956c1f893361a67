"""securityContext of pods and containers as the CRI wants it. Pure.

Source: kubelet kuberuntime security_context.go, util securitycontext (behaviour; the masked and read-only paths are Docker's).
"""

from __future__ import annotations

from typing import Any

from edgekube.kinds.core.container import AppArmorProfile, SeccompProfile, SecurityContext, SELinuxOptions
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import PodSecurityContext
from edgekube.node.pods.fields import Unresolved
from edgekube.node.pods.seen import AnyContainer
from edgekube.node.runtime.cri import Image

POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3
RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = 0, 1, 2
MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def namespaces(pod: Pod, *, target_id: str = "") -> dict[str, Any]:
    """NamespaceOption of a pod (or, with `target_id`, of an ephemeral container joining another's processes)."""
    pid = CONTAINER
    if pod.spec.host_pid:
        pid = NODE
    elif target_id:
        pid = TARGET
    elif pod.spec.share_process_namespace:
        pid = POD
    made: dict[str, Any] = {
        "network": NODE if pod.spec.host_network else POD,
        "pid": pid,
        "ipc": NODE if pod.spec.host_ipc else POD,
    }
    if pid == TARGET:
        made["target_id"] = target_id
    return made


def _seccomp(profile: SeccompProfile | None, *, privileged: bool) -> dict[str, Any]:
    if privileged or profile is None or profile.type == "Unconfined":
        return {"profile_type": UNCONFINED}
    if profile.type == "Localhost":
        return {
            "profile_type": LOCALHOST,
            "localhost_ref": f"/var/lib/kubelet/seccomp/{profile.localhost_profile or ''}",
        }
    return {"profile_type": RUNTIME_DEFAULT}


def _apparmor(profile: AppArmorProfile | None) -> dict[str, Any] | None:
    if profile is None:
        return None
    if profile.type == "Unconfined":
        return {"profile_type": UNCONFINED}
    if profile.type == "Localhost":
        return {"profile_type": LOCALHOST, "localhost_ref": profile.localhost_profile or ""}
    return {"profile_type": RUNTIME_DEFAULT}


def _selinux(options: SELinuxOptions | None) -> dict[str, Any] | None:
    if options is None:
        return None
    return {"user": options.user, "role": options.role, "type": options.type, "level": options.level}


def _present(pairs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in pairs.items() if value is not None}


def sandbox_security(pod: Pod) -> dict[str, Any]:
    """LinuxSandboxSecurityContext."""
    context = pod.spec.security_context or PodSecurityContext()
    privileged = any(c.security_context and c.security_context.privileged for c in _all(pod))
    return _present(
        {
            "privileged": privileged,
            "namespace_options": namespaces(pod),
            "seccomp": {"profile_type": RUNTIME_DEFAULT} if not privileged else {"profile_type": UNCONFINED},
            "selinux_options": _selinux(context.se_linux_options),
            "supplemental_groups": _groups(context),
            "run_as_user": None if context.run_as_user is None else {"value": context.run_as_user},
            "run_as_group": (
                None if context.run_as_group is None or context.run_as_user is None else {"value": context.run_as_group}
            ),
        }
    )


def _all(pod: Pod) -> list[AnyContainer]:
    return [*(pod.spec.containers or []), *pod.spec.init_containers]


def _groups(context: PodSecurityContext) -> list[int]:
    groups = list(context.supplemental_groups)
    if context.fs_group is not None:
        groups.append(context.fs_group)
    return groups


def container_security(
    pod: Pod, container: AnyContainer, image: Image | None, *, target_id: str = "", extra_groups: tuple[int, ...] = ()
) -> dict[str, Any]:
    """LinuxContainerSecurityContext. Raises Unresolved when runAsNonRoot cannot be kept."""
    shared = pod.spec.security_context or PodSecurityContext()
    own = container.security_context or SecurityContext()
    user = own.run_as_user if own.run_as_user is not None else shared.run_as_user
    group = own.run_as_group if own.run_as_group is not None else shared.run_as_group
    privileged = bool(own.privileged)
    _check_non_root(pod, container, own, shared, user, image)
    made: dict[str, Any] = {
        "privileged": privileged,
        "namespace_options": namespaces(pod, target_id=target_id),
        "readonly_rootfs": bool(own.read_only_root_filesystem),
        "supplemental_groups": [*_groups(shared), *extra_groups],
        "no_new_privs": own.allow_privilege_escalation is False,
        "seccomp": _seccomp(own.seccomp_profile or shared.seccomp_profile, privileged=privileged),
        "apparmor": None if privileged else _apparmor(own.app_armor_profile or shared.app_armor_profile),
        "selinux_options": _selinux(own.se_linux_options or shared.se_linux_options),
        "run_as_group": None if group is None else {"value": group},
    }
    if user is not None:
        made["run_as_user"] = {"value": user}
    elif image is not None and image.user_id is not None:
        made["run_as_user"] = {"value": image.user_id}
    elif image is not None and image.user_name:
        made["run_as_username"] = image.user_name
    if user is None and group is not None and "run_as_user" not in made and "run_as_username" not in made:
        made["run_as_user"] = {"value": 0}  # a group cannot be given without a user
    if own.capabilities is not None:
        made["capabilities"] = {
            "add_capabilities": list(own.capabilities.add),
            "drop_capabilities": list(own.capabilities.drop),
        }
    if not privileged and own.proc_mount != "Unmasked":
        made["masked_paths"], made["readonly_paths"] = list(MASKED), list(READ_ONLY)
    return _present(made)


def _check_non_root(
    pod: Pod,
    container: AnyContainer,
    own: SecurityContext,
    shared: PodSecurityContext,
    user: int | None,
    image: Image | None,
) -> None:
    wanted = own.run_as_non_root if own.run_as_non_root is not None else shared.run_as_non_root
    if not wanted:
        return
    where = f'(pod: "{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})", container: {container.name})'
    if user is not None:
        if user == 0:
            raise Unresolved(f"container's runAsUser breaks non-root policy {where}")
        return
    if image is None:
        return
    if image.user_name:
        raise Unresolved(
            f"container has runAsNonRoot and image has non-numeric user ({image.user_name}), cannot verify user is non-root {where}"
        )
    if not image.user_id:
        raise Unresolved(f"container has runAsNonRoot and image will run as root {where}")
