"""The nodes as they stand, kept from decision to decision: only what something happened to is worked out again.

With a thousand nodes a decision may not look at all of them only to learn that nothing there concerns the pod.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekube.control.scheduler.snapshot import Index, NodeInfo


class Picture:
    """Say `touch` when something happened on a node and `reorder` when nodes came, went or moved; `nodes` and `index` then tell
    how it is now."""

    def __init__(self) -> None:
        self._nodes: list[NodeInfo] = []
        self._places: dict[str, int] = {}
        self._touched: set[str] = set()
        self._whole = True
        self._index = Index()

    def touch(self, node: str) -> None:
        """Something happened on a node."""
        self._touched.add(node)

    def reorder(self) -> None:
        """Begin anew."""
        self._whole = True

    def look(
        self, names: Callable[[], Sequence[str]], info_of: Callable[[str], NodeInfo | None]
    ) -> tuple[list[NodeInfo], Index]:
        """All nodes in the order of `names`, each as `info_of` gives it (None: it is gone), and what is where.

        The list is the caller's; the index goes on changing with the next look.
        """
        if self._whole:
            self._nodes = [info for name in names() if (info := info_of(name)) is not None]
            self._places = {info.name: place for place, info in enumerate(self._nodes)}
            self._index = Index.of(self._nodes)
            self._touched.clear()
            self._whole = False
        while self._touched:
            name = self._touched.pop()
            place = self._places.get(name)
            if place is None:
                continue
            info = info_of(name)
            if info is None:
                self._whole = True
                return self.look(names, info_of)
            self._index.take_out(self._nodes[place])
            self._index.put_in(info)
            self._nodes[place] = info
        return list(self._nodes), self._index
