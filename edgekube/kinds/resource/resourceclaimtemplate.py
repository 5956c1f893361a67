"""resource.k8s.io/v1 ResourceClaimTemplate: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, ObjectMeta, Struct, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.resource.resourceclaim import ResourceClaimSpec, default_claim


class ResourceClaimTemplateSpec(Struct):
    metadata: ObjectMeta = zero(ObjectMeta)
    spec: ResourceClaimSpec = zero(ResourceClaimSpec)


class ResourceClaimTemplate(Object):
    spec: ResourceClaimTemplateSpec = zero(ResourceClaimTemplateSpec)


def default(template: ResourceClaimTemplate) -> None:
    """As the claims made from it."""
    default_claim(template.spec.spec)


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
)
