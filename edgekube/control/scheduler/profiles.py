"""Several schedulers in one: each profile has a name pods can ask for, and its own choice of rules, wishes and their weights.

Read from a KubeSchedulerConfiguration document. What is configured of a plugin that edgekube has no part of is an error, not
passed over. Source: k8s.io/kube-scheduler config/v1, pkg/scheduler/apis/config/v1/default_plugins.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekube.control.scheduler.decide import Rule, Score
from edgekube.control.scheduler.rules.catalog import RULES
from edgekube.control.scheduler.scores import leastallocated, podaffinity, topologyspread
from edgekube.control.scheduler.scores.catalog import SCORES
from edgekube.errors import UsageError

DEFAULT_NAME = "default-scheduler"
PREEMPTION = "DefaultPreemption"
VERSIONS = ("kubescheduler.config.k8s.io/v1",)
#: Plugins of upstream's that are no rule and no score here: what they do is always done, or is the loop's own.
BUILT_IN = frozenset({"SchedulingGates", "PrioritySort", "DefaultBinder"})
POINTS = ("multiPoint", "filter", "score", "postFilter", "preFilter", "preScore", "preEnqueue", "queueSort", "reserve",
          "permit", "preBind", "bind", "postBind")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Profile:
    """What pods of one scheduler name are placed by."""

    name: str = DEFAULT_NAME
    rules: Sequence[Rule] = RULES
    scores: Sequence[Score] = SCORES
    preempts: bool = True


def read_file(path: Path) -> tuple[Profile, ...]:
    """The profiles of a configuration file; none where there is no file. Raises UsageError in one line."""
    if not path.exists():
        return ()
    from edgekube.api import yamldoc

    try:
        document, _ = yamldoc.parse_yaml(path.read_bytes())
        return read(document if isinstance(document, dict) else {})
    except (UsageError, yamldoc.YamlError, OSError) as error:
        raise UsageError(f"{path}: {error}") from None


def read(document: Mapping[str, Any]) -> tuple[Profile, ...]:
    """The profiles of a KubeSchedulerConfiguration. Raises UsageError in one line."""
    if document.get("kind") != "KubeSchedulerConfiguration" or document.get("apiVersion") not in VERSIONS:
        raise UsageError(f"not a KubeSchedulerConfiguration of {VERSIONS[0]}")
    profiles = tuple(_profile(entry) for entry in document.get("profiles") or [{}])
    names = [profile.name for profile in profiles]
    if len(set(names)) != len(names):
        raise UsageError(f"two scheduler profiles have one name: {', '.join(sorted(names))}")
    return profiles


def _profile(entry: Mapping[str, Any]) -> Profile:
    name = str(entry.get("schedulerName") or DEFAULT_NAME)
    rules, scores, preempts = list(RULES), list(SCORES), True
    for argument in entry.get("pluginConfig") or ():
        scores = _configured(name, str(argument.get("name")), argument.get("args") or {}, scores)
    plugins = entry.get("plugins") or {}
    for point, choice in plugins.items():
        if point not in POINTS:
            raise UsageError(f"scheduler profile {name}: unknown extension point {point!r}")
        off = {str(one.get("name")) for one in choice.get("disabled") or ()}
        on = {str(one.get("name")): float(one.get("weight") or 0) for one in choice.get("enabled") or ()}
        _check_known(name, (off | set(on)) - {"*"})
        if point in ("multiPoint", "filter"):
            rules = _chosen(rules, RULES, off, on)
        if point in ("multiPoint", "score"):
            scores = _chosen(scores, SCORES, off, on)
            scores = [replace(one, weight=on[one.name]) if on.get(one.name) else one for one in scores]
        if point in ("multiPoint", "postFilter") and off & {"*", PREEMPTION} and PREEMPTION not in on:
            preempts = False
    return Profile(name, tuple(rules), tuple(scores), preempts)


def _check_known(profile: str, names: Iterable[str]) -> None:
    known = {rule.name for rule in RULES} | {score.name for score in SCORES} | BUILT_IN | {PREEMPTION}
    for name in sorted(names):
        if name not in known:
            raise UsageError(f"scheduler profile {profile}: no plugin {name!r} here")


def _chosen(present: Sequence[Any], all_: Sequence[Any], off: set[str], on: Mapping[str, float]) -> list[Any]:
    kept = {one.name for one in present if "*" not in off and one.name not in off} | set(on)
    ours = {one.name: one for one in present}
    return [ours.get(one.name, one) for one in all_ if one.name in kept]


def _configured(profile: str, plugin: str, arguments: Mapping[str, Any], scores: Sequence[Score]) -> list[Score]:
    _check_known(profile, [plugin])
    makers: dict[str, Callable[[Mapping[str, Any]], Score]] = {
        "NodeResourcesFit": leastallocated.configured,
        "InterPodAffinity": podaffinity.configured,
        "PodTopologySpread": topologyspread.configured,
    }
    maker = makers.get(plugin)
    if maker is None:
        return list(scores)
    try:
        made = maker(arguments)
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"scheduler profile {profile}: {plugin}: {error}") from None
    return [replace(made, weight=one.weight) if one.name == plugin else one for one in scores]
