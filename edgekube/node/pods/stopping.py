"""Stopping containers: preStop, the stop signal, and the grace they share.

Source: kubelet kuberuntime_container.go killContainer, kuberuntime_termination_order.go (behaviour).
"""

from __future__ import annotations

import trio

from edgekube.kinds.core.pod import Pod
from edgekube.net.grpc import RpcFailed
from edgekube.node.pods.hooks import run_hook
from edgekube.node.pods.seen import Seen, find_container, is_sidecar
from edgekube.node.pods.tools import Tools
from edgekube.node.runtime.cri import ContainerDetail

LEAST_GRACE_S = 2  # after a preStop that used all of it up
DEFAULT_GRACE_S = 30


async def stop_container(
    tools: Tools,
    pod: Pod,
    detail: ContainerDetail,
    ip: str,
    grace_s: int,
    message: str = "",
    said_goodbye: set[str] | None = None,
) -> None:
    """Run preStop (not again for containers in `said_goodbye`), then stop. Returns when it has ended. Raises RpcFailed."""
    container = find_container(pod, detail.name)
    if container is not None and detail.id not in (said_goodbye or ()):
        if said_goodbye is not None:
            said_goodbye.add(detail.id)
        tools.tell_container(pod, container, "Normal", "Killing", message or f"Stopping container {detail.name}")
        lifecycle = container.lifecycle
        if lifecycle is not None and lifecycle.pre_stop is not None and grace_s > 0:
            begun = trio.current_time()
            with trio.move_on_after(grace_s):
                if await run_hook(tools.runtime, container, detail.id, lifecycle.pre_stop, ip):
                    tools.tell_container(pod, container, "Warning", "FailedPreStopHook", "PreStopHook failed")
            grace_s = max(LEAST_GRACE_S, round(grace_s - (trio.current_time() - begun)))
    try:
        await tools.runtime.stop_container(detail.id, grace_s)
    except RpcFailed as failed:
        if failed.code != "NOT_FOUND":
            raise


async def stop_pod(tools: Tools, pod: Pod, seen: Seen, grace_s: int, said_goodbye: set[str] | None = None) -> None:
    """Stop every container, main ones first, sidecars then in reverse order, then every sandbox. Raises RpcFailed."""
    ip = seen.sandbox.ips[0] if seen.sandbox and seen.sandbox.ips else tools.config.address
    begun = trio.current_time()

    def left_s() -> int:
        return max(min(grace_s, LEAST_GRACE_S), round(grace_s - (trio.current_time() - begun)))

    sidecars = [c.name for c in pod.spec.init_containers if is_sidecar(c)]
    failures: list[RpcFailed] = []

    async def stop_one(detail: ContainerDetail) -> None:
        try:
            await stop_container(tools, pod, detail, ip, left_s(), "", said_goodbye)
        except RpcFailed as failed:
            failures.append(failed)

    async with trio.open_nursery() as nursery:
        for detail in seen.running:
            if detail.name not in sidecars:
                nursery.start_soon(stop_one, detail)
    for name in reversed(sidecars):
        for detail in seen.running:
            if detail.name == name:
                await stop_one(detail)
    if failures:
        raise failures[0]
    for sandbox in seen.sandboxes:
        if sandbox.ready:
            await tools.runtime.stop_sandbox(sandbox.id)


def grace_of(pod: Pod) -> int:
    """How long the pod may take to end: what its deletion says, else its specification."""
    if pod.metadata.deletion_timestamp is not None and pod.metadata.deletion_grace_period_seconds is not None:
        return pod.metadata.deletion_grace_period_seconds
    wanted = pod.spec.termination_grace_period_seconds
    return DEFAULT_GRACE_S if wanted is None else wanted
