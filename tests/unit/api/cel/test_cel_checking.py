"""What is said of expressions that are not of the language, or do not fit what is declared: upstream's words, place and mark."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekube.api.cel import CelError, CompileError, compile_expression
from edgekube.api.cel import types as t
from edgekube.api.cel.lexer import string_value
from edgekube.api.cel.types import BOOL, DYN, INT, STRING

START = (
    "'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
SELF = t.object_of(
    "object",
    {
        "name": (STRING, "name"),
        "n": (INT, "n"),
        "tags": (t.list_of(STRING), "tags"),
        "map": (t.map_of(STRING, INT), "map"),
        "__namespace__": (STRING, "namespace"),
        "any": (DYN, "any"),
    },
)


def told(text: str) -> str:
    with pytest.raises(CompileError) as failure:
        compile_expression(text, {"self": SELF, "a.b": INT})
    return str(failure.value).split("\n")[0].removeprefix("ERROR: <input>:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 +", f"1:4: Syntax error: mismatched input '<EOF>' expecting {{{START}"),
        ("", f"1:1: Syntax error: mismatched input '<EOF>' expecting {{{START}"),
        (
            "size(",
            "1:6: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', ')', " + START.partition("'(', ")[2],
        ),
        ("(1 + 2", "1:7: Syntax error: missing ')' at '<EOF>'"),
        ("[1, 2", "1:6: Syntax error: missing ']' at '<EOF>'"),
        ("1 2", "1:3: Syntax error: extraneous input '2' expecting <EOF>"),
        ("1 ? 2", "1:6: Syntax error: mismatched input '<EOF>' expecting ':'"),
        ("1 + $", "1:5: Syntax error: token recognition error at: '$'"),
        ("self.", "1:6: Syntax error: no viable alternative at input '.'"),
        ("'a\\q'", "1:1: Syntax error: token recognition error at: ''a\\q''"),
        ("99999999999999999999", "1:1: invalid int literal"),
        ("for == 1", "1:1: reserved identifier: for"),
        ("has(self)", "1:5: invalid argument to has() macro"),
        ("self.tags.all(1, true)", "1:15: argument must be a simple name"),
        ("self.tags.map(1, true)", "1:15: argument is not an identifier"),
        ("self.tags.all(i, i, true)", "1:18: duplicate variable name: i"),
        ("self.nope == 1", "1:5: undefined field 'nope'"),
        ("has(self.nope)", "1:4: undefined field 'nope'"),
        ("self.?nope.hasValue()", "1:5: undefined field 'nope'"),
        ("self.n.x == 1", "1:7: type 'int' does not support field selection"),
        ("nope", "1:1: undeclared reference to 'nope' (in container '')"),
        ("nope(1)", "1:5: undeclared reference to 'nope' (in container '')"),
        ("self.name.nope()", "1:15: undeclared reference to 'nope' (in container '')"),
        ("Nope{a: 1}", "1:5: undeclared reference to 'Nope' (in container '')"),
        ("int{a: 1}", "1:4: 'int' is not a message type"),
        ("self.n + self.name == 1", "1:8: found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.name.size(1) == 1", "1:15: found no matching overload for 'size' applied to 'string.(int)'"),
        ("!self.n", "1:1: found no matching overload for '!_' applied to '(int)'"),
        ("self.n && true", "1:5: expected type 'bool' but found 'int'"),
        ("[1, 'a'] == []", "1:5: expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': 'c'} == {}", "1:15: expected type 'int' but found 'string'"),
        (
            "self.n.all(i, true)",
            "1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("self.tags.all(i, i + 1 == 2)", "1:20: found no matching overload for '_+_' applied to '(string, int)'"),
        ("true ? 1 : 'a'", "1:6: found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
        ("self.name.matches('(')", "1:19: invalid matches argument"),
        ("duration('x') == duration('1s')", "1:10: invalid duration argument"),
        ("timestamp('x') == timestamp('2020-01-01T00:00:00Z')", "1:11: invalid timestamp argument"),
        ("\n\n  self.nope", "3:7: undefined field 'nope'"),
    ],
)
def test_what_is_wrong(text: str, words: str) -> None:
    assert told(text) == words


def test_all_errors_are_told_with_line_and_mark() -> None:
    with pytest.raises(CompileError) as failure:
        compile_expression("self.a == 1 &&\n\tself.b", {"self": SELF})
    assert str(failure.value) == (
        "ERROR: <input>:1:5: undefined field 'a'\n | self.a == 1 &&\n | ....^\n"
        "ERROR: <input>:2:6: undefined field 'b'\n |  self.b\n | .....^"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("self.tags.map(x, x.size())", "list(int)"),
        ("self.map.filter(k, self.map[k] > 1)", "list(string)"),
        ("self.any.b + 1", "int"),
        ("self.any.b", "dyn"),
        ("self.?name", "optional_type(string)"),
        ("[]", "list(dyn)"),
        ("{}", "map(dyn, dyn)"),
        ("self.tags[0]", "string"),
        ("self.map.a", "int"),
        ("self.__namespace__", "string"),
        ("a.b + 1", "int"),
        ("null", "null"),
        ("duration('1s')", "duration"),
        ("type(1)", "type(int)"),
        ("self.any.x ? 1 : 2", "int"),
        ("[self.any, 1]", "list(dyn)"),
    ],
)
def test_types(text: str, shown: str) -> None:
    assert str(compile_expression(text, {"self": SELF, "a.b": INT}).type) == shown


def test_a_property_may_have_a_name_that_is_a_word() -> None:
    program = compile_expression("self.__namespace__ == 'x' && has(self.__namespace__)", {"self": SELF}, result=BOOL)
    assert program.evaluate({"self": {"namespace": "x"}}) is True


def test_what_an_expression_must_come_to() -> None:
    with pytest.raises(CompileError, match="must evaluate to bool but got int"):
        compile_expression("1", {}, result=BOOL)


def test_long_and_deep_expressions_are_refused() -> None:
    with pytest.raises(CompileError, match="exceeds limit"):
        compile_expression("1" * 100_001, {})
    with pytest.raises(CompileError, match="recursion limit exceeded"):
        compile_expression("(" * 300 + "1" + ")" * 300, {})
    assert compile_expression(" && ".join(["true"] * 2000), {}).evaluate({}) is True


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="self.ntags()[]{}?:+-*/%!&|<>='\"0123abx, \n\\`", max_size=30))
def test_anything_is_read_or_refused(text: str) -> None:
    words = ""
    try:
        compile_expression(text, {"self": SELF})
    except CompileError as problem:
        words = str(problem)
    assert not words or words.startswith("ERROR: <input>:")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20).filter(lambda text: not any(0xD800 <= ord(one) < 0xE000 for one in text)))
def test_texts_come_through(text: str) -> None:
    quoted = "".join(one if one.isalnum() and one.isascii() else f"\\U{ord(one):08x}" for one in text)
    assert string_value(f"'{quoted}'") == text
    assert compile_expression(f'"{quoted}"', {}).evaluate({}) == text


@settings(max_examples=100, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_arithmetic_is_gos(a: int, b: int) -> None:
    sum_, quotient = (
        compile_expression("a + b", {"a": INT, "b": INT}),
        compile_expression("a / b * b + a % b", {"a": INT, "b": INT}),
    )
    if -(2**63) <= a + b < 2**63:
        assert sum_.evaluate({"a": a, "b": b}) == a + b
    else:
        with pytest.raises(CelError, match="integer overflow"):
            sum_.evaluate({"a": a, "b": b})
    if b and not (a == -(2**63) and b == -1):
        assert quotient.evaluate({"a": a, "b": b}) == a
