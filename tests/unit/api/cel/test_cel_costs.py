"""What expressions are estimated to cost, and what stops them while they run."""

from __future__ import annotations

import pytest

from edgekube.api.cel import Budget, CostExceeded, compile_expression
from edgekube.api.cel import types as t
from edgekube.api.cel.types import INT, STRING, UNBOUNDED, Type

SHORT = Type("string", max_elements=40)
SELF = t.object_of(
    "object",
    {
        "short": (SHORT, "short"),
        "long": (Type("string", max_elements=3145726), "long"),
        "list": (t.list_of(SHORT, max_elements=10), "list"),
        "lists": (t.list_of(t.list_of(INT, max_elements=5), max_elements=10), "lists"),
        "map": (t.map_of(STRING, INT, max_elements=4), "map"),
        "n": (INT, "n"),
    },
)


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("true", 0),
        ("self.n == 1", 2),
        ("has(self.n)", 1),
        ("self.n + self.n > 2", 6),
        ("self.short == 'abc'", 3),  # the shorter text is gone through
        ("self.short.startsWith('abc')", 3),
        ("self.short.contains('abcdefghijk')", 2 + 4 * 2),
        ("self.short.matches('abcd')", 2 + 5 * 1),
        ("self.list.all(x, x == 'a')", 2 + 1 + 10 * (2 + 1 + 2)),
        ("self.list.size() < 5", 4),
        ("'a' in self.list", 2 + 10),
        ("self.lists.all(l, l.all(n, n > 0))", 2 + 1 + 10 * (2 + 1 + 1 + 1 + 5 * (2 + 1 + 2))),
        ("self.list.map(x, x.size()).sum() > 0", 2 + 10 + 10 * (1 + 12 + 1) + 1 + 10 + 1),
        ("self.map.all(k, k.matches('^a$'))", 2 + 4 * (2 + 1 + 1 + 1) + 1),  # keys count as empty
        ("self.lists.all(l, l == l)", 2 + 10 * (2 + 1 + 1 + 1 + 1) + 1),
        ("self.map.all(k, self.map[k] > 0)", 2 + 4 * (2 + 1 + 5) + 1),
        ("[1, 2, 3].exists(i, i == 2)", 10 + 3 * (3 + 1 + 2) + 1),
        ("self.short + self.short == ''", 4 + 8),
        ("quantity(self.short).isInteger()", 2 + 4 + 1),
        ("self.short.replace('a', 'b').size() > 0", 12),
    ],
)
def test_estimates(text: str, most: int) -> None:
    assert compile_expression(text, {"self": SELF}, root=SELF).cost == most


def test_what_is_not_bounded_is_not_estimated() -> None:
    assert (
        compile_expression("self.list.all(x, y.all(z, true))", {"self": SELF, "y": t.DYN}, root=None).cost == UNBOUNDED
    )
    cost = compile_expression("self.long.matches(self.long)", {"self": SELF}, root=SELF).cost
    assert cost > 10**10


def test_one_evaluation_is_stopped_when_it_takes_too_much() -> None:
    program = compile_expression("x.all(a, x.all(b, x.all(c, a + b + c >= 0)))", {"x": t.list_of(INT)})
    assert program.evaluate({"x": list(range(10))}) is True
    with pytest.raises(CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate({"x": list(range(100))})


def test_a_long_search_is_paid_for() -> None:
    program = compile_expression("x.matches('" + "a?" * 1000 + "')", {"x": STRING})
    with pytest.raises(CostExceeded):
        program.evaluate({"x": "b" * 1_000_000})


def test_several_evaluations_share_a_budget() -> None:
    program = compile_expression("x.all(a, a >= 0)", {"x": t.list_of(INT)})
    budget = Budget(2000)
    program.evaluate({"x": list(range(100))}, budget)
    assert 1000 < budget.left < 1900
    program.evaluate({"x": list(range(400))}, budget)
    assert budget.left < 0
