"""Static pods: manifests in a directory of the node, run without asking anybody, shown to the API as mirror pods.

Source: kubelet config/file.go, config/common.go (naming, uid, annotations), pod/mirror_client.go.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import msgspec

from edgekube.api.meta import ObjectMeta, OwnerReference
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import Toleration

CONFIG_SOURCE = "kubernetes.io/config.source"
CONFIG_HASH = "kubernetes.io/config.hash"
CONFIG_MIRROR = "kubernetes.io/config.mirror"
SUFFIXES = (".yaml", ".yml", ".json", ".manifest")
MANIFEST_LIMIT_BYTES = 1024 * 1024

log = logging.getLogger("edgekube.node.static")


def is_mirror(pod: Pod) -> bool:
    """Whether an API pod only shows a static one."""
    return CONFIG_MIRROR in pod.metadata.annotations


def make_static(document: dict[str, Any], node_name: str, source: str) -> Pod:
    """A manifest as the pod this node runs. Raises msgspec.ValidationError, ValueError."""
    if document.get("kind") != "Pod" or document.get("apiVersion") != "v1":
        raise ValueError(f"{source}: not a v1 Pod")
    pod = pod_kind.KIND.from_dict(document)
    meta = pod.metadata
    if not meta.name:
        raise ValueError(f"{source}: the pod has no name")
    digest = hashlib.md5(
        json.dumps(document, sort_keys=True).encode() + f"host:{node_name}file:{source}".encode(), usedforsecurity=False
    ).hexdigest()
    uid = meta.uid or digest
    annotations = dict(meta.annotations) | {CONFIG_SOURCE: "file", CONFIG_HASH: digest}
    made = ObjectMeta(
        name=f"{meta.name}-{node_name}",
        namespace=meta.namespace or "default",
        uid=uid,
        labels=dict(meta.labels),
        annotations=annotations,
        generation=1,
    )
    pod = msgspec.structs.replace(pod, metadata=made)
    pod_kind.KIND.default(pod)
    pod.spec.node_name = node_name
    pod.spec.tolerations = [*pod.spec.tolerations, Toleration(operator="Exists", effect="NoExecute")]
    return pod


def make_mirror(pod: Pod, node_name: str, node_uid: str) -> Pod:
    """What is created at the API to show a static pod."""
    annotations = dict(pod.metadata.annotations)
    annotations[CONFIG_MIRROR] = annotations[CONFIG_HASH]
    owner = OwnerReference(api_version="v1", kind="Node", name=node_name, uid=node_uid, controller=True)
    meta = ObjectMeta(
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        labels=dict(pod.metadata.labels),
        annotations=annotations,
        owner_references=[owner] if node_uid else [],
    )
    return Pod(metadata=meta, spec=pod.spec)


class StaticPods:
    """The directory's pods; `read` parses only files that changed."""

    def __init__(self, directory: Path, node_name: str) -> None:
        self._directory, self._node_name = directory, node_name
        self._known: dict[Path, tuple[tuple[int, int], list[Pod]]] = {}

    def read(self) -> dict[str, Pod]:
        """The pods by uid. A broken manifest is told once and left out."""
        found: dict[str, Pod] = {}
        present = set()
        files = sorted(self._directory.iterdir()) if self._directory.is_dir() else []
        for path in files:
            if path.name.startswith(".") or path.suffix not in SUFFIXES or not path.is_file():
                continue
            present.add(path)
            state = path.stat()
            stamp = (state.st_mtime_ns, state.st_size)
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                known = self._known[path] = (stamp, self._parse(path))
            for pod in known[1]:
                found[pod.metadata.uid] = pod
        for gone in set(self._known) - present:
            del self._known[gone]
        return found

    def _parse(self, path: Path) -> list[Pod]:
        import yaml

        made = []
        try:
            with path.open("rb") as file:
                text = file.read(MANIFEST_LIMIT_BYTES)
            for document in yaml.safe_load_all(text):
                if document:
                    made.append(make_static(document, self._node_name, str(path)))
        except (OSError, ValueError, yaml.YAMLError, msgspec.ValidationError) as error:
            log.warning("static pod %s is left out: %s", path, error)
        return made
