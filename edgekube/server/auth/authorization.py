"""The chain of authorisers: masters, nodes, RBAC. The first that allows wins; reasons of the others are told together."""

from __future__ import annotations

from edgekube.server.auth.node import NodeAuthorizer
from edgekube.server.auth.rbac import MASTERS, Rbac
from edgekube.server.context import Attributes


class Authorization:
    """`server.context.Authorizer`, which also says why something is allowed."""

    def __init__(self, nodes: NodeAuthorizer, rbac: Rbac) -> None:
        self._nodes, self._rbac = nodes, rbac

    def decide(self, attributes: Attributes) -> tuple[bool, str]:
        """Whether a request is allowed, and the reason either way (may be "")."""
        if MASTERS in attributes.user.groups:
            return True, ""
        allowed, node_reason = self._nodes.decide(attributes)
        if allowed:
            return True, ""
        allowed, reason = self._rbac.decide(attributes)
        if allowed:
            return True, reason
        return False, "\n".join(part for part in (node_reason, reason) if part)

    def refuse(self, attributes: Attributes) -> str | None:
        """None when allowed, else the reason."""
        allowed, reason = self.decide(attributes)
        return None if allowed else reason
