"""storage.k8s.io/v1 CSIDriver: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, list_set, zero
from edgekube.kinds.columns import AGE, NAME, NONE, UNSET, described


class TokenRequest(Struct):
    audience: str = zero(str)
    expiration_seconds: int | None = None


class CSIDriverSpec(Struct):
    attach_required: bool | None = None
    pod_info_on_mount: bool | None = None
    volume_lifecycle_modes: Annotated[list[str], list_set(strategy="")] = []
    storage_capacity: bool | None = None
    fs_group_policy: str | None = None
    token_requests: Annotated[list[TokenRequest], list_atomic()] = []
    requires_republish: bool | None = None
    se_linux_mount: bool | None = None
    node_allocatable_update_period_seconds: int | None = None
    service_account_token_in_secrets: bool | None = None
    prevent_pod_scheduling_if_missing: bool | None = None


class CSIDriver(Object):
    spec: CSIDriverSpec = zero(CSIDriverSpec)


def default(driver: CSIDriver) -> None:
    """What a driver that says nothing is taken for."""
    spec = driver.spec
    if spec.attach_required is None:
        spec.attach_required = True
    if spec.pod_info_on_mount is None:
        spec.pod_info_on_mount = False
    if spec.storage_capacity is None:
        spec.storage_capacity = False
    if spec.fs_group_policy is None:
        spec.fs_group_policy = "ReadWriteOnceWithFSType"
    if not spec.volume_lifecycle_modes:
        spec.volume_lifecycle_modes = ["Persistent"]
    if spec.requires_republish is None:
        spec.requires_republish = False
    if spec.se_linux_mount is None:
        spec.se_linux_mount = False


def _audiences(driver: CSIDriver, _now: str) -> str:
    return ",".join(request.audience for request in driver.spec.token_requests) if driver.spec.token_requests else UNSET


KIND = Kind(
    type=CSIDriver,
    group="storage.k8s.io",
    version="v1",
    name="CSIDriver",
    plural="csidrivers",
    singular="csidriver",
    scope=Scope.CLUSTER,
    default=default,
    generation=False,
    allow_unconditional_update=False,
    columns=described(
        "csidrivers",
        NAME,
        Column("AttachRequired", "boolean", lambda item, _: item.spec.attach_required is not False),
        Column("PodInfoOnMount", "boolean", lambda item, _: bool(item.spec.pod_info_on_mount)),
        Column("StorageCapacity", "boolean", lambda item, _: bool(item.spec.storage_capacity)),
        Column("TokenRequests", "string", _audiences),
        Column("RequiresRepublish", "boolean", lambda item, _: bool(item.spec.requires_republish)),
        Column("Modes", "string", lambda item, _: ",".join(item.spec.volume_lifecycle_modes) or NONE),
        AGE,
    ),
)
