"""`run`: one pod from an image."""

from __future__ import annotations

import json
from typing import Any

import click

from edgekube.cli.kubectl import generators
from edgekube.cli.kubectl.changing import Change, changing_options
from edgekube.cli.kubectl.session import CommandFailed, Session, connection_options


@click.command("run")
@click.argument("name", metavar="NAME")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND] [args...]")
@click.option("--image", default="", metavar="IMAGE", help="The image for the container to run. Required.")
@click.option("--command", "as_command", is_flag=True, help="Use the extra arguments as the command, not as arguments.")
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="Environment variables to set in the container.")
@click.option("--labels", "-l", default="", metavar="LABELS", help="Labels to apply to the pod.")
@click.option("--annotations", multiple=True, metavar="KEY=VALUE", help="Annotations to apply to the pod.")
@click.option("--port", default="", metavar="PORT", help="The port that this container exposes.")
@click.option("--restart", default="Always", metavar="POLICY", help="Always, OnFailure or Never.")
@click.option("--image-pull-policy", default="", metavar="POLICY", help="The image pull policy for the container.")
@click.option("--privileged", is_flag=True, help="Run the container in privileged mode.")
@click.option("--overrides", default="", metavar="JSON", help="A JSON merge patch for the generated object.")
@changing_options
@connection_options
def COMMAND(name: str, rest: tuple[str, ...], overrides: str, **options: Any) -> int:
    """Create and run a particular image in a pod.

    \b
    edgekube run web --image=nginx --port=80
    edgekube run once --image=busybox --restart=Never -- date
    """
    if not options["image"]:
        raise CommandFailed("--image is required")
    if options["restart"] not in ("Always", "OnFailure", "Never"):
        raise CommandFailed(f"invalid restart policy: {options['restart']}")
    session, change = Session.of(options), Change.of(options, "kubectl-run")
    made = pod(name, rest, options)
    if overrides:
        from edgekube.api.patching import merge_patch

        made = merge_patch(made, json.loads(overrides))
    from edgekube.cli.kubectl.creators import send

    send(session, change, made, "")
    return 0


def pod(name: str, words: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The pod that `run` makes."""
    container: dict[str, Any] = {"image": options["image"], "name": name, "resources": {}}
    if words:
        container["command" if options["as_command"] else "args"] = list(words)
    if options["env"]:
        container["env"] = [{"name": key, "value": value} for key, value in generators.pairs(options["env"]).items()]
    if options["port"]:
        container["ports"] = [{"containerPort": int(options["port"])}]
    if options["image_pull_policy"]:
        container["imagePullPolicy"] = options["image_pull_policy"]
    if options["privileged"]:
        container["securityContext"] = {"privileged": True}
    spec = {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": options["restart"]}
    made = generators.document("v1", "Pod", name, spec=spec, status={})
    made["metadata"]["labels"] = generators.pairs(options["labels"].split(",")) if options["labels"] else {"run": name}
    if options["annotations"]:
        made["metadata"]["annotations"] = generators.pairs(options["annotations"])
    return made
