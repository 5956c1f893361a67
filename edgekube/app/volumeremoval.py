"""How a volume's directory is taken away: the control loops ask, the node that has the disk does it, whichever machine that is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import trio

from edgekube.errors import ApiError, ConnectionFailed
from edgekube.net.nodegate import NodeGate

PAGE = "/edgekube/volumes/"  # with the directory's name; `server.subresources.proxy` lets no person ask for it
ANSWER_S = 120.0  # a large directory takes its time; a node that takes longer goes on and is asked again


def removing(gates: Mapping[str, NodeGate]) -> Callable[[str, str], Awaitable[str]]:
    """A function of a node's name and the directory's that says why it is not gone, or ""."""

    async def remove(node: str, directory: str) -> str:
        gate = gates.get(node)
        if gate is None:
            return f'node "{node}" is not connected'
        try:
            with trio.fail_after(ANSWER_S):
                status, _, body = await gate.fetch(PAGE + directory)
        except (ApiError, ConnectionFailed, OSError, trio.TooSlowError) as error:
            return f'node "{node}": {error or type(error).__name__}'
        return "" if status == 200 else body.decode(errors="replace").strip() or f'node "{node}" answered {status}'

    return remove
