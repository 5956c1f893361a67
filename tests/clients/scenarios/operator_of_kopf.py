"""An operator as people write them with kopf: it keeps a ConfigMap per Lamp, counts, cleans up, and watches the clock."""

from __future__ import annotations

import os
from typing import Any

import kopf
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

CONFLICT = 409
GROUP = os.environ["LAMP_GROUP"]


@kopf.on.startup()
def start(settings: kopf.OperatorSettings, **_: Any) -> None:
    config.load_kube_config()
    settings.posting.enabled = True
    settings.persistence.finalizer = f"{GROUP}/kopf"


@kopf.on.create(GROUP, "v1", "lamps")
def made(spec: kopf.Spec, name: str, namespace: str, body: kopf.Body, **_: Any) -> dict[str, str]:
    child = {"metadata": {"name": name}, "data": {"colour": spec["colour"]}}
    kopf.adopt(child)
    client.CoreV1Api().create_namespaced_config_map(namespace, child)
    kopf.info(body, reason="Lit", message=f"shines {spec['colour']}")
    return {"child": name}


@kopf.on.update(GROUP, "v1", "lamps", field="spec.colour")
def changed(old: str, new: str, name: str, namespace: str, **_: Any) -> dict[str, str]:
    client.CoreV1Api().patch_namespaced_config_map(name, namespace, {"data": {"colour": new, "before": old}})
    return {"colour": new}


@kopf.on.resume(GROUP, "v1", "lamps")
def resumed(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    patch.status["resumed"] = status.get("resumed", 0) + 1


@kopf.on.delete(GROUP, "v1", "lamps")
def put_out(name: str, namespace: str, **_: Any) -> None:
    """May be called again while a daemon takes its time to end, as any handler of kopf may."""
    try:
        client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"name": f"{name}-was-here"}})
    except ApiException as error:
        if error.status != CONFLICT:
            raise


@kopf.timer(GROUP, "v1", "lamps", interval=1.0)
def tick(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.daemon(GROUP, "v1", "lamps", cancellation_timeout=5)
async def glow(stopped: kopf.DaemonStopped, name: str, namespace: str, **_: Any) -> None:
    client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"generateName": f"{name}-glows-"}})
    await stopped.wait()


@kopf.on.event("", "v1", "configmaps", labels={"lamp": "switch"})
def switched(name: str, namespace: str, meta: kopf.Meta, **_: Any) -> None:
    if not meta.get("annotations", {}).get("seen"):
        client.CoreV1Api().patch_namespaced_config_map(name, namespace, {"metadata": {"annotations": {"seen": "yes"}}})
