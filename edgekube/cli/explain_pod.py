"""`edgekube explain-pod`: why a pod is pending, restarting or not ready, in plain words."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from edgekube.cli.kubectl.session import Session, connection_options
from edgekube.errors import ApiError, Forbidden, NotFound


@click.command("explain-pod")
@click.argument("name")
@connection_options
def COMMAND(name: str, **where: Any) -> int:
    """Say why a pod is pending, restarting or not ready, and what can be done.

    \b
    edgekube explain-pod web-7d4b9c-x2x1z
    edgekube explain-pod -n kube-system some-pod
    """
    from edgekube.cli.explaining import explain

    session = Session(**where)
    name = name.removeprefix("pod/").removeprefix("pods/")
    base = f"/api/v1/namespaces/{quote(session.namespace)}"
    pod = session.request("GET", f"{base}/pods/{quote(name)}")
    uid = pod["metadata"]["uid"]
    fields = f"involvedObject.uid={uid}"
    events = session.request("GET", f"{base}/events", query={"fieldSelector": fields}).get("items") or []
    node = None
    if node_name := pod["spec"].get("nodeName"):
        try:
            node = session.request("GET", f"/api/v1/nodes/{quote(node_name)}")
        except NotFound:
            node = None
        except (Forbidden, ApiError):  # who may not look at nodes is told the rest
            node = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    for sentence in explain(pod, events, node):
        click.echo(sentence.seen)
        if sentence.advice:
            click.echo(f"  -> {sentence.advice}")
    return 0
