"""storage.k8s.io/v1 CSIDriver: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
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


FS_GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LIFECYCLE_MODES = ("Persistent", "Ephemeral")
DRIVER_NAME_MAX = 63
TOKEN_LIFE_LEAST_S, TOKEN_LIFE_MOST_S = 600, 2**32


def driver_name(path: str, value: str) -> list[FieldError]:
    """A DNS name of at most 63 letters, in any case."""
    if not value:
        return [rules.required(path)]
    broken = [rules.too_long(path, DRIVER_NAME_MAX)] if len(value) > DRIVER_NAME_MAX else []
    return broken + rules.each(path, value, names.dns_subdomain(value.lower()))


def _token_rules(requests: list[TokenRequest]) -> list[FieldError]:
    broken: list[FieldError] = []
    audiences = [request.audience for request in requests]
    for at, request in enumerate(requests):
        path = f"spec.tokenRequests[{at}]"
        if request.audience in audiences[:at]:
            broken.append(rules.duplicate(f"{path}.audience", request.audience))
        life = request.expiration_seconds
        if life is None:
            continue
        if life < TOKEN_LIFE_LEAST_S:
            words = "may not specify a duration less than 10 minutes"
            broken.append(rules.invalid(f"{path}.expirationSeconds", life, words))
        if life > TOKEN_LIFE_MOST_S:
            words = "may not specify a duration larger than 2^32 seconds"
            broken.append(rules.invalid(f"{path}.expirationSeconds", life, words))
    return broken


def driver_rules(driver: CSIDriver) -> list[FieldError]:
    """Its name, policies and tokens."""
    spec = driver.spec
    broken = driver_name("metadata.name", driver.metadata.name)
    if spec.fs_group_policy not in FS_GROUP_POLICIES:
        broken.append(rules.not_supported("spec.fsGroupPolicy", spec.fs_group_policy or "", FS_GROUP_POLICIES))
    broken += _token_rules(spec.token_requests)
    for mode in spec.volume_lifecycle_modes:
        if mode not in LIFECYCLE_MODES:
            broken.append(rules.not_supported("spec.volumeLifecycleModes", mode, LIFECYCLE_MODES))
    return broken


def driver_update_rules(new: CSIDriver, old: CSIDriver) -> list[FieldError]:
    """What running volumes rely on stays."""
    broken = rules.same("spec.attachedRequired", new.spec.attach_required, old.spec.attach_required)
    return broken + rules.same(
        "spec.volumeLifecycleModes", new.spec.volume_lifecycle_modes, old.spec.volume_lifecycle_modes
    )


def driver_warnings(new: CSIDriver, _old: CSIDriver | None) -> list[str]:
    """Tokens may end up in logs."""
    if not new.spec.token_requests or new.spec.service_account_token_in_secrets is not None:
        return []
    return [
        "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible"
        " logging of tokens in volume attributes"
    ]


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
    rules=driver_rules,
    update_rules=driver_update_rules,
    warnings=driver_warnings,
)
