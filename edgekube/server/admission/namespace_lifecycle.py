"""NamespaceLifecycle: objects need a living namespace, and some namespaces live for ever.

Source: k8s.io/apiserver pkg/admission/plugin/namespace/lifecycle.
"""

from __future__ import annotations

from edgekube.errors import Cause
from edgekube.kinds.core import namespace
from edgekube.server import answers
from edgekube.server.admission.interface import CREATE, DELETE, Cluster, Review, Step

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
ANYWHERE = frozenset({"authorization.k8s.io/localsubjectaccessreviews"})


class NamespaceLifecycle(Step):
    """Nothing is created in namespaces that are missing or going."""

    name = "NamespaceLifecycle"

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Raises NotFound for the namespace, Forbidden when it is going or may not go."""
        if review.operation == DELETE:
            if review.resource == "/namespaces" and review.name in IMMORTAL:
                raise answers.forbidden(review.kind, review.name, "this namespace may not be deleted")
            return
        if not review.kind.namespaced or review.resource in ANYWHERE:
            return
        found = cluster.find(namespace.KIND, "", review.namespace)
        if found is None:
            raise answers.not_found(namespace.KIND, review.namespace)
        if review.operation == CREATE and found.status.phase == "Terminating":
            raise answers.forbidden(
                review.kind,
                review.name,
                f"unable to create new content in namespace {review.namespace} because it is being terminated",
                [
                    Cause(
                        "NamespaceTerminating",
                        f"namespace {review.namespace} is being terminated",
                        "metadata.namespace",
                    )
                ],
            )
