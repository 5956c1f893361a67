"""What is written on containers when they are made, to be read when they are seen again (also by a later life of ours). Pure."""

from __future__ import annotations

from edgekube.node.pods.seen import AnyContainer

HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
POD_GRACE = "io.kubernetes.pod.terminationGracePeriod"
RESOURCES = "edgekube.io/resources"  # what the container was given when it was made, to tell a resize by
MESSAGE_FILE = "edgekube.io/termination-log"  # where the last words lie on the node


def resources_text(container: AnyContainer) -> str:
    """CPU and memory of a container as one text, the same for the same amounts."""
    wanted = container.resources
    return " ".join(
        f"{sort}.{name}={amounts[name]}"
        for sort, amounts in (("limits", wanted.limits), ("requests", wanted.requests))
        for name in ("cpu", "memory")
        if name in amounts
    )
