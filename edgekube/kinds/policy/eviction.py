"""Types: Eviction."""

from __future__ import annotations

from edgekube.api.meta import DeleteOptions, Object


class Eviction(Object):
    delete_options: DeleteOptions | None = None
