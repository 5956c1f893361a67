"""Every rule, in the order they are asked; the first that refuses a node gives the reason. A test fails when a file is missing."""

from __future__ import annotations

from importlib import import_module

from edgekube.control.scheduler.decide import Rule

MODULES = (
    "unschedulable",
    "nodename",
    "taints",
    "nodeaffinity",
    "hostports",
    "resourcefit",
    "volumerestrictions",
    "volumelimits",
    "volumebinding",
    "volumezone",
    "topologyspread",
    "podaffinity",
    "dynamicresources",
)

RULES: tuple[Rule, ...] = tuple(import_module(f"edgekube.control.scheduler.rules.{name}").RULE for name in MODULES)
