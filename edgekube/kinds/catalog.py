"""Every built-in kind, one line each, in the order discovery lists them. Modules are imported on first use."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from edgekube.api.kind import Kind
from edgekube.kinds.authentication import tokenrequest
from edgekube.kinds.autoscaling import scale
from edgekube.kinds.policy import eviction

MODULES = (
    "edgekube.kinds.core.persistentvolumeclaim",
    "edgekube.kinds.core.podtemplate",
    "edgekube.kinds.core.pod",
    "edgekube.kinds.core.persistentvolume",
    "edgekube.kinds.core.binding",
    "edgekube.kinds.core.componentstatus",
    "edgekube.kinds.core.configmap",
    "edgekube.kinds.core.endpoints",
    "edgekube.kinds.core.event",
    "edgekube.kinds.core.limitrange",
    "edgekube.kinds.core.namespace",
    "edgekube.kinds.core.node",
    "edgekube.kinds.core.replicationcontroller",
    "edgekube.kinds.core.resourcequota",
    "edgekube.kinds.core.secret",
    "edgekube.kinds.core.serviceaccount",
    "edgekube.kinds.core.service",
    "edgekube.kinds.apiregistration.apiservice",
    "edgekube.kinds.apps.controllerrevision",
    "edgekube.kinds.apps.daemonset",
    "edgekube.kinds.apps.deployment",
    "edgekube.kinds.apps.replicaset",
    "edgekube.kinds.apps.statefulset",
    "edgekube.kinds.events.event",
    "edgekube.kinds.authentication.selfsubjectreview",
    "edgekube.kinds.authentication.tokenreview",
    "edgekube.kinds.authorization.localsubjectaccessreview",
    "edgekube.kinds.authorization.selfsubjectaccessreview",
    "edgekube.kinds.authorization.selfsubjectrulesreview",
    "edgekube.kinds.authorization.subjectaccessreview",
    "edgekube.kinds.autoscaling.horizontalpodautoscaler",
    "edgekube.kinds.autoscaling.horizontalpodautoscaler_v1",
    "edgekube.kinds.batch.cronjob",
    "edgekube.kinds.batch.job",
    "edgekube.kinds.certificates.certificatesigningrequest",
    "edgekube.kinds.networking.ingressclass",
    "edgekube.kinds.networking.ingress",
    "edgekube.kinds.networking.ipaddress",
    "edgekube.kinds.networking.networkpolicy",
    "edgekube.kinds.networking.servicecidr",
    "edgekube.kinds.policy.poddisruptionbudget",
    "edgekube.kinds.rbac.clusterrolebinding",
    "edgekube.kinds.rbac.clusterrole",
    "edgekube.kinds.rbac.rolebinding",
    "edgekube.kinds.rbac.role",
    "edgekube.kinds.storage.csidriver",
    "edgekube.kinds.storage.csinode",
    "edgekube.kinds.storage.csistoragecapacity",
    "edgekube.kinds.storage.storageclass",
    "edgekube.kinds.storage.volumeattachment",
    "edgekube.kinds.storage.volumeattributesclass",
    "edgekube.kinds.admissionregistration.mutatingadmissionpolicy",
    "edgekube.kinds.admissionregistration.mutatingadmissionpolicybinding",
    "edgekube.kinds.admissionregistration.mutatingwebhookconfiguration",
    "edgekube.kinds.admissionregistration.validatingadmissionpolicy",
    "edgekube.kinds.admissionregistration.validatingadmissionpolicybinding",
    "edgekube.kinds.admissionregistration.validatingwebhookconfiguration",
    "edgekube.kinds.apiextensions.customresourcedefinition",
    "edgekube.kinds.scheduling.priorityclass",
    "edgekube.kinds.coordination.lease",
    "edgekube.kinds.node.runtimeclass",
    "edgekube.kinds.discovery.endpointslice",
    "edgekube.kinds.resource.deviceclass",
    "edgekube.kinds.resource.resourceclaim",
    "edgekube.kinds.resource.resourceclaimtemplate",
    "edgekube.kinds.resource.resourceslice",
    "edgekube.kinds.flowcontrol.flowschema",
    "edgekube.kinds.flowcontrol.prioritylevelconfiguration",
)

# made up when asked for, and served once there is somebody to ask (`server.metrics_api`)
COMPUTED_MODULES = (
    "edgekube.kinds.metrics.nodemetrics",
    "edgekube.kinds.metrics.podmetrics",
)

# bodies of subresources: not resources of their own, so not in discovery
SUBRESOURCE_KINDS: tuple[Kind[Any], ...] = (scale.KIND, eviction.KIND, tokenrequest.KIND)


@cache
def built_in() -> tuple[Kind[Any], ...]:
    """All built-in kinds."""
    return tuple(import_module(module).KIND for module in MODULES)
