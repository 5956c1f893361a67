"""resource.k8s.io/v1 ResourceClaimTemplate: its types and rules."""

from __future__ import annotations

from edgekube.api import rules
from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import Object, ObjectMeta, Struct, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.resource.resourceclaim import ResourceClaimSpec, claim_rules, default_claim


class ResourceClaimTemplateSpec(Struct):
    metadata: ObjectMeta = zero(ObjectMeta)
    spec: ResourceClaimSpec = zero(ResourceClaimSpec)


class ResourceClaimTemplate(Object):
    spec: ResourceClaimTemplateSpec = zero(ResourceClaimTemplateSpec)


def default(template: ResourceClaimTemplate) -> None:
    """As the claims made from it."""
    default_claim(template.spec.spec)


def template_rules(template: ResourceClaimTemplate) -> list[FieldError]:
    """The claims made from it would be good."""
    return claim_rules("spec.spec", template.spec.spec)


def template_update_rules(new: ResourceClaimTemplate, old: ResourceClaimTemplate) -> list[FieldError]:
    """Another template is another object."""
    return rules.same("spec", new.spec, old.spec)


KIND = Kind(
    type=ResourceClaimTemplate,
    group="resource.k8s.io",
    version="v1",
    name="ResourceClaimTemplate",
    plural="resourceclaimtemplates",
    singular="resourceclaimtemplate",
    default=default,
    generation=False,
    columns=described("resourceclaimtemplates", NAME, AGE),
    rules=template_rules,
    update_rules=template_update_rules,
)
