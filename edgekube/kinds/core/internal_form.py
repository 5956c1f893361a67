"""Specs as upstream's own (unversioned) Go types print them, for the few messages that show them or how two differ.

The members are those of the wire, under their Go names and in the order of the Go types; what is empty is null for pointers, lists
and maps and the zero value for everything else. Source: kubernetes pkg/apis/core/types.go, apimachinery pkg/util/diff.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from edgekube.api import rules
from edgekube.api.kind import FieldError

CONTEXT_LINES = 3
_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_NAMES = {
    "awsElasticBlockStore": "AWSElasticBlockStore", "cephfs": "CephFS", "csi": "CSI", "dnsConfig": "DNSConfig",
    "dnsPolicy": "DNSPolicy", "fc": "FC", "fsGroup": "FSGroup", "fsGroupChangePolicy": "FSGroupChangePolicy",
    "fsType": "FSType", "gcePersistentDisk": "GCEPersistentDisk", "gmsaCredentialSpec": "GMSACredentialSpec",
    "gmsaCredentialSpecName": "GMSACredentialSpecName", "grpc": "GRPC", "httpGet": "HTTPGet", "httpHeaders": "HTTPHeaders",
    "ip": "IP", "iscsi": "ISCSI", "nfs": "NFS", "os": "OS", "pdName": "PDName", "rbd": "RBD",
    "seLinuxChangePolicy": "SELinuxChangePolicy", "seLinuxOptions": "SELinuxOptions", "storageos": "StorageOS",
    "tcpSocket": "TCPSocket", "tty": "TTY", "uid": "UID",
}  # fmt: skip
_HOST = (
    "host_network",
    "host_pid",
    "host_ipc",
    "share_process_namespace",
    "host_users",
)  # in the security context there
_POD_SPEC = (
    "volumes", "init_containers", "containers", "ephemeral_containers", "restart_policy",
    "termination_grace_period_seconds", "active_deadline_seconds", "dns_policy", "node_selector", "service_account_name",
    "automount_service_account_token", "node_name", "security_context", "image_pull_secrets", "hostname", "subdomain",
    "set_hostname_as_fqdn", "affinity", "scheduler_name", "tolerations", "host_aliases", "priority_class_name", "priority",
    "preemption_policy", "dns_config", "readiness_gates", "runtime_class_name", "overhead", "enable_service_links",
    "topology_spread_constraints", "os", "scheduling_gates", "resource_claims", "resources", "hostname_override",
    "scheduling_group",
)  # fmt: skip


_POD_SECURITY_CONTEXT = (
    "se_linux_options", "windows_options", "run_as_user", "run_as_group", "run_as_non_root", "supplemental_groups",
    "supplemental_groups_policy", "fs_group", "fs_group_change_policy", "sysctls", "seccomp_profile", "app_armor_profile",
    "se_linux_change_policy",
)  # fmt: skip
_ORDER = {"PodSpec": _POD_SPEC, "PodSecurityContext": _POD_SECURITY_CONTEXT}  # where it is not that of the wire


def _go_name(wire: str) -> str:
    return _NAMES.get(wire) or wire[:1].upper() + wire[1:]


@cache
def _members(struct: type[msgspec.Struct]) -> dict[str, tuple[str, Any]]:
    """Attribute -> (Go name, its type without annotations)."""
    found = {one.name: (_go_name(one.encode_name), one.type) for one in msgspec.structs.fields(struct)}
    return {name: found[name] for name in _ORDER.get(struct.__name__, found)}


def _empty(annotation: Any) -> Any:
    """What Go shows for a member that is not set."""
    if get_origin(annotation) is Annotated:
        return _empty(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, Union):
        return None if NoneType in get_args(annotation) else 0
    if annotation is bool:
        return False
    if annotation in (int, float):
        return 0
    if isinstance(annotation, type) and issubclass(annotation, str):
        return ""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return internal(annotation())
    return None


def internal(value: Any) -> Any:
    """A value in that form, as JSON would hold it."""
    if isinstance(value, msgspec.Struct):
        made = {}
        for attribute, (name, annotation) in _members(type(value)).items():
            found = getattr(value, attribute)
            unset = found is None or (not found and not isinstance(found, msgspec.Struct | bool | int))
            kept = isinstance(found, str) and not found and _empty(annotation) is None and found is not None
            made[name] = internal(found) if not unset or kept else _empty(annotation)
        if type(value).__name__ == "PodSpec":
            context = {_members_of_host(attribute): getattr(value, attribute) for attribute in _HOST}
            made["SecurityContext"] = (
                {**context, **(made["SecurityContext"] or {})} if made["SecurityContext"] else None
            )
        return made
    if isinstance(value, list | tuple):
        return [internal(one) for one in value]
    if isinstance(value, dict):
        return {name: internal(value[name]) for name in sorted(value)}
    return value


def _members_of_host(attribute: str) -> str:
    return {"host_pid": "HostPID", "host_ipc": "HostIPC"}.get(attribute) or "".join(
        part.capitalize() for part in attribute.split("_")
    )


def members(value: msgspec.Struct, attributes: Iterable[str]) -> dict[str, Any]:
    """Some members of a struct in that form, in this order."""
    known = _members(type(value))
    return {
        known[name][0]: _empty(known[name][1]) if getattr(value, name) is None else internal(getattr(value, name))
        for name in attributes
    }


def immutable(path: str, value: Any) -> FieldError:
    """`rules.immutable` of a value that is shown in that form."""
    text = json.dumps(internal(value), separators=(",", ":"), ensure_ascii=False).translate(_HTML)
    return FieldError(rules.INVALID, path, f"Invalid value: {text}: {rules.IMMUTABLE}")


def difference(old: Any, new: Any) -> str:
    """How two values in that form differ, line by line, behind a line's end; "" when they do not."""
    before, after = (json.dumps(one, indent=1, ensure_ascii=False).split("\n") for one in (old, new))
    lines = list(difflib.unified_diff(before, after, lineterm="", n=CONTEXT_LINES))[2:]
    return "\n" + "\n".join(lines) + "\n" if lines else ""
