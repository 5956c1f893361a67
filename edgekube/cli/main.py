"""The command line's root: finds the command a person named and imports only that one.

Every command is one line in `COMMANDS`; its module holds a click command of the same name. Errors end here: one line on
standard error, exit status 1 (the world) or 2 (the words). Called as `kubectl`, the same program shows only kubectl's verbs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from edgekube.errors import ApiError, EdgekubeError, UsageError

#: name -> (module below edgekube.cli, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "server": ("server", "Run the server: API, scheduler, controllers and this machine's containers."),
    "status": ("status", "Show nodes, pods in trouble, disk, memory, certificates and the last warnings."),
    "explain-pod": ("explain_pod", "Say why a pod is pending, restarting or not ready."),
    "doctor": ("doctor", "Check this machine, and with --fix repair it."),
    "images": ("images", "List, import and pin the images of this machine."),
    "backup": ("backup", "Write database, keys, manifests and configuration to one file."),
    "restore": ("restore", "Put a backup into the data directory of a stopped server."),
    "token": ("token", "Make and revoke the tokens other machines join with."),
    "join": ("join", "Make this machine a node of a cluster."),
    "agent": ("agent", "Run the node this machine joined as."),
    "leave": ("leave", "Take this machine out of its cluster, and the cluster off this machine."),
    "node": ("node", "Take nodes out of the cluster."),
    "cert": ("cert", "Show and rotate this machine's certificates."),
    "uninstall": ("uninstall", "Take the server and everything it made off this machine."),
    "version": ("version", "Print the client and server version."),
    "get": ("kubectl.get", "Display one or many resources."),
    "describe": ("kubectl.describe", "Show details of a specific resource or group of resources."),
    "apply": ("kubectl.apply", "Apply a configuration to a resource by file name or stdin."),
    "create": ("kubectl.create", "Create a resource from a file or from stdin."),
    "delete": ("kubectl.delete", "Delete resources by file names, stdin, resources and names, or by label selector."),
    "logs": ("kubectl.logs", "Print the logs for a container in a pod."),
    "label": ("kubectl.label", "Update the labels on a resource."),
    "annotate": ("kubectl.annotate", "Update the annotations on a resource."),
    "scale": ("kubectl.scale", "Set a new size for a deployment, replica set, or replication controller."),
    "patch": ("kubectl.patch", "Update fields of a resource."),
    "replace": ("kubectl.replace", "Replace a resource by file name or stdin."),
    "wait": ("kubectl.waiting", "Wait for a specific condition on one or many resources."),
    "api-resources": ("kubectl.api_resources", "Print the supported API resources on the server."),
    "api-versions": ("kubectl.api_versions", "Print the supported API versions on the server."),
    "cluster-info": ("kubectl.cluster_info", "Display addresses of the control plane and cluster services."),
    "rollout": ("kubectl.rollout", "Manage the rollout of one or many resources."),
    "cordon": ("kubectl.cordon", "Mark node as unschedulable."),
    "uncordon": ("kubectl.uncordon", "Mark node as schedulable."),
    "taint": ("kubectl.taint", "Update the taints on one or more nodes."),
    "run": ("kubectl.run", "Create and run a particular image in a pod."),
    "expose": ("kubectl.expose", "Expose a workload, pod or service as a new service."),
    "autoscale": ("kubectl.autoscale", "Auto-scale a deployment, replica set or stateful set."),
    "set": ("kubectl.set", "Set specific features on objects."),
    "auth": ("kubectl.auth", "Inspect authorization."),
    "certificate": ("kubectl.certificate", "Modify certificate resources."),
    "drain": ("kubectl.drain", "Drain node in preparation for maintenance."),
    "config": ("kubectl.config", "Modify kubeconfig files."),
    "exec": ("kubectl.execute", "Execute a command in a container."),
}


def program() -> str:
    """The name this program was called by: "kubectl" when it is a link of that name, else "edgekube"."""
    return "kubectl" if Path(sys.argv[0]).name == "kubectl" else "edgekube"


def _is_kubectl(name: str) -> bool:
    return name == "version" or COMMANDS[name][0].startswith("kubectl.")


def _is_kubectl_path(path: str) -> bool:
    """Whether "edgekube get" names a verb of kubectl's."""
    name = [*path.split(), ""][1]
    return name in COMMANDS and _is_kubectl(name)


class UnknownCommand(EdgekubeError):
    """A first word that names nothing; exit status 1, as kubectl's."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the catalog's order; for `kubectl` only kubectl's."""
        return [name for name in COMMANDS if program() != "kubectl" or _is_kubectl(name)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words, a verb first: `-n shop get pods` is `get -n shop pods`."""
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            from edgekube.cli.kubectl.session import globals_last

            args = globals_last(args)
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = import_module(f"edgekube.cli.{module}").COMMAND
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command a person named, or kubectl's words for one that is not there."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownCommand(f'unknown command "{args[0]}" for "{program()}"')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """edgekube: Kubernetes for edge devices in one process.

    `edgekube server` starts a cluster on this machine; the other commands talk to one, as kubectl does.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its status."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run a command; its exit status. All errors become one line on standard error."""
    try:
        outcome: Any = root.main(arguments, prog_name=program(), standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except click.NoSuchOption as error:
        path = error.ctx.command_path if error.ctx else program()
        if not _is_kubectl_path(path):
            click.echo(f"error: {error.format_message()}", err=True)
            return 2
        kind = "flag" if error.option_name.startswith("--") else "shorthand flag"
        click.echo(f"error: unknown {kind}: {error.option_name}\nSee '{path} --help' for usage.", err=True)
        return 1
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        return 2 if isinstance(error, click.UsageError) else error.exit_code
    except click.Abort:
        return 130
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        return 2
    except ApiError as error:
        if error.reason:
            click.echo(f"Error from server ({error.reason}): {error.message}", err=True)
        else:
            click.echo(f"Error from server: {error.message}", err=True)
        return 1
    except EdgekubeError as error:
        click.echo(str(error) if getattr(error, "bare", False) else f"error: {error}", err=True)
        return 1
    except BrokenPipeError:
        return 141
    except KeyboardInterrupt:
        return 130
