"""`edgekube status`: the cluster on one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from edgekube.cli.kubectl.session import Session, connection_options
from edgekube.cli.options import data_dir_option
from edgekube.errors import ApiError

TROUBLES_SHOWN, EVENTS_SHOWN = 10, 5
Object = Mapping[str, Any]


@click.command("status")
@data_dir_option("Where to look for this machine's certificates.")
@connection_options
def COMMAND(data_dir: Path, **where: Any) -> int:
    """Show nodes, pods in trouble, disk, memory, certificates and the last warnings.

    \b
    edgekube status
    """
    session = Session(**where)
    version = session.request("GET", "/version")
    nodes = session.request("GET", "/api/v1/nodes").get("items") or []
    pods = session.request("GET", "/api/v1/pods").get("items") or []
    events = session.request("GET", "/api/v1/events", query={"fieldSelector": "type=Warning"}).get("items") or []
    click.echo(f"{session.server} ({version.get('gitVersion', '')})")
    click.echo(
        "\n" + nodes_table(nodes, pods, {node["metadata"]["name"]: _summary(session, node) for node in nodes}), nl=False
    )
    troubled = [pod for pod in pods if trouble(pod)]
    running = sum((pod.get("status") or {}).get("phase") == "Running" for pod in pods)
    click.echo(f"\n{len(pods)} pods, {running} running, {len(troubled)} in trouble")
    for pod in troubled[:TROUBLES_SHOWN]:
        click.echo(f"  {pod['metadata']['namespace']}/{pod['metadata']['name']}: {trouble(pod)}")
    if len(troubled) > TROUBLES_SHOWN:
        click.echo(f"  and {len(troubled) - TROUBLES_SHOWN} more")
    if troubled:
        first = troubled[0]["metadata"]
        click.echo(f"  why: edgekube explain-pod -n {first['namespace']} {first['name']}")
    if ends := certificates(data_dir):
        click.echo(f"\ncertificates: {ends}")
    if lines := warnings(events, datetime.now(UTC)):
        click.echo("\nlast warnings:")
        for line in lines:
            click.echo(f"  {line}")
    return 0


def _summary(session: Session, node: Object) -> Object:
    """What the node itself says of its disk and memory; nothing when it cannot be asked."""
    try:
        told: Object = (
            session.request("GET", f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary").get("node") or {}
        )
    except ApiError:
        return {}
    return told


def nodes_table(nodes: Sequence[Object], pods: Sequence[Object], summaries: Mapping[str, Object]) -> str:
    """One line per node."""
    from edgekube.cli.kubectl.printing import columns

    rows = [["NODE", "STATUS", "PODS", "MEMORY", "DISK FREE", "ADDRESS"]]
    for node in nodes:
        name = node["metadata"]["name"]
        status = node.get("status") or {}
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
        words = ["Ready" if conditions.get("Ready") == "True" else "NotReady"]
        words += ["cordoned"] if node.get("spec", {}).get("unschedulable") else []
        words += [
            type_ for type_ in ("MemoryPressure", "DiskPressure", "PIDPressure") if conditions.get(type_) == "True"
        ]
        here = sum(
            (pod.get("spec") or {}).get("nodeName") == name
            and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
            for pod in pods
        )
        memory, disk = summaries.get(name, {}).get("memory") or {}, summaries.get(name, {}).get("fs") or {}
        used, free = memory.get("workingSetBytes"), memory.get("availableBytes")
        addresses = [one["address"] for one in status.get("addresses") or () if one["type"] == "InternalIP"]
        rows.append([
            name, ",".join(words), f"{here}/{(status.get('allocatable') or {}).get('pods', '?')}",
            f"{_bytes(used)} of {_bytes(used + free)}" if used is not None and free is not None else "unknown",
            f"{_bytes(disk['availableBytes'])} of {_bytes(disk['capacityBytes'])}" if "capacityBytes" in disk else "unknown",
            ",".join(addresses),
        ])  # fmt: skip
    return columns(rows)


def trouble(pod: Object) -> str:
    """Why a pod deserves a look, "" when it does not."""
    status = pod.get("status") or {}
    phase = status.get("phase", "Pending")
    if phase == "Succeeded":
        return ""
    if phase == "Failed":
        return str(status.get("reason") or "Failed")
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        reason = ((one.get("state") or {}).get("waiting") or {}).get("reason", "")
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return f"{reason}, {one.get('restartCount', 0)} restarts"
    conditions = {one["type"]: one for one in status.get("conditions") or ()}
    if conditions.get("PodScheduled", {}).get("status") == "False":
        return str(conditions["PodScheduled"].get("reason") or "Unschedulable")
    if phase == "Running" and conditions.get("Ready", {}).get("status") == "False":
        return "not ready"
    return "" if phase == "Running" else phase


def warnings(events: Sequence[Object], now: datetime) -> list[str]:
    """The newest warnings, the newest last."""
    from edgekube.api.durations import human
    from edgekube.api.meta import parse_time

    def when(event: Object) -> str:
        series = event.get("series") or {}
        found = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
        return str(found or event["metadata"]["creationTimestamp"])

    lines = []
    for event in sorted(events, key=when)[-EVENTS_SHOWN:]:
        about = event.get("involvedObject") or {}
        ago = human(max(0, int((now - parse_time(when(event))).total_seconds())))
        place = f"{about.get('namespace')}/" if about.get("namespace") else ""
        message = " ".join(event.get("message", "").split())
        lines.append(
            f"{ago} ago  {about.get('kind', '')} {place}{about.get('name', '')}: {event.get('reason', '')}: {message}"[
                :200
            ]
        )
    return lines


def certificates(data_dir: Path) -> str:
    """When the first certificate of this machine ends, "" where there is none to read."""
    from edgekube.api.certificates import ends_at

    ends = []
    for path in [*(data_dir / "pki").glob("*.crt"), *(data_dir / "agent").glob("*.crt")]:
        try:
            ends.append((ends_at(path.read_bytes()), path.stem))
        except (OSError, ValueError):
            return f"{path} cannot be read"
    if not ends:
        return ""
    end, name = min(ends)
    return f"the first to end is {name}, {end:%Y-%m-%d} (renewed before that by itself)"


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if abs(number) < 1024:
            return f"{number:.0f}{unit}"
        number /= 1024
    return f"{number:.1f}GiB"
