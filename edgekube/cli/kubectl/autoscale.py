"""`autoscale`: a HorizontalPodAutoscaler for a workload."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl import generators
from edgekube.cli.kubectl.changing import Change, changing_options, choosing_options, chosen, each
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options
from edgekube.cli.kubectl.targets import Target

SCALABLE = ("Deployment", "ReplicaSet", "StatefulSet", "ReplicationController")


@click.command("autoscale")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME)")
@click.option("--min", "least", type=int, default=-1, help="The lower limit for the number of pods.")
@click.option("--max", "most", type=int, default=-1, help="The upper limit for the number of pods. Required.")
@click.option("--cpu-percent", type=int, default=-1, help="The target average CPU utilization.")
@click.option("--name", default="", metavar="NAME", help="The name for the newly created object.")
@choosing_options
@changing_options
@connection_options
def COMMAND(words: tuple[str, ...], least: int, most: int, cpu_percent: int, name: str, **options: Any) -> int:
    """Auto-scale a deployment, replica set, stateful set, or replication controller.

    \b
    edgekube autoscale deployment web --min=2 --max=10 --cpu-percent=80
    """
    if most < 1:
        raise CommandFailed(f"--max=MAXPODS is required and must be at least 1, max: {most}")
    if most < least:
        raise CommandFailed(f"--max=MAXPODS must be larger or equal to --min=MINPODS, max: {most}, min: {least}")
    session, change = Session.of(options), Change.of(options, "kubectl-autoscale")

    def act(target: Target) -> None:
        from edgekube.cli.kubectl.creators import send

        if target.resource["kind"] not in SCALABLE:
            raise CommandFailed(f"cannot autoscale a {target.resource['kind']}: not a scalable resource")
        group, version = target.resource["group"], target.resource["version"]
        spec: dict[str, Any] = {"maxReplicas": most}
        reference = {
            "apiVersion": f"{group}/{version}".lstrip("/"),
            "kind": target.resource["kind"],
            "name": target.name,
        }
        spec["scaleTargetRef"] = reference
        if least > 0:
            spec["minReplicas"] = least
        if cpu_percent >= 0:
            spec["targetCPUUtilizationPercentage"] = cpu_percent
        status = {"currentReplicas": 0, "desiredReplicas": 0}
        made = generators.document(
            "autoscaling/v1", "HorizontalPodAutoscaler", name or target.name, spec=spec, status=status
        )
        send(session, change, made, "", "autoscaled", placed=False)

    return each(chosen(session, words, options), act)
