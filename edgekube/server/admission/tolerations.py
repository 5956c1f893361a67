"""DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or cannot be reached.

Source: kubernetes plugin/pkg/admission/defaulttolerationseconds/admission.go.
"""

from __future__ import annotations

from edgekube.kinds.core.podspec import Toleration
from edgekube.server.admission.interface import CREATE, UPDATE, Cluster, Review, Step

STAY_S = 300
TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class DefaultTolerationSeconds(Step):
    """Adds the tolerations that a pod does not have."""

    name = "DefaultTolerationSeconds"

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Never refuses."""
        if review.resource != "/pods" or review.subresource or review.operation not in (CREATE, UPDATE):
            return
        spec = review.item.spec
        missing = [taint for taint in TAINTS if not any(_covers(one, taint) for one in spec.tolerations)]
        spec.tolerations = [
            *spec.tolerations,
            *(
                Toleration(key=taint, operator="Exists", effect="NoExecute", toleration_seconds=STAY_S)
                for taint in missing
            ),
        ]


def _covers(toleration: Toleration, taint: str) -> bool:
    return toleration.key in ("", taint) and toleration.effect in ("", "NoExecute")
