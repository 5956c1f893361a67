"""v1 PodTemplate: a pod to be, as workloads embed it and as an object of its own."""

from __future__ import annotations

from dataclasses import replace

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Object, ObjectMeta, Struct, zero
from edgekube.kinds.core import pod_defaults, pod_rules, pod_warnings
from edgekube.kinds.core.podspec import PodSpec
from edgekube.kinds.core.printing import NAME, described, labels_text, template_columns


class PodTemplateSpec(Struct):
    """A pod to be."""

    metadata: ObjectMeta = zero(ObjectMeta)
    spec: PodSpec = zero(PodSpec)


class PodTemplate(Object):
    """A pod to be, as an object."""

    template: PodTemplateSpec = zero(PodTemplateSpec)


def default(item: PodTemplate) -> None:
    """Defaults of the template's spec."""
    pod_defaults.pod_spec(item.template.spec)


_CONTAINERS, _IMAGES = template_columns(lambda item: item.template.spec)


KIND = Kind(
    type=PodTemplate,
    group="",
    version="v1",
    name="PodTemplate",
    plural="podtemplates",
    singular="podtemplate",
    default=default,
    columns=described(
        "podtemplates",
        NAME,
        replace(_CONTAINERS, priority=0),
        replace(_IMAGES, priority=0),
        Column("Pod Labels", "string", lambda item, _: labels_text(item.template.metadata.labels)),
    ),
    rules=lambda item: pod_rules.template("template", item.template),
    warnings=lambda new, _old: pod_warnings.template("template", new.template),
)
