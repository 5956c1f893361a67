"""apiregistration.k8s.io/v1 APIService: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, zero


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
)
