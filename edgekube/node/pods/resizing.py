"""Changing the bounds of a container that runs. What is to change is decided by `pods.plan`.

Source: kubelet kuberuntime doPodResizeAction (order: the pod's own cgroup never below what its containers have).
"""

from __future__ import annotations

from edgekube.kinds.core.pod import Pod
from edgekube.net.grpc import RpcFailed
from edgekube.node.pods.marks import resources_text
from edgekube.node.pods.plan import Resize
from edgekube.node.pods.resources import cgroup_parent, linux_resources, pod_resources
from edgekube.node.pods.seen import find_container
from edgekube.node.pods.tools import Tools


async def resize(tools: Tools, pod: Pod, change: Resize) -> str:
    """Do it; the resources the container has now, as `marks.resources_text` writes them."""
    container = find_container(pod, change.name)
    assert container is not None, "plans name containers of the pod"
    wanted = linux_resources(pod, container, memory_capacity=tools.memory_capacity, cgroup_v2=tools.cgroup_v2)
    del wanted["oom_score_adj"]  # kept for a process's whole life
    parent, bounds = cgroup_parent(pod), pod_resources(pod)
    tools.cgroups.bound(parent, bounds)
    try:
        await tools.runtime.update_resources(change.container_id, wanted)
    except RpcFailed as failed:
        tools.tell_container(
            pod, container, "Warning", "ResizeError", f"Error resizing container {change.name}: {failed.message}"
        )
    tools.cgroups.bound(parent, bounds)  # a pod's bound could not go below its container's old one before
    return resources_text(container)
