"""flowcontrol.apiserver.k8s.io/v1 FlowSchema: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, list_set, zero


class FlowDistinguisherMethod(Struct):
    type: str = zero(str)


class NonResourcePolicyRule(Struct):
    verbs: Annotated[list[str] | None, list_set(strategy="")] = None
    non_resource_urls: Annotated[list[str] | None, list_set(strategy="")] = field(name="nonResourceURLs", default=None)


class ResourcePolicyRule(Struct):
    verbs: Annotated[list[str] | None, list_set(strategy="")] = None
    api_groups: Annotated[list[str] | None, list_set(strategy="")] = None
    resources: Annotated[list[str] | None, list_set(strategy="")] = None
    cluster_scope: bool = False
    namespaces: Annotated[list[str] | None, list_set(strategy="")] = None


class GroupSubject(Struct):
    name: str = zero(str)


class ServiceAccountSubject(Struct):
    namespace: str = zero(str)
    name: str = zero(str)


class UserSubject(Struct):
    name: str = zero(str)


class Subject(Struct):
    kind: str = zero(str)
    user: UserSubject | None = None
    group: GroupSubject | None = None
    service_account: ServiceAccountSubject | None = None


class PolicyRulesWithSubjects(Struct):
    subjects: Annotated[list[Subject] | None, list_atomic()] = None
    resource_rules: Annotated[list[ResourcePolicyRule], list_atomic()] = []
    non_resource_rules: Annotated[list[NonResourcePolicyRule], list_atomic()] = []


class PriorityLevelConfigurationReference(Struct):
    name: str = zero(str)


class FlowSchemaSpec(Struct):
    priority_level_configuration: PriorityLevelConfigurationReference = zero(PriorityLevelConfigurationReference)
    matching_precedence: Int32 = zero(int)
    distinguisher_method: FlowDistinguisherMethod | None = None
    rules: Annotated[list[PolicyRulesWithSubjects], list_atomic()] = []


class FlowSchemaCondition(Struct):
    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class FlowSchemaStatus(Struct):
    conditions: Annotated[list[FlowSchemaCondition], list_map("type")] = []


class FlowSchema(Object):
    spec: FlowSchemaSpec = zero(FlowSchemaSpec)
    status: FlowSchemaStatus = zero(FlowSchemaStatus)


KIND = Kind(
    type=FlowSchema,
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    name="FlowSchema",
    plural="flowschemas",
    singular="flowschema",
    scope=Scope.CLUSTER,
    has_status=True,
)
