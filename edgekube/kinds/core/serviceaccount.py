"""v1 ServiceAccount: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Object, list_atomic, list_map
from edgekube.kinds.core.references import LocalObjectReference, ObjectReference


class ServiceAccount(Object):
    secrets: Annotated[list[ObjectReference], list_map("name")] = []
    image_pull_secrets: Annotated[list[LocalObjectReference], list_atomic()] = []
    automount_service_account_token: bool | None = None


KIND = Kind(
    type=ServiceAccount,
    group="",
    version="v1",
    name="ServiceAccount",
    plural="serviceaccounts",
    singular="serviceaccount",
    short=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),),
)
