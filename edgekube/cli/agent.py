"""`edgekube agent`: be the node this machine joined as, until a signal says stop."""

from __future__ import annotations

from pathlib import Path

import click

from edgekube.cli.options import data_dir_option


@click.command("agent")
@data_dir_option("Where this node's identity, images and containers live.")
@click.option(
    "--node-ip",
    default="",
    envvar="EDGEKUBE_NODE_IP",
    metavar="IP",
    help="This machine's address, if not the one it joined with.",
)
@click.option(
    "--resolv-conf",
    default="",
    envvar="EDGEKUBE_RESOLV_CONF",
    metavar="FILE",
    help="The resolv.conf for names outside the cluster.",
)
@click.option(
    "--log-format",
    default="text",
    envvar="EDGEKUBE_LOG_FORMAT",
    type=click.Choice(["text", "json"]),
    help="text or json.",
)
@click.option("--debug", is_flag=True, envvar="EDGEKUBE_DEBUG", help="Log what only a developer wants to know.")
def COMMAND(data_dir: Path, node_ip: str, resolv_conf: str, log_format: str, debug: bool) -> int:
    """Run the node this machine joined as, in the foreground. `edgekube join` comes first, and starts it where systemd runs.

    \b
    edgekube agent
    edgekube agent --data-dir /data/edgekube
    """  # fmt: skip
    from edgekube.app import logs

    logs.set_up(log_format, debug=debug)
    from edgekube.app.agentmode import run_agent

    return run_agent(data_dir.expanduser().absolute(), node_ip=node_ip, resolv_conf=resolv_conf)
