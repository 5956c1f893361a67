"""`expose`: a Service for the pods of a workload, a pod, or another service."""

from __future__ import annotations

from typing import Any

import click

from edgekube.cli.kubectl import generators
from edgekube.cli.kubectl.changing import Change, changing_options, choosing_options, chosen, each
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options
from edgekube.cli.kubectl.targets import Target

EXPOSABLE = ("Deployment", "ReplicaSet", "ReplicationController", "Pod", "Service")


@click.command("expose")
@click.argument("words", nargs=-1, metavar="(-f FILE | TYPE NAME)")
@click.option("--port", default="", metavar="PORT", help="The port that the service should serve on.")
@click.option("--target-port", default="", metavar="PORT", help="Name or number for the port on the container.")
@click.option("--protocol", default="", metavar="NAME", help="The network protocol: TCP, UDP, SCTP.")
@click.option("--name", default="", metavar="NAME", help="The name for the newly created object.")
@click.option("--type", "style", default="", metavar="TYPE", help="ClusterIP, NodePort, LoadBalancer, ExternalName.")
@click.option("--labels", default="", metavar="LABELS", help="Labels to apply to the service.")
@click.option("--cluster-ip", default="", metavar="IP", help="ClusterIP to be assigned, or None for headless.")
@click.option("--external-ip", default="", metavar="IP", help="Additional external IP address.")
@click.option("--load-balancer-ip", default="", metavar="IP", help="IP to assign to the load balancer.")
@click.option("--session-affinity", default="", metavar="NAME", help="None or ClientIP.")
@choosing_options
@changing_options
@connection_options
def COMMAND(words: tuple[str, ...], **options: Any) -> int:
    """Take a deployment, service, replica set, replication controller or pod and expose it as a new service.

    \b
    edgekube expose deployment web --port=80 --target-port=8000
    """
    session, change = Session.of(options), Change.of(options, "kubectl-expose")
    given, options["selector"] = options["selector"], ""

    def act(target: Target) -> None:
        from edgekube.cli.kubectl.creators import send

        if target.resource["kind"] not in EXPOSABLE:
            raise CommandFailed(f"cannot expose a {target.resource['kind']}")
        send(
            session, change, service_for(target.document or {}, target.resource["kind"], given, options), "", "exposed"
        )

    return each(chosen(session, words, options), act)


def service_for(item: dict[str, Any], kind: str, selector: str, options: dict[str, Any]) -> dict[str, Any]:
    """The Service that leads to an object's pods. Raises CommandFailed for what it cannot know."""
    labels = generators.pairs(selector.split(",")) if selector else _selector(item, kind)
    ports = _ports(item, kind, options)
    if not ports and options["cluster_ip"] != "None":
        raise CommandFailed("couldn't find port via --port flag or introspection")
    spec: dict[str, Any] = {"ports": ports, "selector": labels}
    spec |= {"type": options["style"]} if options["style"] else {}
    spec |= {"clusterIP": options["cluster_ip"]} if options["cluster_ip"] else {}
    spec |= {"externalIPs": [options["external_ip"]]} if options["external_ip"] else {}
    spec |= {"loadBalancerIP": options["load_balancer_ip"]} if options["load_balancer_ip"] else {}
    spec |= {"sessionAffinity": options["session_affinity"]} if options["session_affinity"] else {}
    name = options["name"] or item["metadata"]["name"]
    made = generators.document("v1", "Service", name, spec=spec, status={"loadBalancer": {}})
    given = generators.pairs(options["labels"].split(",")) if options["labels"] else item["metadata"].get("labels")
    if given:
        made["metadata"]["labels"] = given
    return made


def _selector(item: dict[str, Any], kind: str) -> dict[str, str]:
    if kind == "Pod":
        labels: dict[str, str] = item["metadata"].get("labels") or {}
        if not labels:
            raise CommandFailed(
                "couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed"
            )
        return labels
    selector = (item.get("spec") or {}).get("selector") or {}
    return dict(selector.get("matchLabels") or {}) if kind in ("Deployment", "ReplicaSet") else dict(selector)


def _ports(item: dict[str, Any], kind: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    spec = item.get("spec") or {}
    if options["port"]:
        found = [(int(text), "") for text in options["port"].split(",")]
    elif kind == "Service":
        found = [(port["port"], port.get("protocol", "")) for port in spec.get("ports") or ()]
    else:
        pod = spec if kind == "Pod" else spec["template"]["spec"]
        found = [
            (port["containerPort"], port.get("protocol", ""))
            for container in pod.get("containers") or ()
            for port in container.get("ports") or ()
        ]
    goal = options["target_port"]
    ports = []
    for number, (port, protocol) in enumerate(found, 1):
        target: int | str = (int(goal) if goal.isdigit() else goal) if goal else port
        made: dict[str, Any] = {"name": f"port-{number}"} if len(found) > 1 else {}
        made |= {"port": port, "protocol": options["protocol"] or protocol or "TCP", "targetPort": target}
        ports.append(made)
    return ports
