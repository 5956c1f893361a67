"""Every admission step, in the order they are asked (upstream's). To add one: a file beside this one, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekube.clock import Clock
from edgekube.server.admission.certificates import CertificateRequests
from edgekube.server.admission.default_classes import DefaultIngressClass, DefaultStorageClass
from edgekube.server.admission.interface import Step
from edgekube.server.admission.limit_ranges import LimitRanger
from edgekube.server.admission.mutating_policy import MutatingPolicies
from edgekube.server.admission.mutating_webhook import MutatingWebhooks
from edgekube.server.admission.namespace_lifecycle import NamespaceLifecycle
from edgekube.server.admission.pod_security import PodSecurity
from edgekube.server.admission.priority import Priority
from edgekube.server.admission.quotas import ResourceQuota
from edgekube.server.admission.runtime_class import RuntimeClass
from edgekube.server.admission.service_account import ServiceAccount
from edgekube.server.admission.small_steps import StorageObjectInUseProtection, TaintNodesByCondition
from edgekube.server.admission.tolerations import DefaultTolerationSeconds
from edgekube.server.admission.validating_policy import ValidatingPolicies
from edgekube.server.admission.validating_webhook import ValidatingWebhooks
from edgekube.server.admission.webhook_tools import Webhooks
from edgekube.server.allocation import ServiceAllocator
from edgekube.server.context import Authorizer

if TYPE_CHECKING:
    from edgekube.server.apiserver import Settings


def last(clock: Clock, authorizer: Authorizer, webhooks: Webhooks) -> tuple[Step, ...]:
    """Steps that come after all others, those of the authoriser included."""
    return (
        CertificateRequests(authorizer, clock),
        MutatingPolicies(webhooks),
        MutatingWebhooks(webhooks),
        ValidatingPolicies(webhooks),
        ValidatingWebhooks(webhooks),
        ResourceQuota(),
    )


def built_in(clock: Clock, settings: Settings) -> tuple[Step, ...]:
    """All steps of this server."""
    return (
        NamespaceLifecycle(),
        LimitRanger(),
        ServiceAccount(clock),
        TaintNodesByCondition(),
        PodSecurity(),
        Priority(),
        DefaultTolerationSeconds(),
        DefaultStorageClass(),
        StorageObjectInUseProtection(),
        RuntimeClass(),
        DefaultIngressClass(),
        ServiceAllocator(clock, settings.service_cidr, settings.node_ports),
    )
