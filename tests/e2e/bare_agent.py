"""A node and its network over the administrator's kubeconfig: what an agent does, without joining, tunnel and replica.

`python -m tests.e2e.bare_agent KUBECONFIG SERVER_URL [flags of edgekube server]`, for tests of the node and the network alone.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from functools import partial
from pathlib import Path

import trio

from edgekube.app import config as configuration
from edgekube.app.agent import network_config, node_config
from edgekube.cli.server import COMMAND
from edgekube.client.kubeconfig import load
from edgekube.client.remote import open_remote
from edgekube.clock import SystemClock
from edgekube.network.run import run_network
from edgekube.node.run import run_node


async def main(kubeconfig: str, url: str, flags: list[str]) -> None:
    given = COMMAND.make_context("server", flags).params
    config = configuration.combine(given)
    address = config.node_ip or configuration.own_address()
    access = dataclasses.replace(load([Path(kubeconfig)]), server=url)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    async with open_remote(access, manager="edgekube-node") as client, trio.open_nursery() as nursery:
        await nursery.start(partial(run_node, client, SystemClock(), node_config(config, address)))
        await nursery.start(run_network, client, network_config(config, address))
        await trio.sleep_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3:])
