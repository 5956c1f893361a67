"""`uncordon`: let a node take new pods again."""

from __future__ import annotations

from edgekube.cli.kubectl.cordon import UNCORDON as COMMAND

__all__ = ["COMMAND"]
