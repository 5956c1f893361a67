"""Bootstrap tokens as the control loops see them: reading the Secret, whether it may be used once more, and by which key it was.

A token of ours that is not reusable carries an annotation saying so. Approving writes the fingerprint of the key it was spent on
beside it, so that a machine that was interrupted may go on with the key it has, and no other machine may begin.
Source: k8s.io/cluster-bootstrap token/api (names of the data keys).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import msgspec

from edgekube.api.meta import format_time, parse_time
from edgekube.kinds.core.secret import Secret

NAMESPACE, TYPE, PREFIX = "kube-system", "bootstrap.kubernetes.io/token", "bootstrap-token-"
BOOTSTRAP_USER = re.compile(r"system:bootstrap:([a-z0-9]{6})")
SINGLE_USE = "edgekube.io/single-use"
USED_BY, USED_KEY = "edgekube.io/used-by", "edgekube.io/used-key"
SPENT_KEPT = timedelta(minutes=15)  # for the machine it was spent on, should it be interrupted


def secret_name(user: str) -> str:
    """The Secret behind a user who came with a token, "" for anybody else."""
    found = BOOTSTRAP_USER.fullmatch(user)
    return f"{PREFIX}{found[1]}" if found else ""


def text(secret: Secret, name: str) -> str:
    """One entry of a token."""
    return secret.data.get(name, b"").decode(errors="replace")


def expires_at(secret: Secret) -> datetime | None:
    """When a token ends; None is never. A date nobody can read has passed."""
    written = text(secret, "expiration")
    if not written:
        return None
    try:
        return parse_time(written)
    except ValueError:
        return parse_time("1970-01-01T00:00:00Z")


def used_by_another(secret: Secret, key: str) -> str:
    """The node a token was spent on with another key, "" when it may be used with this one."""
    annotations = secret.metadata.annotations
    if annotations.get(SINGLE_USE) != "true" or annotations.get(USED_KEY, key) == key:
        return ""
    return annotations.get(USED_BY) or "another machine"


def spent(secret: Secret, node: str, key: str, now: datetime) -> Secret | None:
    """The token as it is after this use, None when a use leaves it as it is."""
    annotations = secret.metadata.annotations
    if annotations.get(SINGLE_USE) != "true" or annotations.get(USED_KEY) == key:
        return None
    ends = now + SPENT_KEPT
    before = expires_at(secret)
    if before is not None:
        ends = min(before, ends)
    metadata = msgspec.structs.replace(secret.metadata, annotations={**annotations, USED_BY: node, USED_KEY: key})
    data = secret.data | {"expiration": str(format_time(ends)).encode()}
    return msgspec.structs.replace(secret, metadata=metadata, data=data)
