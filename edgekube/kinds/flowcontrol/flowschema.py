"""flowcontrol.apiserver.k8s.io/v1 FlowSchema: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, list_set, null, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described


class FlowDistinguisherMethod(Struct):
    type: str = zero(str)


class NonResourcePolicyRule(Struct):
    verbs: Annotated[list[str] | None, list_set(strategy="")] = null()
    non_resource_urls: Annotated[list[str] | None, list_set(strategy="")] = field(name="nonResourceURLs", default=None)


class ResourcePolicyRule(Struct):
    verbs: Annotated[list[str] | None, list_set(strategy="")] = null()
    api_groups: Annotated[list[str] | None, list_set(strategy="")] = null()
    resources: Annotated[list[str] | None, list_set(strategy="")] = null()
    cluster_scope: bool = False
    namespaces: Annotated[list[str] | None, list_set(strategy="")] = null()


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
    subjects: Annotated[list[Subject] | None, list_atomic()] = null()
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
    last_transition_time: Time | None = null()
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


PRECEDENCE_MOST = 10000
SUBJECT_KINDS = ("Group", "ServiceAccount", "User")
DISTINGUISHERS = ("ByNamespace", "ByUser")


def _subject_rules(path: str, subject: Subject) -> list[FieldError]:
    if subject.kind not in SUBJECT_KINDS:
        return [rules.not_supported(f"{path}.kind", subject.kind, SUBJECT_KINDS)]
    member = subject.kind[:1].lower() + subject.kind[1:]
    found = {"user": subject.user, "group": subject.group, "serviceAccount": subject.service_account}
    broken: list[FieldError] = []
    for name, one in found.items():
        if name == member and one is None:
            broken.append(rules.required(f"{path}.{name}", f"{name} is required when subject kind is '{subject.kind}'"))
        elif name == member and one is not None and not one.name:
            broken.append(rules.required(f"{path}.{name}.name"))
        elif name != member and one is not None:
            broken.append(
                rules.forbidden(
                    f"{path}.{name}", f"{name} is forbidden when subject kind is not '{name[:1].upper() + name[1:]}'"
                )
            )
    return broken


def _policy_rules(path: str, policy: PolicyRulesWithSubjects) -> list[FieldError]:
    broken: list[FieldError] = []
    if not policy.subjects:
        broken.append(rules.required(f"{path}.subjects", "subjects must contain at least one value"))
    for at, subject in enumerate(policy.subjects or ()):
        broken += _subject_rules(f"{path}.subjects[{at}]", subject)
    if not policy.resource_rules and not policy.non_resource_rules:
        words = "at least one of resourceRules and nonResourceRules has to be non-empty"
        broken.append(rules.required(path, words))
    for at, rule in enumerate(policy.resource_rules):
        here = f"{path}.resourceRules[{at}]"
        for member, values in (("verbs", rule.verbs), ("apiGroups", rule.api_groups), ("resources", rule.resources)):
            if not values:
                broken.append(
                    rules.required(f"{here}.{member}", f"resource rules must supply at least one {member[:-1]}")
                )
        if not rule.namespaces and not rule.cluster_scope:
            words = "resource rules that are not cluster scoped must supply at least one namespace"
            broken.append(rules.required(f"{here}.namespaces", words))
    for at, given in enumerate(policy.non_resource_rules):
        here = f"{path}.nonResourceRules[{at}]"
        if not given.verbs:
            broken.append(rules.required(f"{here}.verbs", "verbs must contain at least one value"))
        if not given.non_resource_urls:
            words = "nonResourceURLs must contain at least one value"
            broken.append(rules.required(f"{here}.nonResourceURLs", words))
    return broken


def schema_rules(schema: FlowSchema) -> list[FieldError]:
    """Whose requests, in which order, to which level."""
    spec = schema.spec
    broken: list[FieldError] = []
    if not 0 < spec.matching_precedence <= PRECEDENCE_MOST:
        words = f"must be a positive value less than or equal to {PRECEDENCE_MOST}"
        broken.append(rules.invalid("spec.matchingPrecedence", spec.matching_precedence, words))
    if spec.matching_precedence == 1 and schema.metadata.name != "exempt":
        words = "only the schema named 'exempt' may have matchingPrecedence 1"
        broken.append(rules.invalid("spec.matchingPrecedence", 1, words))
    method = spec.distinguisher_method
    if method is not None and method.type not in DISTINGUISHERS:
        broken.append(rules.not_supported("spec.distinguisherMethod", f"{{{method.type}}}", DISTINGUISHERS))
    level = spec.priority_level_configuration.name
    if not level:
        broken.append(rules.required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
    else:
        broken += rules.each("spec.priorityLevelConfiguration.name", level, names.dns_subdomain(level))
    for at, policy in enumerate(spec.rules):
        broken += _policy_rules(f"spec.rules[{at}]", policy)
    return broken


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
    rules=schema_rules,
)
