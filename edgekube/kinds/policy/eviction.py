"""policy/v1 Eviction: a request to delete a pod within its disruption budgets; the body of `pods/eviction`."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import DeleteOptions, Object


class Eviction(Object):
    delete_options: DeleteOptions | None = None


KIND = Kind(
    type=Eviction,
    group="policy",
    version="v1",
    name="Eviction",
    plural="evictions",
    singular="eviction",
    verbs=(),
    generation=False,
)
