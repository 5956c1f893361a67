"""Every score. A test fails when a file is missing."""

from __future__ import annotations

from importlib import import_module

from edgekube.control.scheduler.decide import Score

MODULES = (
    "taints",
    "nodeaffinity",
    "topologyspread",
    "podaffinity",
    "leastallocated",
    "balanced",
    "imagelocality",
)

SCORES: tuple[Score, ...] = tuple(import_module(f"edgekube.control.scheduler.scores.{name}").SCORE for name in MODULES)
