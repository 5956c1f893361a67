"""The objects `create TYPE NAME` makes, from the values of its flags. Pure; the shapes are those of kubectl's generators.

Members kubectl writes although they are empty (`status`, `creationTimestamp: null`) are there too, so that a dry run prints
what kubectl prints; `bare` takes them off before anything is sent.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekube.cli.kubectl.session import CommandFailed

RBAC = "rbac.authorization.k8s.io"


def document(api_version: str, kind: str, name: str, **members: Any) -> dict[str, Any]:
    """An object without a namespace; members that are None are left out."""
    head = {"apiVersion": api_version, "kind": kind, "metadata": {"creationTimestamp": None, "name": name}}
    return head | {key: value for key, value in members.items() if value is not None}


def bare(made: Mapping[str, Any]) -> dict[str, Any]:
    """The object without null members and empty status: what is sent."""
    text = {key: value for key, value in made.items() if key != "status"}
    return _without_nulls(text)  # type: ignore[no-any-return]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def config_map(name: str, data: Mapping[str, bytes], immutable: bool = False) -> dict[str, Any]:
    """Text goes to `data`, what is not UTF-8 to `binaryData`."""
    text: dict[str, str] = {}
    binary: dict[str, str] = {}
    for key, value in data.items():
        try:
            text[key] = value.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(value).decode()
    return document("v1", "ConfigMap", name, data=text or None, binaryData=binary or None, immutable=immutable or None)


def secret(name: str, data: Mapping[str, bytes], style: str = "") -> dict[str, Any]:
    """A Secret of a type; "" is Opaque, left to the server."""
    coded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return document("v1", "Secret", name, data=coded or None, type=style or None)


def docker_config(server: str, username: str, password: str, email: str) -> bytes:
    """The text of a .dockerconfigjson with one registry."""
    auth = base64.b64encode(f"{username}:{password}".encode()).decode()
    entry = {"username": username, "password": password, "email": email, "auth": auth}
    shown = {key: value for key, value in entry.items() if value}
    return json.dumps({"auths": {server: shown}}, separators=(",", ":")).encode()


def container(name: str, image: str, command: Sequence[str] = (), port: int | None = None) -> dict[str, Any]:
    """A container as kubectl's generators write one."""
    made: dict[str, Any] = {"image": image, "name": name, "resources": {}}
    if command:
        made["command"] = list(command)
    if port is not None:
        made["ports"] = [{"containerPort": port}]
    return made


def image_name(image: str) -> str:
    """The container name an image gives: its last part, without tag and digest, in characters a name may have."""
    last = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[0]
    return re.sub(r"[^a-z0-9-]", "-", last.lower())


def deployment(
    name: str, images: Sequence[str], replicas: int, port: int | None, command: Sequence[str]
) -> dict[str, Any]:
    """One container per image; port and command belong to the first."""
    if len(images) > 1 and command:
        raise CommandFailed("cannot specify multiple --image options and command")
    labels = {"app": name}
    containers = [container(image_name(image), image, command, port) for image in images]
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "strategy": {},
        "template": {
            "metadata": {"creationTimestamp": None, "labels": labels},
            "spec": {"containers": containers},
        },
    }
    made = document("apps/v1", "Deployment", name, spec=spec, status={})
    made["metadata"]["labels"] = dict(labels)
    return made


def job(name: str, image: str, command: Sequence[str], restart: str = "Never") -> dict[str, Any]:
    """A Job of one container that has the job's name."""
    pod = {"containers": [container(name, image, command)], "restartPolicy": restart}
    return document(
        "batch/v1", "Job", name, spec={"template": {"metadata": {"creationTimestamp": None}, "spec": pod}}, status={}
    )


def job_from(name: str, parent: Mapping[str, Any]) -> dict[str, Any]:
    """A Job made by hand from a CronJob."""
    template = parent["spec"]["jobTemplate"]
    made = document("batch/v1", "Job", name, spec=template["spec"], status={})
    meta = template.get("metadata") or {}
    made["metadata"]["annotations"] = {"cronjob.kubernetes.io/instantiate": "manual", **(meta.get("annotations") or {})}
    if meta.get("labels"):
        made["metadata"]["labels"] = meta["labels"]
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": parent["metadata"]["name"]}
    owner |= {"uid": parent["metadata"]["uid"], "controller": True}
    made["metadata"]["ownerReferences"] = [owner]
    return made


def cron_job(name: str, image: str, schedule: str, restart: str, command: Sequence[str]) -> dict[str, Any]:
    """A CronJob of one container that has its name."""
    inner = job(name, image, command, restart)
    template = {"metadata": {"creationTimestamp": None, "name": name}, "spec": inner["spec"]}
    return document("batch/v1", "CronJob", name, spec={"jobTemplate": template, "schedule": schedule}, status={})


def service(
    name: str, style: str, tcp: Sequence[str], *, node_port: int = 0, cluster_ip: str = "", external: str = ""
) -> dict[str, Any]:
    """A Service that selects `app: name`; `tcp` has PORT or PORT:TARGET."""
    if not tcp and style != "ExternalName" and cluster_ip != "None":
        raise CommandFailed("at least one tcp port specifier must be provided")
    ports = [_service_port(text, node_port) for text in tcp]
    spec: dict[str, Any] = {"ports": ports or None, "selector": {"app": name}, "type": style}
    spec |= {"clusterIP": cluster_ip or None, "externalName": external or None}
    made = document("v1", "Service", name, spec=_without_nulls(spec), status={"loadBalancer": {}})
    made["metadata"]["labels"] = {"app": name}
    return made


