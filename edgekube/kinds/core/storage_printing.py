"""Table cells and warnings that volumes and claims share. Source: upstream's pkg/apis/core/helper (access modes, storage classes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_SHORT = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def access_modes(modes: Sequence[str]) -> str:
    """ "RWO,RWX": each mode once, in a fixed order."""
    return ",".join(short for mode, short in _SHORT.items() if mode in modes)


def storage_class(item: Any) -> str:
    """The class of a volume or claim; the annotation from before there was a field counts more."""
    annotated = item.metadata.annotations.get(BETA_CLASS)
    return annotated if annotated is not None else item.spec.storage_class_name or ""


def old_annotations(annotations: Mapping[str, str]) -> list[str]:
    """Warnings about annotations that became fields."""
    if BETA_CLASS not in annotations:
        return []
    return [f'metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use "storageClassName" attribute instead']
