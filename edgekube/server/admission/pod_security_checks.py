"""The Pod Security Standards: what a pod of a level may not ask for, each check with the release it began in.

Pure: a pod's spec in, what is wrong with it out, in upstream's words. Source: k8s.io/pod-security-admission policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgekube.kinds.core.volume import Volume

PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LEVELS = (PRIVILEGED, BASELINE, RESTRICTED)
DEFAULT_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
SYSCTLS = {
    "kernel.shm_rmid_forced": 0,
    "net.ipv4.ip_local_port_range": 0,
    "net.ipv4.tcp_syncookies": 0,
    "net.ipv4.ping_group_range": 0,
    "net.ipv4.ip_unprivileged_port_start": 0,
    "net.ipv4.ip_local_reserved_ports": 27,
    "net.ipv4.tcp_keepalive_time": 29,
    "net.ipv4.tcp_fin_timeout": 29,
    "net.ipv4.tcp_keepalive_intvl": 29,
    "net.ipv4.tcp_keepalive_probes": 29,
    "net.ipv4.tcp_rmem": 32,
    "net.ipv4.tcp_wmem": 32,
}
SELINUX_TYPES = {"": 0, "container_t": 0, "container_init_t": 0, "container_kvm_t": 0, "container_engine_t": 31}
FREE_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "image",
    }
)


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken check: its name, and what breaks it."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})"


Check = Callable[[Any, int], Violation | None]  # (pod, minor release)


def containers_of(spec: Any) -> list[Any]:
    """Every container in the order they are told."""
    return [*spec.init_containers, *(spec.containers or ()), *spec.ephemeral_containers]


def quoted(names: Iterable[str]) -> str:
    """Names as upstream lists them: "a", "b"."""
    return ", ".join(f'"{name}"' for name in names)


def named(names: Sequence[str]) -> str:
    """Containers as upstream lists them: container "a"; containers "a", "b"."""
    return f"container{'s' if len(names) > 1 else ''} {quoted(names)}"


def _setters(pod_too: bool, names: Sequence[str]) -> str:
    """Who sets something: the pod, containers, or both."""
    return " and ".join((["pod"] if pod_too else []) + ([named(names)] if names else []))


def _context(container: Any, member: str) -> Any:
    context = container.security_context
    return None if context is None else getattr(context, member)


def _pod_context(pod: Any, member: str) -> Any:
    context = pod.spec.security_context
    return None if context is None else getattr(context, member)


def _on_windows(pod: Any) -> bool:
    return pod.spec.os is not None and pod.spec.os.name == "windows"


# Baseline


def _app_armor(pod: Any, _: int) -> Violation | None:
    bad = {one.name: found.type for one in containers_of(pod.spec) if (found := _context(one, "app_armor_profile"))}
    bad = {name: kind for name, kind in bad.items() if kind not in ("RuntimeDefault", "Localhost")}
    own = _pod_context(pod, "app_armor_profile")
    own_bad = own is not None and own.type not in ("RuntimeDefault", "Localhost")
    values = sorted({*bad.values(), *([own.type] if own_bad else [])})
    if not values:
        return None
    reason = f"forbidden AppArmor profile{'s' if len(values) > 1 else ''}"
    return Violation(reason, f"{_setters(own_bad, list(bad))} must not set AppArmor profile type to {quoted(values)}")


def _capabilities(pod: Any, _: int) -> Violation | None:
    bad, names = set[str](), []
    for one in containers_of(pod.spec):
        added = _context(one, "capabilities")
        wrong = set(added.add) - DEFAULT_CAPABILITIES if added is not None else set()
        if wrong:
            names.append(one.name)
            bad |= wrong
    if not names:
        return None
    words = f"{named(names)} must not include {quoted(sorted(bad))} in securityContext.capabilities.add"
    return Violation("non-default capabilities", words)


def _host_namespaces(pod: Any, _: int) -> Violation | None:
    spec = pod.spec
    members = (("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc))
    found = [f"{name}=true" for name, value in members if value]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _host_paths(pod: Any, _: int) -> Violation | None:
    names = [volume.name for volume in pod.spec.volumes if volume.host_path is not None]
    words = f"volume{'s' if len(names) > 1 else ''} {quoted(names)}"
    return Violation("hostPath volumes", words) if names else None


def _host_ports(pod: Any, _: int) -> Violation | None:
    names, ports = [], list[str]()
    for one in containers_of(pod.spec):
        used = [str(port.host_port) for port in one.ports if port.host_port]
        if used:
            names.append(one.name)
            ports += [port for port in used if port not in ports]
    if not names:
        return None
    verb, noun = "use" if len(names) > 1 else "uses", f"hostPort{'s' if len(ports) > 1 else ''}"
    return Violation("hostPort", f"{named(names)} {verb} {noun} {', '.join(sorted(ports))}")


def _handlers(container: Any) -> Iterable[Any]:
    for probe in (container.liveness_probe, container.readiness_probe, container.startup_probe):
        if probe is not None:
            yield probe
    if container.lifecycle is not None:
        yield from (one for one in (container.lifecycle.post_start, container.lifecycle.pre_stop) if one is not None)


def _host_probes(pod: Any, _: int) -> Violation | None:
    names, hosts = [], set[str]()
    for one in containers_of(pod.spec):
        found = {
            action.host
            for handler in _handlers(one)
            for action in (handler.http_get, handler.tcp_socket)
            if action is not None and action.host
        }
        if found:
            names.append(one.name)
            hosts |= found
    if not names:
        return None
    verb, noun = "use" if len(names) > 1 else "uses", f"host{'s' if len(hosts) > 1 else ''}"
    return Violation(
        "probe or lifecycle host", f"{named(names)} {verb} probe or lifecycle {noun} {quoted(sorted(hosts))}"
    )


def _privileged(pod: Any, _: int) -> Violation | None:
    names = [one.name for one in containers_of(pod.spec) if _context(one, "privileged")]
    return Violation("privileged", f"{named(names)} must not set securityContext.privileged=true") if names else None


def _proc_mount(pod: Any, minor: int) -> Violation | None:
    if minor >= 35 and pod.spec.host_users is False:
        return None
    found = {one.name: mount for one in containers_of(pod.spec) if (mount := _context(one, "proc_mount"))}
    bad = {name: mount for name, mount in found.items() if mount != "Default"}
    if not bad:
        return None
    kinds = quoted(sorted(set(bad.values())))
    return Violation("procMount", f"{named(list(bad))} must not set securityContext.procMount to {kinds}")


def _selinux(pod: Any, minor: int) -> Violation | None:
    def wrong(options: Any) -> tuple[set[str], bool, bool]:
        kinds = set() if SELINUX_TYPES.get(options.type, 99) <= minor else {options.type}
        return kinds, bool(options.user), bool(options.role)

    own = _pod_context(pod, "se_linux_options")
    kinds, user, role = wrong(own) if own is not None else (set[str](), False, False)
    own_bad, names = bool(kinds or user or role), []
    for one in containers_of(pod.spec):
        options = _context(one, "se_linux_options")
        if options is None:
            continue
        more, user_too, role_too = wrong(options)
        if more or user_too or role_too:
            names.append(one.name)
            kinds, user, role = kinds | more, user or user_too, role or role_too
    if not (own_bad or names):
        return None
    parts = [f"type{'s' if len(kinds) > 1 else ''} {quoted(sorted(kinds))}"] if kinds else []
    parts += (["user may not be set"] if user else []) + (["role may not be set"] if role else [])
    verb = "sets" if own_bad != bool(names) and len(names) < 2 else "set"
    where = f"{_setters(own_bad, names)} {verb} forbidden securityContext.seLinuxOptions"
    return Violation("seLinuxOptions", f"{where}: {'; '.join(parts)}")


def _seccomp_words(pod: Any) -> tuple[bool, list[str], list[str]]:
    """(whether the pod's profile is bad, containers with bad ones, the bad types)."""
    own = _pod_context(pod, "seccomp_profile")
    own_bad = own is not None and own.type not in ("RuntimeDefault", "Localhost")
    bad = {one.name: found.type for one in containers_of(pod.spec) if (found := _context(one, "seccomp_profile"))}
    bad = {name: kind for name, kind in bad.items() if kind not in ("RuntimeDefault", "Localhost")}
    return own_bad, list(bad), sorted({*bad.values(), *([own.type] if own_bad else [])})


def _seccomp(pod: Any, _: int) -> Violation | None:
    own, names, kinds = _seccomp_words(pod)
    if not (own or names):
        return None
    words = f"{_setters(own, names)} must not set securityContext.seccompProfile.type to {quoted(kinds)}"
    return Violation("seccompProfile", words)


def _sysctls(pod: Any, minor: int) -> Violation | None:
    bad = [one.name for one in _pod_context(pod, "sysctls") or () if SYSCTLS.get(one.name, 99) > minor]
    return Violation("forbidden sysctls", ", ".join(sorted(set(bad)))) if bad else None


def _host_process(pod: Any, _: int) -> Violation | None:
    names = [
        one.name
        for one in containers_of(pod.spec)
        if (found := _context(one, "windows_options")) and found.host_process
    ]
    own = _pod_context(pod, "windows_options")
    own_bad = own is not None and bool(own.host_process)
    words = f"{_setters(own_bad, names)} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", words) if own_bad or names else None


