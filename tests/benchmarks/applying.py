"""What ownership of fields costs: server-side apply and the record kept of a plain update, for an object of 5 KB."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

from edgekube.api import applying
from edgekube.kinds.catalog import built_in
from tests.benchmarks.api import Connection, tls
from tests.benchmarks.figures import Figure
from tests.support import api_server

ROUNDS, CALLS = 7, 60
NOW = "2026-01-02T03:04:05Z"
PATH = "/apis/apps/v1/namespaces/default/deployments/d"


def deployment(replicas: int) -> dict[str, Any]:
    """A Deployment of 5 KB as somebody applies it: three containers with environments, probes and mounts."""
    containers = [
        {
            "name": f"c{n}",
            "image": f"registry.example/c{n}:1",
            "env": [{"name": f"SETTING_{i}", "value": f"value {i} " + "x" * 30} for i in range(6)],
            "ports": [{"containerPort": 8000 + n, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": 8000 + n}, "periodSeconds": 5},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }
        for n in range(3)
    ]
    labels = {"app": "bench"}
    spec = {"containers": containers, "volumes": [{"name": "v", "emptyDir": {}}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _best_us(call: Callable[[], Any]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter() - begun) / CALLS * 1e6)
    return min(rounds)


def server_side_apply(directory: Path) -> list[Figure]:
    """The pure parts in this process, and a whole request over HTTPS."""
    kind = next(one for one in built_in() if one.name == "Deployment")
    schema = applying.schema_of(kind.type)

    def applied(live: dict[str, Any] | None, wanted: dict[str, Any]) -> dict[str, Any]:
        made = applying.apply(live, wanted, manager="m", api_version="apps/v1", now_text=NOW, schema=schema)
        item = kind.from_dict(made)
        kind.default(item)
        return kind.to_dict(item)

    first, second = deployment(1), deployment(2)
    live = applied(None, first)
    changed = deepcopy(live)
    changed["spec"]["replicas"] = 2
    size = len(json.dumps(live, separators=(",", ":")))

    def pure(wanted: dict[str, Any]) -> Callable[[], Any]:
        return lambda: applying.apply(live, wanted, manager="m", api_version="apps/v1", now_text=NOW, schema=schema)

    def track() -> Any:
        return applying.track_update(live, changed, manager="m", api_version="apps/v1", now_text=NOW, schema=schema)

    made = [
        Figure(f"apply {size / 1024:.1f} KB, one field changes", _best_us(pure(second)), "us"),
        Figure("apply the same again", _best_us(pure(first)), "us"),
        Figure("record of an update of one field", _best_us(track), "us"),
    ]
    with api_server(directory) as server:
        connection = Connection(server, tls(server))
        taken = []
        for number in range(CALLS):
            body = json.dumps(deployment(number % 2)).encode()
            begun = time.perf_counter()
            headers = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}
            connection.http.request("PATCH", f"{PATH}?fieldManager=bench", body, headers)
            answer = connection.http.getresponse()
            content = answer.read()
            assert answer.status < 300, content[:500]
            taken.append((time.perf_counter() - begun) * 1e6)
    made.append(Figure("apply over HTTPS, durably", statistics.median(taken), "us"))
    return made
