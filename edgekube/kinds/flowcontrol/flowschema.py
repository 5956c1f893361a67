"""flowcontrol.apiserver.k8s.io/v1 FlowSchema: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, list_set, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described


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


DEFAULT_PRECEDENCE = 1000


def default(schema: FlowSchema) -> None:
    """Somewhere in the middle."""
    if not schema.spec.matching_precedence:
        schema.spec.matching_precedence = DEFAULT_PRECEDENCE


def _distinguisher(schema: FlowSchema, _now: str) -> str:
    return NONE if schema.spec.distinguisher_method is None else schema.spec.distinguisher_method.type


def _dangling(schema: FlowSchema, _now: str) -> str:
    return next((one.status for one in schema.status.conditions if one.type == "Dangling"), "?")


KIND = Kind(
    type=FlowSchema,
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    name="FlowSchema",
    plural="flowschemas",
    singular="flowschema",
    scope=Scope.CLUSTER,
    has_status=True,
    default=default,
    columns=described(
        "flowschemas",
        NAME,
        Column("PriorityLevel", "string", lambda item, _: item.spec.priority_level_configuration.name),
        Column("MatchingPrecedence", "string", lambda item, _: item.spec.matching_precedence),
        Column("DistinguisherMethod", "string", _distinguisher),
        AGE,
        Column("MissingPL", "string", _dangling),
    ),
)
