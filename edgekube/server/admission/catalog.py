"""Every admission step, in the order they are asked. To add one: a file beside this one, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekube.clock import Clock
from edgekube.server.admission.interface import Step

if TYPE_CHECKING:
    from edgekube.server.apiserver import Settings


def built_in(clock: Clock, settings: Settings) -> tuple[Step, ...]:
    """All steps of this server."""
    return ()
