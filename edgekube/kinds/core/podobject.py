"""The Pod type itself, apart from its declaration as a kind, so that rules and printing can name it."""

from __future__ import annotations

from edgekube.api.meta import Object, zero
from edgekube.kinds.core.podspec import PodSpec
from edgekube.kinds.core.podstatus import PodStatus


class Pod(Object):
    """One or more containers that live and die together on a node."""

    spec: PodSpec = zero(PodSpec)
    status: PodStatus = zero(PodStatus)