def _service_port(text: str, node_port: int) -> dict[str, Any]:
    port, _, target = text.partition(":")
    if not port.isdigit():
        raise CommandFailed(f"unable to parse port {port!r}".replace("'", '"'))
    goal: int | str = int(target or port) if (target or port).isdigit() else target
    made: dict[str, Any] = {"name": text.replace(":", "-"), "port": int(port), "protocol": "TCP", "targetPort": goal}
    return made | ({"nodePort": node_port} if node_port else {})


def role(kind: str, name: str, rules: Sequence[Mapping[str, Any]] | None, labels: Sequence[str] = ()) -> dict[str, Any]:
    """A Role or ClusterRole; with `labels` one that collects the rules of roles so labelled."""
    made = document(f"{RBAC}/v1", kind, name)
    made["rules"] = list(rules) if rules else None
    if labels:
        made["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": pairs(labels)}]}
    return made


def rules_of(
    verbs: Sequence[str], resources: Iterable[tuple[str, str]], names: Sequence[str], urls: Sequence[str]
) -> list[dict[str, Any]]:
    """Policy rules: one per API group, in the groups' order of appearance. `resources` are (group, resource)."""
    groups: dict[str, list[str]] = {}
    for group, resource in resources:
        held = groups.setdefault(group, [])
        if resource not in held:
            held.append(resource)
    rules = []
    for group in sorted(groups):
        rule: dict[str, Any] = {"apiGroups": [group], "resources": groups[group], "verbs": list(verbs)}
        rules.append(rule | ({"resourceNames": list(names)} if names else {}))
    return rules + ([{"nonResourceURLs": list(urls), "verbs": list(verbs)}] if urls else [])


def binding(
    kind: str, name: str, role_of: tuple[str, str], users: Sequence[str], groups: Sequence[str], accounts: Sequence[str]
) -> dict[str, Any]:
    """A RoleBinding or ClusterRoleBinding; `role_of` is (kind, name), accounts are NAMESPACE:NAME."""
    subjects: list[dict[str, str]] = [{"apiGroup": RBAC, "kind": "User", "name": user} for user in users]
    subjects += [{"apiGroup": RBAC, "kind": "Group", "name": group} for group in groups]
    for account in accounts:
        namespace, colon, short = account.partition(":")
        if not (namespace and colon and short):
            raise CommandFailed("serviceaccount must be <namespace>:<name>")
        subjects.append({"kind": "ServiceAccount", "name": short, "namespace": namespace})
    reference = {"apiGroup": RBAC, "kind": role_of[0], "name": role_of[1]}
    return document(f"{RBAC}/v1", kind, name, roleRef=reference, subjects=subjects or None)


def quota(name: str, hard: str, scopes: str) -> dict[str, Any]:
    """A ResourceQuota; `hard` is NAME=AMOUNT,..."""
    spec: dict[str, Any] = {"hard": pairs(hard.split(","))} if hard else {}
    if scopes:
        spec["scopes"] = scopes.split(",")
    return document("v1", "ResourceQuota", name, spec=spec, status={})


def disruption_budget(name: str, selector: str, least: str, most: str) -> dict[str, Any]:
    """A PodDisruptionBudget with one of its two bounds."""
    if not selector:
        raise CommandFailed("a selector must be specified")
    if bool(least) == bool(most):
        raise CommandFailed(
            "min-available and max-unavailable cannot be both specified"
            if least
            else "one of min-available or max-unavailable must be specified"
        )
    bound = {
        ("minAvailable" if least else "maxUnavailable"): int(least or most)
        if (least or most).isdigit()
        else least or most
    }
    status = {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}
    spec = {**bound, "selector": {"matchLabels": pairs(selector.split(","))}}
    return document("policy/v1", "PodDisruptionBudget", name, spec=spec, status=status)


def ingress(name: str, rules: Sequence[str], style: str, backend: str, annotations: Sequence[str]) -> dict[str, Any]:
    """An Ingress; a rule is HOST/PATH=SERVICE:PORT[,tls[=SECRET]], a trailing * makes the path a prefix."""
    if not rules and not backend:
        raise CommandFailed(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)"
        )
    hosts: dict[str, list[dict[str, Any]]] = {}
    tls: list[dict[str, Any]] = []
    for rule in rules:
        found = re.fullmatch(r"([^/=]*)(/[^=]*)=([^:,]+):([^,]+)(?:,(tls)(?:=(.+))?)?", rule)
        if not found:
            raise CommandFailed(
                f"rule {rule} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
            )
        host, path, target, port, secure, certificate = found.groups()
        prefix = path.endswith("*")
        hosts.setdefault(host, []).append(
            {
                "backend": _backend(target, port),
                "path": path[:-1] if prefix else path,
                "pathType": "Prefix" if prefix else "Exact",
            }
        )
        if secure:
            tls.append(({"hosts": [host]} if host else {}) | ({"secretName": certificate} if certificate else {}))
    spec: dict[str, Any] = {}
    if style:
        spec["ingressClassName"] = style
    if backend:
        spec["defaultBackend"] = _backend(*backend.split(":", 1))
    if hosts:
        spec["rules"] = [({"host": host} if host else {}) | {"http": {"paths": paths}} for host, paths in hosts.items()]
    if tls:
        spec["tls"] = tls
    made = document("networking.k8s.io/v1", "Ingress", name, spec=spec, status={"loadBalancer": {}})
    if annotations:
        made["metadata"]["annotations"] = pairs(annotations)
    return made


def _backend(target: str, port: str = "") -> dict[str, Any]:
    number: dict[str, Any] = {"number": int(port)} if port.isdigit() else {"name": port}
    return {"service": {"name": target, "port": number}}


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE texts as a mapping. Raises CommandFailed."""
    made = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise CommandFailed(f"unexpected label format: {text}")
        made[key] = value
    return made
