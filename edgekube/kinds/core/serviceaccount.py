"""v1 ServiceAccount: the identity pods act under."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Object, list_atomic, list_map
from edgekube.kinds.core.printing import AGE, NAME, described
from edgekube.kinds.core.references import LocalObjectReference, ObjectReference


class ServiceAccount(Object):
    """An identity for pods."""

    secrets: Annotated[list[ObjectReference], list_map("name")] = []
    image_pull_secrets: Annotated[list[LocalObjectReference], list_atomic()] = []
    automount_service_account_token: bool | None = None


def prepare_create(account: ServiceAccount) -> None:
    """Of a reference to a secret only the name counts."""
    account.secrets = [ObjectReference(name=secret.name) for secret in account.secrets]


def prepare_update(account: ServiceAccount, _old: ServiceAccount) -> None:
    """As on creation."""
    prepare_create(account)


KIND = Kind(
    type=ServiceAccount,
    group="",
    version="v1",
    name="ServiceAccount",
    plural="serviceaccounts",
    singular="serviceaccount",
    short=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),),
    generation=False,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    allow_unconditional_update=False,
    columns=described("serviceaccounts", NAME, AGE),
)
