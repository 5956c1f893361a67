"""Groups and versions that other API servers answer for: what APIServices say, and how such a server is asked.

Read from the store, exact to the last write; knows no routes. Source: kube-aggregator pkg/apiserver/{apiserver,handler_proxy}.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from edgekube.kinds.apiregistration import apiservice
from edgekube.server.context import User
from edgekube.server.reach import Destination, to_service

AVAILABLE = "Available"
SPELLED = frozenset("!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")  # what needs no escape in an extra's key


@dataclass(frozen=True, slots=True)
class Remote:
    """One group and version served elsewhere."""

    name: str  # of the APIService
    group: str
    version: str
    to: Destination
    available: bool
    group_priority: int
    version_priority: int

    @property
    def path(self) -> str:
        """Where its resources are."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


Remotes = dict[tuple[str, str], Remote]


def remotes(services: Sequence[Any], identity: tuple[str, str] | None) -> Remotes:
    """The APIServices that lead elsewhere. `identity`: files of our own certificate and key, to be known by there."""
    made: Remotes = {}
    for one in services:
        spec, reference = one.spec, one.spec.service
        if reference is None:
            continue
        to = to_service(
            reference.namespace,
            reference.name,
            reference.port,
            "",
            spec.ca_bundle,
            verified=not spec.insecure_skip_tls_verify,
            identity=identity,
        )
        told = next((condition for condition in one.status.conditions if condition.type == AVAILABLE), None)
        made[spec.group, spec.version] = Remote(
            one.metadata.name,
            spec.group,
            spec.version,
            to,
            told is not None and told.status == "True",
            spec.group_priority_minimum,
            spec.version_priority,
        )
    return made


def identity_headers(user: User) -> list[tuple[str, str]]:
    """Who asks, for a server that believes us. Source: client-go transport/round_trippers.go."""
    made = [("x-remote-user", user.name)]
    if user.uid:
        made.append(("x-remote-uid", user.uid))
    made += [("x-remote-group", group) for group in user.groups]
    for key, values in user.extra.items():
        spelled = "".join(letter if letter in SPELLED else quote(letter, safe="") for letter in key.lower())
        made += [(f"x-remote-extra-{spelled}", value) for value in values]
    return made


def is_identity(name: str) -> bool:
    """Whether a header is one that only we may set."""
    return name.startswith(("x-remote-", "impersonate-"))


KIND = apiservice.KIND
