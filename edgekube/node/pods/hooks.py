"""postStart and preStop: what a container wants done right after it starts and before it is stopped.

Source: kubelet lifecycle/handlers.go (behaviour).
"""

from __future__ import annotations

import trio

from edgekube.kinds.core.container import LifecycleHandler
from edgekube.node import probing
from edgekube.node.pods.seen import AnyContainer
from edgekube.node.runtime.cri import Runtime

EXEC_LIMIT_S = 24 * 3600  # the pod's grace period ends a preStop long before; a postStart may take its time


async def run_hook(
    runtime: Runtime, container: AnyContainer, container_id: str, hook: LifecycleHandler, ip: str
) -> str:
    """Do it; "" when it worked, else why not."""
    if hook.exec is not None:
        result = await probing.by_exec(runtime, container_id, hook.exec, EXEC_LIMIT_S)
        if not result.passed:
            command = " ".join(hook.exec.command)
            return (
                f'Exec lifecycle hook ([{command}]) for Container "{container.name}" failed, message: {result.output!r}'
            )
        return ""
    if hook.http_get is not None:
        result = await probing.by_http(container, hook.http_get, ip, EXEC_LIMIT_S)
        return "" if result.passed else f'HTTP lifecycle hook for Container "{container.name}" failed: {result.output}'
    if hook.sleep is not None:
        await trio.sleep(hook.sleep.seconds)
        return ""
    if hook.tcp_socket is not None:
        result = await probing.by_tcp(container, hook.tcp_socket, ip, 60)
        return "" if result.passed else result.output
    return "invalid handler"
