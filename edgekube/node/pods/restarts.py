"""Whether and when a container that ended starts again. Pure.

Source: kubelet's container restart rules (pod restartPolicy, container restartPolicy and restartPolicyRules) and its crash
back-off: 10 s doubling to 5 min, forgotten after twice that without a crash (client-go util/flowcontrol/backoff.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekube.kinds.core.pod import Pod
from edgekube.node.pods.seen import AnyContainer
from edgekube.node.runtime.cri import ContainerDetail

FIRST_BACK_OFF_S = 10.0
LONGEST_BACK_OFF_S = 300.0


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long the next restart waits, and when that was decided (monotonic-free wall seconds, as container times are)."""

    pause_s: float
    decided_at: float


def should_restart(pod: Pod, container: AnyContainer, exit_code: int, *, sidecar: bool = False) -> bool:
    """Whether a container that ended with `exit_code` runs again while its pod lives on."""
    if sidecar:
        return True
    for rule in container.restart_policy_rules:
        if rule.action != "Restart" or rule.exit_codes is None:
            continue
        among = exit_code in rule.exit_codes.values
        if among == (rule.exit_codes.operator == "In"):
            return True
    policy = container.restart_policy or pod.spec.restart_policy
    if policy == "Never":
        return False
    return exit_code != 0 if policy == "OnFailure" else True


def waiting_s(back_off: BackOff | None, ended: ContainerDetail, now: float) -> float:
    """Seconds until a container that ended may start again; 0 = now."""
    if back_off is None:
        return 0.0
    ended_at = ended.finished_at / 1e9
    if ended_at - back_off.decided_at > 2 * LONGEST_BACK_OFF_S:
        return 0.0
    return max(0.0, ended_at + back_off.pause_s - now)


def next_back_off(back_off: BackOff | None, ended: ContainerDetail | None, now: float) -> BackOff:
    """The back-off after a restart is begun now."""
    ended_at = ended.finished_at / 1e9 if ended and ended.finished_at else now
    if back_off is None or ended_at - back_off.decided_at > 2 * LONGEST_BACK_OFF_S:
        return BackOff(FIRST_BACK_OFF_S, now)
    return BackOff(min(2 * back_off.pause_s, LONGEST_BACK_OFF_S), now)


BackOffs = Mapping[str, BackOff]


def go_duration(seconds: float) -> str:
    """A duration as Go prints it: 10s, 1m20s, 5m0s."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"
