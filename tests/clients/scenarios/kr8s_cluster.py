"""A pytest plugin for kr8s's own suite: the cluster its tests ask for is the one KUBECONFIG names, not a new one."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class Cluster:
    """What the suite uses of a cluster."""

    kubectl_path = Path(os.environ.get("KR8S_KUBECTL", "kubectl"))
    kubeconfig_path = Path(os.environ["KUBECONFIG"])

    def kubectl(self, *words: str) -> str:
        return subprocess.check_output([str(self.kubectl_path), *words], encoding="utf-8")


@pytest.fixture(scope="session", autouse=True)
def k8s_cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def ensure_gc() -> Iterator[None]:
    gc.collect()
    yield
    gc.collect()
