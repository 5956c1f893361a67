"""Expressions in CEL: see `program` for the door, `admission` for what policies and webhooks may speak of.

Loaded when the first expression appears, not before: importing anything of this package costs.
"""

from edgekube.api.cel.program import (
    BUDGET,
    CALL_COST,
    CONDITIONS_BUDGET,
    Budget,
    CelError,
    CompileError,
    CostExceeded,
    Program,
    compile_expression,
)

__all__ = [
    "BUDGET",
    "CALL_COST",
    "CONDITIONS_BUDGET",
    "Budget",
    "CelError",
    "CompileError",
    "CostExceeded",
    "Program",
    "compile_expression",
]
