"""`edgekube join`: make this machine a node of a cluster, with the line that `edgekube token create` printed."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

import click

from edgekube.api import jointoken
from edgekube.app.config import DEFAULT_DATA_DIR
from edgekube.cli.options import data_dir_option
from edgekube.errors import EnvironmentError_, UsageError

READY_S = 120.0


@click.command("join")
@click.argument("server", metavar="URL")
@click.argument("token", metavar="TOKEN")
@data_dir_option("Where this node's identity, images and containers live.")
@click.option(
    "--node-name", default="", metavar="NAME", help="This machine's name in the cluster [default: its host name]."
)
@click.option(
    "--node-ip", default="", metavar="IP", help="This machine's address [default: that of the default route]."
)
@click.option("--node-label", multiple=True, metavar="KEY=VALUE", help="Label for this node (repeat for more).")
@click.option("--node-taint", multiple=True, metavar="KEY=VALUE:EFFECT", help="Taint for this node (repeat for more).")
@click.option(
    "--container-runtime-endpoint",
    default="",
    metavar="SOCKET",
    help="Use this CRI socket instead of starting an own containerd.",
)
@click.option("--pod-manifest-path", default="", metavar="DIR", help="Directory of static pod manifests.")
@click.option(
    "--resolv-conf",
    default="/etc/resolv.conf",
    show_default=True,
    metavar="FILE",
    help="The resolv.conf for names outside the cluster.",
)
@click.option("--no-service", is_flag=True, help="Install no systemd service.")
@click.option("--foreground", is_flag=True, help="Install no service; become the agent in the foreground.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the node to be Ready.")
def COMMAND(server: str, token: str, **given: Any) -> int:
    """Join a cluster: paste the line that `edgekube token create` printed on the server.

    \b
    edgekube join https://gw1:6443 EK1.2cf2...
    edgekube join https://gw1:6443 EK1.2cf2... --node-name gw2 --node-label hall=3
    """  # fmt: skip
    from edgekube.app import joining, service
    from edgekube.app.identity import identity_of

    config = _config(joining.check_server(server), given)
    try:
        parsed = jointoken.parse(token)
    except ValueError as error:
        raise UsageError(str(error)) from None
    identity = identity_of(config.data_dir)
    joining.check_machine(config, identity)
    say = partial(click.echo, err=True)
    import trio

    with identity.locked():
        config = _run(trio, joining.join, config, parsed, identity, say)
    data_dir = config.data_dir
    if given["foreground"]:
        os.execv(sys.executable, [sys.executable, "-m", "edgekube", "agent", "--data-dir", str(data_dir)])
    if given["no_service"] or not service.is_systemd():
        click.echo(f"joined; start it with: {service.agent_command(data_dir, DEFAULT_DATA_DIR)}")
        return 0
    service.install(data_dir, DEFAULT_DATA_DIR)
    if not given["no_wait"]:
        say("the service is started; waiting for the node to be Ready")
        if not _run(trio, joining.wait_ready, config, identity, READY_S):
            raise EnvironmentError_(
                f"joined, but {config.node_name} is not Ready after {READY_S:.0f} s: see `journalctl -u edgekube-agent`"
            )
        click.echo(f"{config.node_name} is Ready")
    return 0


def _run(trio: Any, work: Any, *arguments: Any) -> Any:
    """Run it; of several things that failed together, raise what a person should read."""
    from edgekube.app.signals import first_reason

    try:
        return trio.run(partial(work, *arguments), strict_exception_groups=True)
    except BaseExceptionGroup as group:
        raise first_reason(group) from group


def _config(server: str, given: dict[str, Any]) -> Any:
    """What was typed, checked by the same rules as the server's own node."""
    from edgekube.app.config import combine
    from edgekube.app.identity import AgentConfig

    names = ("data_dir", "node_name", "node_ip", "node_label", "node_taint", "container_runtime_endpoint",
             "pod_manifest_path", "resolv_conf")  # fmt: skip
    checked = combine({name: given[name] or None for name in names}, {})
    return AgentConfig(server=server, **{name: getattr(checked, name) for name in names})
