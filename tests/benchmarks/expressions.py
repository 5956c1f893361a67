"""What expressions in CEL cost: reading one, evaluating one, holding a custom resource to its rules, and fifty large definitions."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekube.api.cel import compile_expression
from edgekube.api.schema_expressions import Rules, definition_errors
from edgekube.api.schema_rules import validate
from edgekube.api.schema_types import declared
from tests.benchmarks.api import Connection, tls
from tests.benchmarks.figures import Figure, pss_mib, settle
from tests.support import ROOT, api_server

ROUNDS, CALLS = 5, 200
DEFINITIONS, PROPERTIES = 50, 150
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LOADED = """
import time
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
import edgekube.api.schema
before, begun = resident(), time.perf_counter()
from edgekube.api.cel import compile_expression
compile_expression("1 < 2", {})
print((time.perf_counter() - begun) * 1e3, resident() - before)
"""


def _best_us(call: Callable[[], Any]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter() - begun) / CALLS * 1e6)
    return min(rounds)


def _schema() -> dict[str, Any]:
    item = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 63}, "port": {"type": "integer"}}}
    rules = [
        {"rule": "self.min <= self.max", "message": "min must not exceed max"},
        {"rule": "self.ports.all(p, p.port > 0 && p.name.matches('^[a-z]+$'))"},
        {"rule": "!has(oldSelf.name) || self.name == oldSelf.name"},
    ]
    spec = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 63},
            "min": {"type": "integer"},
            "max": {"type": "integer"},
            "ports": {"type": "array", "maxItems": 20, "items": item},
        },
        "x-kubernetes-validations": rules,
    }
    return {"type": "object", "properties": {"spec": spec}}


def _large(number: int) -> dict[str, Any]:
    """A definition of some 60 KB, as operators bring them: deep, described, with rules."""
    leaf = {"type": "string", "description": "What this is for, in a sentence or two, as generators write it. " * 3}
    inner = {
        f"field{n}": {"type": "object", "properties": {"a": leaf, "b": {"type": "integer"}}} for n in range(PROPERTIES)
    }
    spec = {
        "type": "object",
        "properties": {**inner, "n": {"type": "integer"}},
        "x-kubernetes-validations": [
            {"rule": "!has(self.n) || self.n > 0"},
            {"rule": "!has(self.n) || self.n >= oldSelf.n"},
        ],
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things{number}.bench.example.org"},
        "spec": {
            "group": "bench.example.org",
            "scope": "Namespaced",
            "names": {"plural": f"things{number}", "kind": f"Thing{number}"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def rules_in_cel(directory: Path) -> list[Figure]:
    """In this process: one expression, and a custom resource with three rules; beside it the same without them."""
    schema = _schema()
    spec = declared(schema["properties"]["spec"])
    assert spec is not None
    ports = [{"name": f"port{'abc'[n % 3]}", "port": 80 + n} for n in range(10)]
    document = {"spec": {"name": "a", "min": 1, "max": 3, "ports": [{**one, "name": "http"} for one in ports]}}
    simple, looped = "self.min <= self.max", "self.ports.all(p, p.port > 0 && p.name.startsWith('h'))"
    variables, bound = {"self": spec}, {"self": document["spec"]}
    compared, all_ports = compile_expression(simple, variables), compile_expression(looped, variables)
    rules = Rules(schema)
    assert validate(document, schema, document, rules) == []
    loading = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    milliseconds, megabytes = map(float, loading.stdout.split())
    return [
        Figure("CEL: loaded when the first expression appears", milliseconds, "ms"),
        Figure("CEL: memory of that", megabytes, "MiB"),
        Figure("CEL: compile a comparison", _best_us(lambda: compile_expression(simple, variables)), "us"),
        Figure("CEL: evaluate a comparison", _best_us(lambda: compared.evaluate(bound)), "us"),
        Figure("CEL: evaluate a loop over ten objects", _best_us(lambda: all_ports.evaluate(bound)), "us"),
        Figure("custom resource against its schema", _best_us(lambda: validate(document, schema, document)), "us"),
        Figure("the same with three rules", _best_us(lambda: validate(document, schema, document, rules)), "us"),
        Figure("three rules accepted in a definition", _best_us(lambda: definition_errors("s", schema)), "us"),
    ]


def many_definitions(directory: Path) -> list[Figure]:
    """A server before and after fifty large definitions, and after a custom resource of each."""
    with api_server(directory) as server:
        connection = Connection(server, tls(server))
        settle(server.process.pid)
        before = pss_mib(server.process.pid)
        begun = time.monotonic()
        for number in range(DEFINITIONS):
            connection.ask("POST", CRDS, _large(number))
        taken = time.monotonic() - begun
        settle(server.process.pid)
        after = pss_mib(server.process.pid)
        for number in range(DEFINITIONS):
            thing = {
                "apiVersion": "bench.example.org/v1",
                "kind": f"Thing{number}",
                "metadata": {"name": "a"},
                "spec": {"n": 1},
            }
            connection.ask("POST", f"/apis/bench.example.org/v1/namespaces/default/things{number}", thing)
        settle(server.process.pid)
        used = pss_mib(server.process.pid)
    return [
        Figure("PSS before definitions", before, "MiB"),
        Figure(f"PSS after {DEFINITIONS} large definitions", after, "MiB"),
        Figure("PSS after an object of each", used, "MiB"),
        Figure("one large definition, accepted and durable", taken / DEFINITIONS * 1e3, "ms"),
    ]
