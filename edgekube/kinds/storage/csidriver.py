"""storage.k8s.io/v1 CSIDriver: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, list_set, zero


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


KIND = Kind(
    type=CSIDriver,
    group="storage.k8s.io",
    version="v1",
    name="CSIDriver",
    plural="csidrivers",
    singular="csidriver",
    scope=Scope.CLUSTER,
)
