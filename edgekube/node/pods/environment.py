"""The environment of a container: envFrom, env, references, expansion, and the variables of services. Pure.

Source: kubelet makeEnvironmentVariables and envvars/envvars.go (behaviour).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgekube.kinds.core.configmap import ConfigMap
from edgekube.kinds.core.container import EnvFromSource, EnvVar
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.secret import Secret
from edgekube.kinds.core.service import Service
from edgekube.node.pods.fields import Unresolved, expand, field_value
from edgekube.node.pods.resources import resource_value
from edgekube.node.pods.seen import AnyContainer, every_container, find_container

_NAME = re.compile(r"[ -<>-~]+")  # printable ASCII without "="


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies around a pod: objects it refers to (None = not there), services, and its node."""

    config_maps: Mapping[str, ConfigMap | None] = field(default_factory=dict)
    secrets: Mapping[str, Secret | None] = field(default_factory=dict)
    services: Sequence[Service] = ()
    allocatable: Mapping[str, str] = field(default_factory=dict)
    node_name: str = ""
    host_ips: tuple[str, ...] = ()


def referred(pod: Pod) -> tuple[set[str], set[str]]:
    """Names of (ConfigMaps, Secrets) that the environments of a pod's containers refer to."""
    maps: set[str] = set()
    secrets: set[str] = set()
    for container in every_container(pod):
        for source in container.env_from:
            if source.config_map_ref is not None:
                maps.add(source.config_map_ref.name)
            if source.secret_ref is not None:
                secrets.add(source.secret_ref.name)
        for variable in container.env:
            origin = variable.value_from
            if origin is not None and origin.config_map_key_ref is not None:
                maps.add(origin.config_map_key_ref.name)
            if origin is not None and origin.secret_key_ref is not None:
                secrets.add(origin.secret_key_ref.name)
    return maps - {""}, secrets - {""}


def environment(pod: Pod, container: AnyContainer, around: Surroundings) -> dict[str, str]:
    """Name -> value, in the order a container sees them. Raises Unresolved in the kubelet's words."""
    made: dict[str, str] = {}
    for source in container.env_from:
        made.update(_from_source(pod, source, around))
    links = service_variables(pod, around.services)

    def lookup(name: str) -> str | None:
        return made.get(name, links.get(name))

    for variable in container.env:
        value = _value(pod, container, variable, around)
        if value is None:
            continue  # an optional reference to nothing
        made[variable.name] = expand(value, lookup) if variable.value_from is None else value
    for name, value in links.items():
        made.setdefault(name, value)
    return made


def _from_source(pod: Pod, source: EnvFromSource, around: Surroundings) -> dict[str, str]:
    pairs: Mapping[str, str]
    if (wanted := source.config_map_ref) is not None:
        config_map = around.config_maps.get(wanted.name)
        if config_map is None:
            if wanted.optional:
                return {}
            raise Unresolved(f'configmap "{wanted.name}" not found')
        pairs = config_map.data
    elif (sealed := source.secret_ref) is not None:
        secret = around.secrets.get(sealed.name)
        if secret is None:
            if sealed.optional:
                return {}
            raise Unresolved(f'secret "{sealed.name}" not found')
        pairs = {key: value.decode(errors="surrogateescape") for key, value in secret.data.items()}
    else:
        return {}
    return {source.prefix + key: pairs[key] for key in sorted(pairs) if _NAME.fullmatch(source.prefix + key)}


def _value(pod: Pod, container: AnyContainer, variable: EnvVar, around: Surroundings) -> str | None:
    origin = variable.value_from
    if origin is None:
        return variable.value
    if origin.field_ref is not None:
        path = origin.field_ref.field_path
        return field_value(pod, path, node_name=around.node_name, host_ips=around.host_ips)
    if (wanted := origin.resource_field_ref) is not None:
        holder = find_container(pod, wanted.container_name) if wanted.container_name else container
        return resource_value(holder or container, wanted.resource, wanted.divisor or "", around.allocatable)
    if (key := origin.config_map_key_ref) is not None:
        config_map = around.config_maps.get(key.name)
        if config_map is not None and key.key in config_map.data:
            return config_map.data[key.key]
        if key.optional:
            return None
        if config_map is None:
            raise Unresolved(f'configmap "{key.name}" not found')
        raise Unresolved(f"couldn't find key {key.key} in ConfigMap {pod.metadata.namespace}/{key.name}")
    if (sealed := origin.secret_key_ref) is not None:
        secret = around.secrets.get(sealed.name)
        if secret is not None and sealed.key in secret.data:
            return secret.data[sealed.key].decode(errors="surrogateescape")
        if sealed.optional:
            return None
        if secret is None:
            raise Unresolved(f'secret "{sealed.name}" not found')
        raise Unresolved(f"couldn't find key {sealed.key} in Secret {pod.metadata.namespace}/{sealed.name}")
    return ""


def service_variables(pod: Pod, services: Iterable[Service]) -> dict[str, str]:
    """The variables of the `kubernetes` service and, unless the pod declines, of every service of its namespace."""
    made: dict[str, str] = {}
    links = pod.spec.enable_service_links is not False
    for service in sorted(services, key=lambda item: (item.metadata.namespace != "default", item.metadata.name)):
        meta, ip = service.metadata, service.spec.cluster_ip
        master = meta.namespace == "default" and meta.name == "kubernetes"
        if ip in ("", "None") or not service.spec.ports:
            continue
        if master or (links and meta.namespace == pod.metadata.namespace):
            made.update(_variables_of(service))
    return made


def _variables_of(service: Service) -> dict[str, str]:
    prefix = _variable(service.metadata.name)
    ip = service.spec.cluster_ip
    host = f"[{ip}]" if ":" in ip else ip
    first = service.spec.ports[0]
    made = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(first.port)}
    for port in service.spec.ports:
        if port.name:
            made[f"{prefix}_SERVICE_PORT_{_variable(port.name)}"] = str(port.port)
    for port in service.spec.ports:
        protocol = port.protocol or "TCP"
        url = f"{protocol.lower()}://{host}:{port.port}"
        if port is first:
            made[f"{prefix}_PORT"] = url
        link = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        made |= {link: url, f"{link}_PROTO": protocol.lower(), f"{link}_PORT": str(port.port), f"{link}_ADDR": ip}
    return made


def _variable(name: str) -> str:
    return name.replace("-", "_").upper()
