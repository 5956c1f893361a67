"""Print the figures: `python -m tests.benchmarks [NAME...] [--json FILE]`. Nothing here fails a build.

Memory is PSS (a process's fair share of what it shares), disk is bytes handed to the block layer, rates stand beside what the
same machine does without us. Each benchmark is one function in one module, listed in `BENCHMARKS`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import agents, api, applying, expressions, node, scheduling
from tests.benchmarks.figures import Figure

BENCHMARKS: tuple[Callable[[Path], list[Figure]], ...] = (
    api.start_and_memory,
    api.durable_writes,
    api.big_lists,
    api.watch_fan_out,
    api.idle_costs,
    api.command_start,
    applying.server_side_apply,
    expressions.rules_in_cel,
    expressions.many_definitions,
    node.pod_start,
    node.memory_with_node,
    scheduling.scheduling,
    agents.idle_agent,
    agents.many_agents,
)


def main(arguments: list[str]) -> int:
    """Run the named benchmarks (all without names)."""
    target = Path(arguments.pop(arguments.index("--json") + 1)) if "--json" in arguments else None
    names = [word for word in arguments if not word.startswith("--")]
    found: list[Figure] = []
    for benchmark in BENCHMARKS:
        if names and benchmark.__name__ not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="edgekube-bench-") as directory:
            for figure in benchmark(Path(directory)):
                print(figure.line(), flush=True)
                found.append(figure)
    if target:
        target.write_text(json.dumps([figure.__dict__ for figure in found], indent=1) + "\n")
    return 0


sys.exit(main(sys.argv[1:]))
