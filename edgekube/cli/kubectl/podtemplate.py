"""A pod template in words, as kubectl describes one: labels, containers, volumes, where it may run."""

from __future__ import annotations

from typing import Any


def template_text(template: dict[str, Any]) -> str:
    """The "Pod Template:" block, indented with blanks and separated by tabs as kubectl leaves it."""
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    lines = ["Pod Template:", *_pairs("  Labels:", meta.get("labels"), "=")]
    if meta.get("annotations"):
        lines += _pairs("  Annotations:", meta["annotations"], ": ")
    if spec.get("serviceAccountName"):
        lines.append(f"  Service Account:\t{spec['serviceAccountName']}")
    for title, member in (("Init Containers", "initContainers"), ("Containers", "containers")):
        if spec.get(member):
            lines.append(f"  {title}:")
            for container in spec[member]:
                lines += _container(container)
    lines += _volumes(spec.get("volumes") or [])
    if spec.get("topologySpreadConstraints"):
        lines.append("  Topology Spread Constraints:")
    if spec.get("priorityClassName"):
        lines.append(f"  Priority Class Name:\t{spec['priorityClassName']}")
    lines += _pairs("  Node-Selectors:", spec.get("nodeSelector"), "=")
    lines += _listed("  Tolerations:", [toleration_text(one) for one in spec.get("tolerations") or ()])
    return "\n".join(lines) + "\n"


def toleration_text(toleration: dict[str, Any]) -> str:
    """ "key=value:Effect op=Exists for 300s"."""
    text = str(toleration.get("key") or "")
    if toleration.get("value"):
        text += f"={toleration['value']}"
    if toleration.get("effect"):
        text += f":{toleration['effect']}"
    if toleration.get("operator") == "Exists" and not toleration.get("value"):
        text += " op=Exists" if text else "op=Exists"
    if toleration.get("tolerationSeconds") is not None:
        text += f" for {toleration['tolerationSeconds']}s"
    return text


def _pairs(head: str, pairs: dict[str, str] | None, joint: str) -> list[str]:
    return _listed(head, [f"{key}{joint}{value}" for key, value in sorted((pairs or {}).items())])


def _listed(head: str, values: list[str]) -> list[str]:
    if not values:
        return [f"{head}\t<none>"]
    return [f"{head}\t{values[0]}", *(f"\t{value}" for value in values[1:])]


def _container(container: dict[str, Any]) -> list[str]:
    ports = container.get("ports") or []
    lines = [f"   {container['name']}:", f"    Image:\t{container.get('image', '')}"]
    many = "s" if len(ports) > 1 else ""
    lines.append(
        f"    Port{many}:\t"
        + (", ".join(f"{port['containerPort']}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>")
    )
    lines.append(
        f"    Host Port{many}:\t"
        + (", ".join(f"{port.get('hostPort', 0)}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>")
    )
    for title, member in (("Command", "command"), ("Args", "args")):
        if container.get(member):
            lines += [f"    {title}:", *(f"      {word}" for word in container[member])]
    for title, member in (("Limits", "limits"), ("Requests", "requests")):
        amounts = (container.get("resources") or {}).get(member)
        if amounts:
            lines += [f"    {title}:", *(f"      {name}:\t{amount}" for name, amount in sorted(amounts.items()))]
    lines += _environment(container.get("env") or [])
    mounts = [
        f"      {mount['mountPath']} from {mount['name']} ({'ro' if mount.get('readOnly') else 'rw'})"
        for mount in sorted(container.get("volumeMounts") or (), key=lambda mount: mount["mountPath"])
    ]
    return [*lines, "    Mounts:", *mounts] if mounts else [*lines, "    Mounts:\t<none>"]


def _environment(entries: list[dict[str, Any]]) -> list[str]:
    if not entries:
        return ["    Environment:\t<none>"]
    lines = ["    Environment:"]
    for entry in entries:
        source = entry.get("valueFrom") or {}
        text = entry.get("value", "")
        if reference := source.get("configMapKeyRef") or source.get("secretKeyRef"):
            kind = "config map" if "configMapKeyRef" in source else "secret"
            optional = str(bool(reference.get("optional"))).lower()
            text = (
                f"<set to the key '{reference['key']}' of {kind} '{reference.get('name', '')}'>\tOptional: {optional}"
            )
        elif reference := source.get("fieldRef"):
            text = f" ({reference.get('apiVersion', 'v1')}:{reference['fieldPath']})"
        elif reference := source.get("resourceFieldRef"):
            text = f" ({reference['resource']})"
        lines.append(f"      {entry['name']}:\t{text}")
    return lines


def _volumes(volumes: list[dict[str, Any]]) -> list[str]:
    if not volumes:
        return ["  Volumes:\t<none>"]
    lines = ["  Volumes:"]
    for volume in volumes:
        source = next((name for name in volume if name != "name"), "emptyDir")
        lines.append(f"   {volume['name']}:\n    Type:\t{source[:1].upper()}{source[1:]}")
        body = volume.get(source) or {}
        lines += [f"    {key[:1].upper()}{key[1:]}:\t{value}" for key, value in body.items() if isinstance(value, str)]
    return lines
