"""v1 PodTemplate: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, ObjectMeta, Struct, zero
from edgekube.kinds.core.podspec import PodSpec


class PodTemplateSpec(Struct):
    metadata: ObjectMeta = zero(ObjectMeta)
    spec: PodSpec = zero(PodSpec)


class PodTemplate(Object):
    template: PodTemplateSpec = zero(PodTemplateSpec)


KIND = Kind(
    type=PodTemplate,
    group="",
    version="v1",
    name="PodTemplate",
    plural="podtemplates",
    singular="podtemplate",
)
