"""apiregistration.k8s.io/v1 APIService: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, zero
from edgekube.kinds.columns import AGE, NAME, described


class ServiceReference(Struct):
    namespace: str = ""
    name: str = ""
    port: Int32 | None = None


class APIServiceSpec(Struct):
    service: ServiceReference | None = None
    group: str = ""
    version: str = ""
    insecure_skip_tls_verify: bool = field(name="insecureSkipTLSVerify", default=False)
    ca_bundle: Annotated[bytes, list_atomic()] = b""
    group_priority_minimum: Int32 = zero(int)
    version_priority: Int32 = zero(int)


class APIServiceCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class APIServiceStatus(Struct):
    conditions: Annotated[list[APIServiceCondition], list_map("type")] = []


class APIService(Object):
    spec: APIServiceSpec = zero(APIServiceSpec)
    status: APIServiceStatus = zero(APIServiceStatus)


def default(service: APIService) -> None:
    """Extension servers speak HTTPS on 443."""
    if service.spec.service is not None and service.spec.service.port is None:
        service.spec.service.port = 443


def prepare_create(service: APIService) -> None:
    """What this server serves itself is there at once."""
    if service.spec.service is None:
        service.status.conditions = [
            APIServiceCondition(
                type="Available",
                status="True",
                reason="Local",
                message="Local APIServices are always available",
                last_transition_time=service.metadata.creation_timestamp,
            )
        ]


def _service(service: APIService, _now: str) -> str:
    found = service.spec.service
    return "Local" if found is None else f"{found.namespace}/{found.name}"


def _available(service: APIService, _now: str) -> str:
    found = next((one for one in service.status.conditions if one.type == "Available"), None)
    if found is None:
        return "Unknown"
    return found.status if found.status == "True" else f"{found.status} ({found.reason})"


GROUP_PRIORITY_MOST, VERSION_PRIORITY_MOST = 20000, 1000


def service_rules(given: APIService) -> list[FieldError]:
    """Named after what it serves, and reachable."""
    spec = given.spec
    broken: list[FieldError] = []
    if given.metadata.name != f"{spec.version}.{spec.group}":
        words = '`spec.version+"."+spec.group`'
        broken.append(rules.invalid("metadata.name", given.metadata.name, f"must be {words}"))
    if spec.group:
        broken += rules.each("spec.group", spec.group, names.dns_subdomain(spec.group))
    broken += rules.each("spec.version", spec.version, names.dns_1035_label(spec.version))
    for member, value, most in (
        ("groupPriorityMinimum", spec.group_priority_minimum, GROUP_PRIORITY_MOST),
        ("versionPriority", spec.version_priority, VERSION_PRIORITY_MOST),
    ):
        if not 0 < value <= most:
            broken.append(rules.invalid(f"spec.{member}", value, f"must be positive and less than {most}"))
    if spec.service is None:
        if spec.ca_bundle:
            broken.append(
                rules.invalid(
                    "spec.caBundle", f"{len(spec.ca_bundle)} bytes", "local APIServices may not have a caBundle"
                )
            )
        if spec.insecure_skip_tls_verify:
            words = "local APIServices may not have insecureSkipTLSVerify"
            broken.append(rules.invalid("spec.insecureSkipTLSVerify", True, words))
        return broken
    if not spec.service.namespace:
        broken.append(rules.required("spec.service.namespace"))
    if not spec.service.name:
        broken.append(rules.required("spec.service.name"))
    if spec.service.port is not None and names.port_number(spec.service.port):
        broken.append(
            rules.invalid(
                "spec.service.port", spec.service.port, "port is not valid: must be between 1 and 65535, inclusive"
            )
        )
    if spec.insecure_skip_tls_verify and spec.ca_bundle:
        broken.append(rules.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))
    return broken


KIND = Kind(
    type=APIService,
    group="apiregistration.k8s.io",
    version="v1",
    name="APIService",
    plural="apiservices",
    singular="apiservice",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
    has_status=True,
    name_rule=names.path_segment,
    default=default,
    prepare_create=prepare_create,
    generation=False,
    allow_unconditional_update=False,
    columns=described(
        "apiservices",
        NAME,
        Column("Service", "string", _service),
        Column("Available", "string", _available),
        AGE,
    ),
    rules=service_rules,
)
