"""A pod that claims devices waits until its claims have them, and then goes where they can be reached.

Nobody here gives devices to claims: whoever does (a driver's own allocator) writes the claim's allocation, and the pod is woken.
Source: k8s.io/kubernetes pkg/scheduler/framework/plugins/dynamicresources.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.control.scheduler.decide import Hopeless, Refusal, Rule
from edgekube.control.scheduler.matching import selector_matches
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.resource.resourceclaim import ResourceClaim

NOT_ALLOCATED = Refusal(("cannot allocate all claims",), helpless=True)
ELSEWHERE = Refusal(("resourceclaim not available on the node",), helpless=True)


def claim_names(pod: Pod) -> list[str | None]:
    """The claims a pod uses by name; None for one that is still to be made from its template."""
    made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
    return [
        claim.resource_claim_name if claim.resource_claim_name is not None else made.get(claim.name)
        for claim in pod.spec.resource_claims
    ]


def prepare(pod: Pod, snapshot: Snapshot) -> Sequence[ResourceClaim] | None:
    """The pod's claims. Raises Hopeless when one is missing or on its way out."""
    if not pod.spec.resource_claims:
        return None
    claims = []
    for name in claim_names(pod):
        if not name:
            raise Hopeless("waiting for a resourceclaim to be made from its template")
        claim = snapshot.devices.get((pod.metadata.namespace, name))
        if claim is None:
            raise Hopeless(f'resourceclaim.resource.k8s.io "{name}" not found')
        if claim.metadata.deletion_timestamp is not None:
            raise Hopeless(f'resourceclaim "{name}" is being deleted')
        claims.append(claim)
    return claims


def refuse(claims: Sequence[ResourceClaim], info: NodeInfo) -> Refusal | None:
    """Every node while a claim has nothing; then those from which its devices cannot be reached."""
    for claim in claims:
        allocation = claim.status.allocation
        if allocation is None:
            return NOT_ALLOCATED
        if allocation.node_selector is not None and not selector_matches(allocation.node_selector, info.node):
            return ELSEWHERE
    return None


RULE = Rule("DynamicResources", prepare, refuse, frozenset({"nodes", "resourceclaims"}))
