"""apps/v1 ControllerRevision: one past state of a StatefulSet or DaemonSet template, never changed."""

from __future__ import annotations

from typing import Any

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Object, zero
from edgekube.kinds.apps import workload_rules
from edgekube.kinds.core.printing import AGE, NAME, NONE, described


class ControllerRevision(Object):
    """A numbered snapshot of a template, in a form only its controller reads."""

    data: dict[str, Any] | None = None
    revision: int = zero(int)


def _controller(revision: ControllerRevision, _now: str) -> str:
    owner = next((one for one in revision.metadata.owner_references if one.controller), None)
    if owner is None:
        return NONE
    group = owner.api_version.rpartition("/")[0]
    return f"{owner.kind.lower()}.{group}/{owner.name}" if group else f"{owner.kind.lower()}/{owner.name}"


KIND = Kind(
    type=ControllerRevision,
    group="apps",
    version="v1",
    name="ControllerRevision",
    plural="controllerrevisions",
    singular="controllerrevision",
    generation=False,
    columns=described(
        "controllerrevisions",
        NAME,
        Column("Controller", "string", _controller),
        Column("Revision", "string", lambda item, _: item.revision),
        AGE,
    ),
    rules=workload_rules.revision,
    update_rules=workload_rules.revision_update,
)
