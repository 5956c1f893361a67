"""Expressions in CEL, for whoever has some: `compile_expression`, then `Program.evaluate`.

Written here and not taken from cel-python, for measured reasons (0.5.0, CPython 3.11, x86, CPU time; ours in parentheses): it
takes 23 MB and 200 ms to import and make its environment (2 MB and 90 ms, both when the first expression appears); `self.a <=
self.b` takes 185 us to evaluate (1 us), `self.items.all(i, i.name.startsWith('a') && i.port > 0)` over three items 1500 us (7 us),
and a document of a hundred small objects 6 ms to be made into its values (nothing: JSON is evaluated as it is). It has no type
checker, which Kubernetes' errors are made of, no cost estimates, and its grammar lacks `a.?b`, `[?x]` and back quotes.

Programs are pure: what the world says (who may do what) comes in as values. Compiled programs are kept, a bounded number of them.

Source: k8s.io/apiserver pkg/cel/environment/base.go for which libraries there are; pkg/apis/cel/config.go for limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from edgekube.api.cel import authorizing, checker, core, costs, evaluation, kubernetes, lists, parser, regex, texts
from edgekube.api.cel.ast import Comprehension, Ident, Node
from edgekube.api.cel.declarations import Functions, table
from edgekube.api.cel.errors import CelError, CompileError, CostExceeded
from edgekube.api.cel.types import BOOL, Type, is_dyn

# Of one call, of all calls for one object or binding, of all match conditions of one webhook or binding.
CALL_COST, BUDGET, CONDITIONS_BUDGET = 1_000_000, 10_000_000, 2_500_000
_MOST_PROGRAMS = 1024
_BASE_PRICE = 1

__all__ = ["BUDGET", "CALL_COST", "CONDITIONS_BUDGET", "Budget", "CelError", "CompileError", "CostExceeded", "Program",
           "compile_expression"]  # fmt: skip


@lru_cache(maxsize=2)
def functions(*, patching: bool = False) -> Functions:
    """Every function of Kubernetes v1.36; with those for JSON patches if asked."""
    libraries = [
        core.STANDARD, core.OPTIONALS, texts.STRINGS, lists.LISTS, regex.REGEX, kubernetes.QUANTITIES,
        kubernetes.ADDRESSES, kubernetes.URLS, kubernetes.FORMATS, kubernetes.SEMVER, authorizing.AUTHORIZING,
    ]  # fmt: skip
    if patching:
        libraries.append(kubernetes.JSON_POINTERS)
    return table(*libraries)


class Budget:
    """What several evaluations may cost together."""

    __slots__ = ("left",)

    def __init__(self, left: int = BUDGET) -> None:
        self.left = left


class Program:
    """An expression that can be evaluated. `cost` is what it takes at worst, `type` what it comes to, `names` what it refers to."""

    __slots__ = ("_price", "_run", "_slots", "_width", "cost", "names", "text", "type")

    def __init__(self, text: str, tree: Node, variables: Mapping[str, Type], root: Type | None) -> None:
        compiler = evaluation.Compiler(variables)
        self._run = compiler.compiled(tree)
        self._slots = {name: compiler.slots[name] for name in variables}
        self._width = compiler.width
        self._price = evaluation.weight(tree)
        self.text, self.type = text, tree.type
        self.cost = costs.estimate(tree, root)[1]
        self.names = _names(tree) & set(variables)

    def evaluate(self, bindings: Mapping[str, Any], budget: Budget | None = None, *, limit: int = CALL_COST) -> Any:
        """The value. A binding that is a CelError fails when it is looked at. Raises CelError, CostExceeded when it took too much."""
        frame = [evaluation._ABSENT] * self._width
        frame[0] = limit - self._price
        for name, slot in self._slots.items():
            if name in bindings:
                frame[slot] = bindings[name]
        try:
            return self._run(frame)
        except RecursionError:
            raise CelError("recursion limit exceeded") from None
        finally:
            if budget is not None:
                budget.left -= limit - max(frame[0], 0)


def _names(tree: Node) -> set[str]:
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Ident):
            found.add(node.name)
        waiting += checker.children(node)
        if isinstance(node, Comprehension):
            waiting.append(node.body)
    return found


def no_structs(_: str) -> Type | None:
    """No expression makes objects."""
    return None


def compile_expression(
    text: str,
    variables: Mapping[str, Type],
    *,
    result: Type | None = None,
    root: Type | None = None,
    structs: Callable[[str], Type | None] = no_structs,
    patching: bool = False,
) -> Program:
    """A program, or CompileError in upstream's words.

    `variables`: what is declared, by name ("request", "authorizer.requestResource"). `result`: what it must come to. `root`: the
    type whose sizes bound the estimate of its cost.
    """
    try:
        tree = checker.check(text, parser.parse(text), variables, functions(patching=patching), structs)
        program = Program(text, tree, variables, root)
    except RecursionError:
        raise CompileError(f"ERROR: <input>:-1:0: expression recursion limit exceeded: {parser.MAX_DEPTH}") from None
    if result is not None and tree.type != result and not (is_dyn(tree.type) and result is not BOOL):
        raise CompileError(f"must evaluate to {result} but got {tree.type}")
    return program
