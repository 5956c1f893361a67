"""The generators of `create`: flags of each, and the sending they share. What is made is in `generators.py`."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import click

from edgekube.cli.kubectl import generators as made_by
from edgekube.cli.kubectl.changing import Change, changing_options
from edgekube.cli.kubectl.session import CommandFailed, Session, VerbGroup, connection_options, duration_s, path_of
from edgekube.errors import ApiError

GENERATORS: dict[str, click.Command] = {}
BARE_ERRORS = ("namespace", "role", "clusterrole")  # kinds whose refusals kubectl shows as the server's own

Maker = Callable[..., dict[str, Any]]
text = click.option
Options = dict[str, Any]


def generator(
    name: str, *flags: Any, group: MutableMapping[str, click.Command] = GENERATORS, noun: str = ""
) -> Callable[[Maker], Maker]:
    """Make a function (session, name, options) -> document into a `create` generator."""

    def register(maker: Maker) -> Maker:
        def command(words: tuple[str, ...], **options: Any) -> None:
            names, rest = words[:1], words[1:]
            if not names or (rest and "rest" not in maker.__code__.co_varnames):
                raise CommandFailed(
                    f"exactly one NAME is required, got {len(words)}\nSee 'kubectl create {name} -h' for help and examples"
                )
            session, change = Session.of(options), Change.of(options, "kubectl-create")
            extra = {"rest": rest} if "rest" in maker.__code__.co_varnames else {}
            send(session, change, maker(session, names[0], options, **extra), noun or name)

        command.__doc__ = (
            f"{maker.__doc__ or ''}: edgekube create {(noun or name).replace('secret', 'secret ' + name)} NAME."
        )
        made = changing_options(connection_options_last(command, flags))
        made = click.argument("words", nargs=-1, metavar="NAME")(made)
        group[name] = click.command(name)(made)
        return maker

    return register


def connection_options_last(command: Any, flags: tuple[Any, ...]) -> Any:
    """A command's own flags, then the connection options it has not taken for itself."""
    for flag in reversed(flags):
        command = flag(command)
    return connection_options(command)


def send(
    session: Session, change: Change, document: dict[str, Any], noun: str, verb: str = "created", *, placed: bool = True
) -> None:
    """Create the object (or only show it) and say so.

    `noun` "" shows a refusal as the server's own; `placed` is whether a stated namespace is written into the object.
    """
    resource = session.resolve_kind(document["apiVersion"], document["kind"])
    if resource["namespaced"] and session.namespace_given and placed:
        document["metadata"]["namespace"] = session.namespace
    if not change.local:
        namespace = session.namespace if resource["namespaced"] else ""
        body = made_by.bare(document)
        try:
            document = session.request("POST", path_of(resource, namespace), query=change.query, body=body)
        except ApiError as error:
            if noun in BARE_ERRORS or not noun or not error.reason:
                raise
            colon = "" if noun == "secret" else ":"
            raise CommandFailed(f"failed to create {noun}{colon} {error.message}") from None
    change.show(resource, document, verb)


def required(options: Options, *names: str) -> None:
    """Raises CommandFailed in kubectl's words for flags that must be given."""
    missing = [f'"{name}"' for name in names if not options[name.replace("-", "_")]]
    if missing:
        raise CommandFailed(f"required flag(s) {', '.join(missing)} not set")


def _sources(options: Options) -> dict[str, bytes]:
    """The data of --from-literal, --from-file and --from-env-file."""
    data: dict[str, bytes] = {}
    for source in options["from_file"]:
        key, equals, path = source.partition("=")
        where = Path(path if equals else source)
        if not where.exists():
            raise CommandFailed(f"error reading {where}: no such file or directory")
        files = sorted(file for file in where.iterdir() if file.is_file()) if where.is_dir() else [where]
        data |= {(key if equals else file.name): file.read_bytes() for file in files}
    for source in options["from_env_file"]:
        for line in Path(source).read_text().splitlines():
            if line.strip() and not line.lstrip().startswith("#"):
                key, _, value = line.lstrip().partition("=")
                data[key] = value.encode()
    for source in options["from_literal"]:
        key, equals, value = source.partition("=")
        if not key or not equals:
            raise CommandFailed(f"invalid literal source {source}, expected key=value")
        if key in data:
            raise CommandFailed(f'cannot add key "{key}", another key by that name already exists in Data')
        data[key] = value.strip("'\"").encode() if value[:1] in "'\"" and value[:1] else value.encode()
    return dict(sorted(data.items()))