# Restricted


def _escalation(pod: Any, minor: int) -> Violation | None:
    if minor >= 25 and _on_windows(pod):
        return None
    names = [one.name for one in containers_of(pod.spec) if _context(one, "allow_privilege_escalation") is not False]
    words = f"{named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", words) if names else None


def _dropped_capabilities(pod: Any, minor: int) -> Violation | None:
    if minor >= 25 and _on_windows(pod):
        return None
    keeping, adding, added = [], [], set[str]()
    for one in containers_of(pod.spec):
        found = _context(one, "capabilities")
        if found is None or "ALL" not in found.drop:
            keeping.append(one.name)
        wrong = set(found.add) - {"NET_BIND_SERVICE"} if found is not None else set()
        if wrong:
            adding.append(one.name)
            added |= wrong
    parts = [f'{named(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if adding:
        parts.append(f"{named(adding)} must not include {quoted(sorted(added))} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(parts)) if parts else None


def _volume_types(pod: Any, _: int) -> Violation | None:
    names, kinds = [], set[str]()
    wire = dict(zip(Volume.__struct_fields__, Volume.__struct_encode_fields__, strict=True))
    for volume in pod.spec.volumes:
        used = {wire[member] for member in wire if member != "name" and getattr(volume, member) is not None}
        if bad := used - FREE_VOLUMES:
            names.append(volume.name)
            kinds |= bad
    if not names:
        return None
    many, types = len(names) > 1, f"restricted volume type{'s' if len(kinds) > 1 else ''}"
    words = f"volume{'s' if many else ''} {quoted(names)} use{'' if many else 's'} {types} {quoted(sorted(kinds))}"
    return Violation("restricted volume types", words)


def _non_root(pod: Any, minor: int) -> Violation | None:
    if minor >= 35 and pod.spec.host_users is False:
        return None
    own = _pod_context(pod, "run_as_non_root")
    each = {one.name: _context(one, "run_as_non_root") for one in containers_of(pod.spec)}
    explicit = [name for name, value in each.items() if value is False]
    reason = "runAsNonRoot != true"
    silent = [name for name, value in each.items() if value is None]
    own_bad = own is False
    if explicit or own_bad:
        return Violation(reason, f"{_setters(own_bad, explicit)} must not set securityContext.runAsNonRoot=false")
    if silent and own is None:
        return Violation(reason, f"pod or {named(silent)} must set securityContext.runAsNonRoot=true")
    return None


def _user(pod: Any, minor: int) -> Violation | None:
    if minor >= 35 and pod.spec.host_users is False:
        return None
    names = [one.name for one in containers_of(pod.spec) if _context(one, "run_as_user") == 0]
    own = _pod_context(pod, "run_as_user") == 0
    return Violation("runAsUser=0", f"{_setters(own, names)} must not set runAsUser=0") if own or names else None


def _seccomp_given(pod: Any, minor: int) -> Violation | None:
    if minor >= 25 and _on_windows(pod):
        return None
    bad = _seccomp(pod, minor)
    if bad is not None:
        return bad
    if _pod_context(pod, "seccomp_profile") is not None:
        return None
    silent = [one.name for one in containers_of(pod.spec) if _context(one, "seccomp_profile") is None]
    words = f'pod or {named(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", words) if silent else None


@dataclass(frozen=True, slots=True)
class _Entry:
    check: Check
    since: int = 0
    until: int = 99  # for the restricted level: from here on a stricter check takes its place


BASELINE_CHECKS = (
    _Entry(_app_armor),
    _Entry(_capabilities, until=22),
    _Entry(_host_namespaces),
    _Entry(_host_paths, until=0),
    _Entry(_host_ports),
    _Entry(_host_probes, since=34),
    _Entry(_privileged),
    _Entry(_proc_mount),
    _Entry(_selinux),
    _Entry(_seccomp, since=19, until=19),
    _Entry(_sysctls),
    _Entry(_host_process),
)
RESTRICTED_CHECKS = (
    _Entry(_escalation, since=8),
    _Entry(_dropped_capabilities, since=22),
    _Entry(_volume_types),
    _Entry(_non_root),
    _Entry(_user, since=23),
    _Entry(_seccomp_given, since=19),
)


def violations(pod: Any, level: str, minor: int) -> list[Violation]:
    """What a pod (anything with a pod's `spec`) does that `level` does not allow."""
    if level == PRIVILEGED:
        return []
    chosen = [one.check for one in BASELINE_CHECKS if one.since <= minor and (level == BASELINE or minor < one.until)]
    if level == RESTRICTED:
        chosen += [one.check for one in RESTRICTED_CHECKS if one.since <= minor]
    return [found for check in chosen if (found := check(pod, minor)) is not None]
