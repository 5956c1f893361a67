"""Pods and observations for tests of the node room."""

from __future__ import annotations

from typing import Any

from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.node.pods.seen import Health, SandboxSeen, Seen
from edgekube.node.runtime.cri import ContainerDetail

SECOND = 1_000_000_000


def make_pod(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **spec: Any) -> Pod:
    """A defaulted pod named "web" with uid "u1"."""
    metadata = spec.pop("metadata", {})
    document = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "generation": 1, **metadata},
        "spec": {
            "containers": list(containers) or [{"name": "app", "image": "app:1"}],
            "initContainers": list(init),
            **spec,
        },
        "status": spec.pop("status", {}),
    }
    document["spec"].pop("status", None)
    pod = pod_kind.KIND.from_dict(document)
    pod_kind.KIND.default(pod)
    return pod


def detail(
    name: str, state: str = "RUNNING", *, code: int = 0, attempt: int = 0, at: int = 100, ended: int = 0, **more: Any
) -> ContainerDetail:
    """A container; times in seconds."""
    return ContainerDetail(
        id=f"{name}-{attempt}",
        name=name,
        attempt=attempt,
        state=state,
        created_at=at * SECOND,
        started_at=at * SECOND if state != "CREATED" else 0,
        finished_at=(ended or at + 1) * SECOND if state == "EXITED" else 0,
        exit_code=code,
        reason=more.pop("reason", ""),
        message="",
        image=f"{name}:1",
        image_ref="sha256:1",
        log_path="",
        sandbox_id=more.pop("sandbox", "s0"),
        **more,
    )


def seeing(
    *containers: ContainerDetail, sandbox: bool | None = True, health: dict[str, Health] | None = None, **more: Any
) -> Seen:
    """An observation; `sandbox` True = ready, False = not ready, None = there is none."""
    boxes = () if sandbox is None else (SandboxSeen("s0", more.pop("box_attempt", 0), sandbox, 1, ("10.0.0.5",)),)
    newest_first = tuple(sorted(containers, key=lambda c: (c.created_at, c.attempt), reverse=True))
    return Seen(boxes, newest_first, health or {}, **more)