SOURCES = (
    text("--from-literal", multiple=True, metavar="KEY=VALUE", help="A key and its literal value."),
    text("--from-file", multiple=True, metavar="[KEY=]PATH", help="A file, or the files of a directory."),
    text("--from-env-file", multiple=True, metavar="FILE", help="A file with lines of KEY=VALUE."),
)


@generator("namespace")
def _namespace(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a namespace with the specified name"""
    return made_by.document("v1", "Namespace", name, spec={}, status={})


@generator("configmap", *SOURCES)
def _configmap(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a config map from a local file, directory or literal value"""
    return made_by.config_map(name, _sources(options))


@generator("serviceaccount")
def _serviceaccount(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a service account with the specified name"""
    return made_by.document("v1", "ServiceAccount", name)


IMAGE = text("--image", multiple=True, metavar="IMAGE", help="Image names to run.")


@generator(
    "deployment",
    IMAGE,
    text("--replicas", "-r", type=int, default=1, help="Number of replicas to create."),
    text("--port", type=int, help="The containerPort that this deployment exposes."),
)
def _deployment(session: Session, name: str, options: Options, rest: tuple[str, ...]) -> dict[str, Any]:
    """Create a deployment with the specified name"""
    required(options, "image")
    return made_by.deployment(name, options["image"], options["replicas"], options["port"], rest)


@generator(
    "job",
    text("--image", metavar="IMAGE", help="Image name to run."),
    text("--from", "source", metavar="cronjob/NAME", help="The cron job to create a Job from."),
)
def _job(session: Session, name: str, options: Options, rest: tuple[str, ...]) -> dict[str, Any]:
    """Create a job with the specified name"""
    if bool(options["image"]) == bool(options["source"]):
        raise CommandFailed("either --image or --from must be specified")
    if options["image"]:
        return made_by.job(name, options["image"], rest)
    kind, _, parent = options["source"].partition("/")
    resource = session.resolve(kind)
    if resource["kind"] != "CronJob":
        raise CommandFailed(f"from must be an existing cronjob, got {resource['kind']}")
    return made_by.job_from(name, session.request("GET", path_of(resource, session.namespace, parent)))


@generator(
    "cronjob",
    text("--image", metavar="IMAGE", help="Image name to run."),
    text("--schedule", metavar="CRON", help="A schedule in the Cron format."),
    text("--restart", default="OnFailure", metavar="POLICY", help="OnFailure or Never."),
)
def _cronjob(session: Session, name: str, options: Options, rest: tuple[str, ...]) -> dict[str, Any]:
    """Create a cron job with the specified name"""
    required(options, "image", "schedule")
    return made_by.cron_job(name, options["image"], options["schedule"], options["restart"], rest)


VERB = text("--verb", multiple=True, metavar="VERBS", help="Verbs that apply to the resources.")
RESOURCE = text("--resource", multiple=True, metavar="RESOURCES", help="Resources that the rule applies to.")
RESOURCE_NAME = text("--resource-name", multiple=True, metavar="NAME", help="Resource in the white list.")


def _split(values: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(word for value in values for word in value.split(",") if word))


def _rules(session: Session, options: Options, urls: list[str]) -> list[dict[str, Any]]:
    verbs = _split(options["verb"])
    if not verbs:
        raise CommandFailed("at least one verb must be specified")
    wanted = _split(options["resource"])
    if not wanted and not urls:
        raise CommandFailed("at least one resource must be specified")
    found = []
    for word in wanted:
        name, slash, subresource = word.partition("/")
        if name == "*":
            found.append(("", "*"))
            continue
        resource = session.resolve(name)
        found.append((resource["group"], resource["plural"] + slash + subresource))
    return made_by.rules_of(verbs, found, _split(options["resource_name"]), urls)


@generator("role", VERB, RESOURCE, RESOURCE_NAME)
def _role(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a role with single rule"""
    return made_by.role("Role", name, _rules(session, options, []))


@generator(
    "clusterrole",
    VERB,
    RESOURCE,
    RESOURCE_NAME,
    text("--non-resource-url", multiple=True, metavar="URL", help="A partial url that user should have access to."),
    text("--aggregation-rule", default="", metavar="LABELS", help="Labels of the roles to combine."),
)
def _clusterrole(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a cluster role"""
    if options["aggregation_rule"]:
        return made_by.role("ClusterRole", name, None, options["aggregation_rule"].split(","))
    return made_by.role("ClusterRole", name, _rules(session, options, _split(options["non_resource_url"])))


SUBJECTS = (
    text("--clusterrole", default="", metavar="NAME", help="ClusterRole this binding should reference."),
    text("--user", "users", multiple=True, metavar="NAME", help="Usernames to bind to the role."),
    text("--group", multiple=True, metavar="NAME", help="Groups to bind to the role."),
    text("--serviceaccount", multiple=True, metavar="NAMESPACE:NAME", help="Service accounts to bind to the role."),
)


@generator("rolebinding", *SUBJECTS, text("--role", default="", metavar="NAME", help="Role it should reference."))
def _rolebinding(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a role binding for a particular role or cluster role"""
    if bool(options["clusterrole"]) == bool(options["role"]):
        raise CommandFailed("exactly one of clusterrole or role must be specified")
    role = ("Role", options["role"]) if options["role"] else ("ClusterRole", options["clusterrole"])
    subjects = (_split(options["users"]), _split(options["group"]), _split(options["serviceaccount"]))
    return made_by.binding("RoleBinding", name, role, *subjects)


@generator("clusterrolebinding", *SUBJECTS)
def _clusterrolebinding(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a cluster role binding for a particular cluster role"""
    required(options, "clusterrole")
    subjects = (_split(options["users"]), _split(options["group"]), _split(options["serviceaccount"]))
    return made_by.binding("ClusterRoleBinding", name, ("ClusterRole", options["clusterrole"]), *subjects)


@generator(
    "quota",
    text("--hard", default="", metavar="NAME=AMOUNT,...", help="The limits."),
    text("--scopes", default="", metavar="NAMES", help="Quota scopes."),
)
def _quota(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a quota with the specified name"""
    return made_by.quota(name, options["hard"], options["scopes"])


@generator(
    "poddisruptionbudget",
    text("--selector", default="", metavar="LABELS", help="The pods it is about."),
    text("--min-available", default="", metavar="NUMBER", help="The minimum number or percentage of available pods."),
    text("--max-unavailable", default="", metavar="NUMBER", help="The maximum number or percentage of missing pods."),
)
def _poddisruptionbudget(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a pod disruption budget with the specified name"""
    return made_by.disruption_budget(name, options["selector"], options["min_available"], options["max_unavailable"])


@generator(
    "priorityclass",
    text("--value", type=int, default=0, help="The value of this priority class."),
    text(
        "--global-default", type=bool, is_flag=False, flag_value=True, default=False, help="Whether it is the default."
    ),
    text("--description", default="", metavar="TEXT", help="When this priority class should be used."),
    text(
        "--preemption-policy", default="PreemptLowerPriority", metavar="POLICY", help="PreemptLowerPriority or Never."
    ),
)
def _priorityclass(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a priority class with the specified name"""
    members = {"description": options["description"] or None, "globalDefault": options["global_default"] or None}
    policy = options["preemption_policy"]
    return made_by.document(
        "scheduling.k8s.io/v1", "PriorityClass", name, preemptionPolicy=policy, value=options["value"], **members
    )


@generator(
    "ingress",
    text("--rule", multiple=True, metavar="HOST/PATH=SERVICE:PORT[,tls[=SECRET]]", help="A rule."),
    text("--class", "style", default="", metavar="NAME", help="Ingress Class to be used."),
    text("--default-backend", default="", metavar="SERVICE:PORT", help="Default service for backend."),
    text("--annotation", multiple=True, metavar="KEY=VALUE", help="Annotation to insert in the ingress object."),
)
def _ingress(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create an ingress with the specified name"""
    return made_by.ingress(name, options["rule"], options["style"], options["default_backend"], options["annotation"])


@click.group("secret", cls=VerbGroup)
def _secret() -> None:
    """Create a secret using a specified subcommand: edgekube create secret generic NAME."""


@click.group("service", cls=VerbGroup)
def _service() -> None:
    """Create a service using a specified subcommand: edgekube create service clusterip NAME."""


GENERATORS |= {"secret": _secret, "service": _service}


@generator(
    "generic",
    *SOURCES,
    text("--type", "style", default="", metavar="TYPE", help="The type of secret."),
    group=_secret.commands,
    noun="secret",
)
def _generic(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a secret from a local file, directory, or literal value"""
    return made_by.secret(name, _sources(options), options["style"])


@generator(
    "tls",
    text("--cert", default="", metavar="FILE", help="Path to PEM encoded public key certificate."),
    text("--key", default="", metavar="FILE", help="Path to private key associated with given certificate."),
    group=_secret.commands,
    noun="secret",
)
def _tls(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a TLS secret"""
    if not options["cert"] or not options["key"]:
        raise CommandFailed("key and cert must be specified")
    try:
        data = {"tls.crt": Path(options["cert"]).read_bytes(), "tls.key": Path(options["key"]).read_bytes()}
    except OSError as error:
        raise CommandFailed(f"open {error.filename}: no such file or directory") from None
    return made_by.secret(name, data, "kubernetes.io/tls")


@generator(
    "docker-registry",
    text("--docker-server", default="https://index.docker.io/v1/", metavar="URL", help="Registry location."),
    text("--docker-username", default="", metavar="NAME", help="Username for registry authentication."),
    text("--docker-password", default="", metavar="WORD", help="Password for registry authentication."),
    text("--docker-email", default="", metavar="ADDRESS", help="Email for registry."),
    group=_secret.commands,
    noun="secret",
)
def _docker_registry(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a secret for use with a Docker registry"""
    if not options["docker_username"] or not options["docker_password"]:
        raise CommandFailed(
            "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required"
        )
    names = ("docker_server", "docker_username", "docker_password", "docker_email")
    config = made_by.docker_config(*(options[member] for member in names))
    return made_by.secret(name, {".dockerconfigjson": config}, "kubernetes.io/dockerconfigjson")


TCP = text("--tcp", multiple=True, metavar="PORT[:TARGET]", help="Port pairs.")


@generator(
    "clusterip",
    TCP,
    text("--clusterip", default="", metavar="IP", help="The address, or None for headless."),
    group=_service.commands,
    noun="ClusterIP service",
)
def _clusterip(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a ClusterIP service"""
    return made_by.service(name, "ClusterIP", _split(options["tcp"]), cluster_ip=options["clusterip"])


@generator(
    "nodeport",
    TCP,
    text("--node-port", type=int, default=0, help="Port used to expose the service on each node."),
    group=_service.commands,
    noun="NodePort service",
)
def _nodeport(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a NodePort service"""
    return made_by.service(name, "NodePort", _split(options["tcp"]), node_port=options["node_port"])


@generator("loadbalancer", TCP, group=_service.commands, noun="LoadBalancer service")
def _loadbalancer(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create a LoadBalancer service"""
    return made_by.service(name, "LoadBalancer", _split(options["tcp"]))


@generator(
    "externalname",
    TCP,
    text("--external-name", default="", metavar="NAME", help="External name of service."),
    group=_service.commands,
    noun="ExternalName service",
)
def _externalname(session: Session, name: str, options: Options) -> dict[str, Any]:
    """Create an ExternalName service"""
    required(options, "external-name")
    return made_by.service(name, "ExternalName", _split(options["tcp"]), external=options["external_name"])


@click.command("token")
@click.argument("name", metavar="SERVICE_ACCOUNT_NAME")
@click.option("--audience", multiple=True, metavar="NAME", help="Audience of the requested token.")
@click.option("--duration", default="", metavar="DURATION", help="Requested lifetime of the issued token.")
@connection_options
def _token(name: str, audience: tuple[str, ...], duration: str, **where: Any) -> None:
    """Request a service account token: edgekube create token default."""
    session = Session(**where)
    spec: dict[str, Any] = {"audiences": list(audience)} if audience else {}
    if duration:
        spec["expirationSeconds"] = int(duration_s(duration))
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{session.namespace}/serviceaccounts/{name}/token"
    try:
        click.echo(session.request("POST", path, body=body)["status"]["token"])
    except ApiError as error:
        raise CommandFailed(f"failed to create token: {error.message}") from None


GENERATORS["token"] = _token
