"""The keys that nodes may use: a node's certificate lets it in only while the fingerprint of its key is written down here.

They stand in the ConfigMap kube-system/edgekube-node-keys, put there by whoever signs a node's certificate and taken out when a
node is removed. So a removed machine is out at once, however long its certificate lives, and a machine that was set up anew shuts
its former self out.
"""

from __future__ import annotations

import msgspec

from edgekube.api.certificates import KEYS_NAME, KEYS_NAMESPACE, keys_of
from edgekube.store.interface import Key, Store

KEY = Key("/configmaps", KEYS_NAMESPACE, KEYS_NAME)


class NodeKeys:
    """The keys as they are in the store now; read anew only when they changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revision = -1
        self._data: dict[str, str] = {}

    def of(self, node: str) -> tuple[str, ...]:
        """The fingerprints a node may use, newest first; empty for one that may not come in."""
        row = self._store.get(KEY)
        if row is None:
            return ()
        if row.revision != self._revision:
            self._data = msgspec.json.decode(row.value).get("data") or {}
            self._revision = row.revision
        return keys_of(self._data, node)
