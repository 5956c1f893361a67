"""`cluster-info`: where the control plane and the cluster's own services are."""

from __future__ import annotations

import sys
from typing import Any

import click

from edgekube.cli.kubectl.session import Session, connection_options

GREEN, YELLOW, PLAIN = "\x1b[0;32m", "\x1b[0;33m", "\x1b[0m"


@click.command("cluster-info")
@connection_options
def COMMAND(**where: Any) -> None:
    """Display addresses of the control plane and services with label kubernetes.io/cluster-service=true.

    \b
    edgekube cluster-info
    """
    session = Session(**where)
    query = {"labelSelector": "kubernetes.io/cluster-service=true"}
    services = session.request("GET", "/api/v1/namespaces/kube-system/services", query=query).get("items") or []
    _line("Kubernetes control plane", session.server)
    for service in services:
        meta, ports = service["metadata"], service["spec"].get("ports") or []
        name = meta["name"] + (f":{ports[0]['name']}" if ports and ports[0].get("name") else "")
        address = f"{session.server}/api/v1/namespaces/{meta['namespace']}/services/{name}/proxy"
        _line((meta.get("labels") or {}).get("kubernetes.io/name") or meta["name"], address)
    click.echo("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.")


def _line(name: str, address: str) -> None:
    if sys.stdout.isatty():
        name, address = f"{GREEN}{name}{PLAIN}", f"{YELLOW}{address}{PLAIN}"
    click.echo(f"{name} is running at {address}")
