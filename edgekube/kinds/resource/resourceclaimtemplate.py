"""resource.k8s.io/v1 ResourceClaimTemplate: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, ObjectMeta, Struct, zero
from edgekube.kinds.resource.resourceclaim import ResourceClaimSpec


class ResourceClaimTemplateSpec(Struct):
    metadata: ObjectMeta = zero(ObjectMeta)
    spec: ResourceClaimSpec = zero(ResourceClaimSpec)


class ResourceClaimTemplate(Object):
    spec: ResourceClaimTemplateSpec = zero(ResourceClaimTemplateSpec)


KIND = Kind(
    type=ResourceClaimTemplate,
    group="resource.k8s.io",
    version="v1",
    name="ResourceClaimTemplate",
    plural="resourceclaimtemplates",
    singular="resourceclaimtemplate",
)
