"""flowcontrol.apiserver.k8s.io/v1 FlowSchema: its types and rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

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
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
#: What these two say never changes: every server has them as they are.
EXEMPT, CATCH_ALL = "exempt", "catch-all"


def _mandatory_spec(name: str) -> FlowSchemaSpec:
    """Source: apiserver flowcontrol bootstrap default.go (MandatoryFlowSchemas)."""
    groups = ("system:masters",) if name == EXEMPT else ("system:unauthenticated", "system:authenticated")
    everything = ResourcePolicyRule(
        verbs=["*"], api_groups=["*"], resources=["*"], cluster_scope=True, namespaces=["*"]
    )
    return FlowSchemaSpec(
        priority_level_configuration=PriorityLevelConfigurationReference(name=name),
        matching_precedence=1 if name == EXEMPT else PRECEDENCE_MOST,
        distinguisher_method=None if name == EXEMPT else FlowDistinguisherMethod(type="ByUser"),
        rules=[
            PolicyRulesWithSubjects(
                subjects=[Subject(kind="Group", group=GroupSubject(name=group)) for group in groups],
                resource_rules=[everything],
                non_resource_rules=[NonResourcePolicyRule(verbs=["*"], non_resource_urls=["*"])],
            )
        ],
    )


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
            kind = name[:1].upper() + name[1:]
            broken.append(rules.forbidden(f"{path}.{name}", f"{name} is forbidden when subject kind is not '{kind}'"))
    if subject.kind == "ServiceAccount" and (account := subject.service_account) is not None:
        at = f"{path}.serviceAccount"
        if account.name and account.name != "*":
            broken += rules.each(f"{at}.name", account.name, names.dns_subdomain(account.name))
        if account.namespace:
            broken += rules.each(f"{at}.namespace", account.namespace, names.dns_label(account.namespace))
        else:
            broken.append(rules.required(f"{at}.namespace", "must specify namespace for service account"))
    return broken


def _all_or_some(path: str, values: list[str] | None, missing: str, others: str) -> list[FieldError]:
    """At least one value; "*" stands alone."""
    if not values:
        return [rules.required(path, missing)]
    if "*" in values and len(values) > 1:
        return [rules.invalid(path, values, f"if '*' is present, must not specify other {others}")]
    return []


def _verbs(path: str, verbs: list[str] | None) -> list[FieldError]:
    broken = _all_or_some(path, verbs, "verbs must contain at least one value", "verbs")
    if verbs and "*" not in verbs and not set(verbs) <= set(VERBS):
        broken.append(rules.not_supported(path, verbs, VERBS))
    return broken


def _url(path: str, url: str) -> list[FieldError]:
    """A path, possibly with everything below it. Only the first problem is told."""
    stars = url.count("*")
    for wrong, words in (
        (not url, "must not be empty"),
        (not url.startswith("/"), "must start with slash"),
        (" " in url, "must not contain white-space"),
        ("//" in url, "must not contain double slash"),
        (stars > 1 or (stars == 1 and not url.endswith("/*")), "wildcard can only do suffix matching"),
    ):
        if wrong:
            return [rules.invalid(path, url, words)]
    return []


def _resource_rule(path: str, rule: ResourcePolicyRule) -> list[FieldError]:
    broken = _verbs(f"{path}.verbs", rule.verbs)
    words = "resource rules must supply at least one"
    broken += _all_or_some(f"{path}.apiGroups", rule.api_groups, f"{words} api group", "api groups")
    broken += _all_or_some(f"{path}.resources", rule.resources, f"{words} resource", "resources")
    if not rule.namespaces and rule.cluster_scope:
        return broken
    missing = "resource rules that are not cluster scoped must supply at least one namespace"
    broken += _all_or_some(f"{path}.namespaces", rule.namespaces, missing, "namespaces")
    if "*" not in (rule.namespaces or ()):
        for at, namespace in enumerate(rule.namespaces or ()):
            problems = [
                f"each member of this list must be '*' or a DNS-1123 label; {one}" for one in names.dns_label(namespace)
            ]
            broken += rules.each(f"{path}.namespaces[{at}]", namespace, problems)
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
        broken += _resource_rule(f"{path}.resourceRules[{at}]", rule)
    for at, given in enumerate(policy.non_resource_rules):
        here = f"{path}.nonResourceRules[{at}]"
        broken += _verbs(f"{here}.verbs", given.verbs)
        urls, missing = given.non_resource_urls, "nonResourceURLs must contain at least one value"
        broken += _all_or_some(f"{here}.nonResourceURLs", urls, missing, "non-resource URLs")
        if "*" not in (urls or ()):
            for position, url in enumerate(urls or ()):
                broken += _url(f"{here}.nonResourceURLs[{position}]", url)
    return broken


def condition_rules(conditions: Sequence[Any]) -> list[FieldError]:
    """Conditions of a status have types, each its own."""
    broken: list[FieldError] = []
    seen: set[str] = set()
    for at, condition in enumerate(conditions):
        path = f"status.conditions[{at}].type"
        if condition.type in seen:
            broken.append(rules.duplicate(path, condition.type))
        if not condition.type:
            broken.append(rules.required(path, "must not be empty"))
        seen.add(condition.type)
    return broken


def schema_rules(schema: FlowSchema) -> list[FieldError]:
    """Whose requests, in which order, to which level."""
    spec, at = schema.spec, "spec.matchingPrecedence"
    precedence = spec.matching_precedence
    broken: list[FieldError] = []
    if precedence <= 0:
        broken.append(rules.invalid(at, precedence, "must be a positive value"))
    if precedence > PRECEDENCE_MOST:
        broken.append(rules.invalid(at, precedence, f"must not be greater than {PRECEDENCE_MOST}"))
    if precedence == 1 and schema.metadata.name != EXEMPT:
        broken.append(rules.invalid(at, 1, "only the schema named 'exempt' may have matchingPrecedence 1"))
    method = spec.distinguisher_method
    if method is not None and method.type not in DISTINGUISHERS:
        broken.append(rules.not_supported("spec.distinguisherMethod.type", method, DISTINGUISHERS))
    level = spec.priority_level_configuration.name
    if not level:
        broken.append(rules.required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
    else:
        broken += rules.each("spec.priorityLevelConfiguration.name", level, names.dns_subdomain(level))
    for position, policy in enumerate(spec.rules):
        broken += _policy_rules(f"spec.rules[{position}]", policy)
    name = schema.metadata.name
    if name in (EXEMPT, CATCH_ALL) and spec != _mandatory_spec(name):
        broken.append(rules.invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))
    return broken + condition_rules(schema.status.conditions)


def status_rules(new: FlowSchema, _old: FlowSchema) -> list[FieldError]:
    """See `condition_rules`."""
    return condition_rules(new.status.conditions)


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
    status_rules=status_rules,
)
