"""`logs`: a container's output, once or followed."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options, path_of
from edgekube.errors import UsageError

READ_BYTES = 65536


@click.command("logs")
@click.argument("pod", metavar="(POD | TYPE/NAME)")
@click.argument("container_word", required=False, metavar="[CONTAINER]")
@click.option("--container", "-c", default="", metavar="NAME", help="Print the logs of this container.")
@click.option("--follow", "-f", is_flag=True, help="Specify if the logs should be streamed.")
@click.option("--previous", "-p", is_flag=True, help="Print the logs for the previous instance of the container.")
@click.option("--timestamps", is_flag=True, help="Include timestamps on each line.")
@click.option("--tail", type=int, default=-1, help="Lines of recent log file to display.")
@click.option("--since", default="", metavar="DURATION", help="Only return logs newer than e.g. 5s, 2m, or 3h.")
@click.option("--since-time", default="", metavar="TIME", help="Only return logs after this RFC3339 time.")
@click.option("--limit-bytes", type=int, default=0, help="Maximum bytes of logs to return.")
@connection_options
def COMMAND(pod: str, container_word: str | None, container: str, **options: Any) -> int:
    """Print the logs for a container in a pod.

    \b
    edgekube logs web -f
    edgekube logs deployment/web -c app --tail 20
    """
    session = Session.of(options)
    query: dict[str, Any] = {}
    if container or container_word:
        query["container"] = container or container_word
    for name in ("follow", "previous", "timestamps"):
        if options[name]:
            query[name] = "true"
    if options["tail"] >= 0:
        query["tailLines"] = options["tail"]
    if options["since"]:
        query["sinceSeconds"] = seconds(options["since"])
    if options["since_time"]:
        query["sinceTime"] = options["since_time"]
    if options["limit_bytes"]:
        query["limitBytes"] = options["limit_bytes"]
    name = pod_of(session, pod)
    answer = session.send("GET", f"/api/v1/namespaces/{session.namespace}/pods/{name}/log", query=query, accept="*/*")
    while piece := answer.read1(READ_BYTES):
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return 0


def seconds(text: str) -> int:
    """Whole seconds of a Go duration such as 1h5m or 90s."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f'invalid argument "{text}" for "--since" flag: time: invalid duration "{text}"')
    return round(sum(float(number) * {"h": 3600, "m": 60, "s": 1, "ms": 0.001}[unit] for number, unit in parts))


def pod_of(session: Session, word: str) -> str:
    """The pod a word names: itself, or the first running one of a workload."""
    kind, slash, name = word.partition("/")
    if not slash:
        return word
    resource = session.resolve(kind)
    if resource["plural"] == "pods":
        return name
    owner = session.request("GET", path_of(resource, session.namespace, name))
    selector = owner.get("spec", {}).get("selector") or {}
    labels = selector.get("matchLabels", selector)
    query = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
    pods = session.request("GET", f"/api/v1/namespaces/{session.namespace}/pods", query=query).get("items") or []
    pods.sort(key=lambda item: (item["status"].get("phase") != "Running", item["metadata"]["creationTimestamp"]))
    if not pods:
        raise CommandFailed(f"no pods found for {word}")
    return str(pods[0]["metadata"]["name"])
