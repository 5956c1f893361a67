"""Expressions as text to trees, with upstream's words for what is not one. Macros are put in while reading.

A parser by recursive descent that says what ANTLR's would: the first error of syntax ends it.

Source: cel-go parser/gen/CEL.g4 and parser/parser.go.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekube.api.cel import macros
from edgekube.api.cel.ast import Call, Ident, ListOf, Literal, MapOf, Node, Select, Struct
from edgekube.api.cel.errors import CompileError, Issue, told
from edgekube.api.cel.lexer import END, Token, number_value, string_value, tokens

MAX_DEPTH, MAX_CHARACTERS = 250, 100_000
RESERVED = frozenset(
    ("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
     "package", "namespace", "null", "return", "true", "var", "void", "while")
)  # fmt: skip
_ORDER = (
    "==", "!=", "in", "<", "<=", ">=", ">", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+",
    "*", "/", "%", "true", "false", "null", "NUM_FLOAT", "NUM_INT", "NUM_UINT", "STRING", "BYTES", "IDENTIFIER",
    "ESC_IDENTIFIER", END,
)  # fmt: skip
_STARTS = frozenset(
    ("[", "{", "(", ".", "-", "!", "true", "false", "null", "NUM_FLOAT", "NUM_INT", "NUM_UINT", "STRING", "BYTES",
     "IDENTIFIER")
)  # fmt: skip
_NAMES = frozenset(("IDENTIFIER", "ESC_IDENTIFIER"))
_RELATIONS = {"<": "_<_", "<=": "_<=_", ">": "_>_", ">=": "_>=_", "==": "_==_", "!=": "_!=_", "in": "@in"}
_SUMS, _PRODUCTS = {"+": "_+_", "-": "_-_"}, {"*": "_*_", "/": "_/_", "%": "_%_"}


class _Stop(Exception):
    """A syntax error was noted: nothing after it can be trusted."""


def parse(text: str) -> Node:
    """The tree of an expression. Raises CompileError."""
    if len(text) > MAX_CHARACTERS:
        raise CompileError(
            f"ERROR: <input>:-1:0: expression code point size exceeds limit: size: {len(text)}, limit {MAX_CHARACTERS}"
        )
    issues: list[Issue] = []
    parser = _Parser(tokens(text, issues), issues)
    try:
        tree = parser.whole()
    except _Stop:
        tree = None
    if issues or tree is None:
        raise CompileError(told(text, issues))
    return tree


class _Parser:
    def __init__(self, words: list[Token], issues: list[Issue]) -> None:
        self._words, self._issues = words, issues
        self._place = self._depth = 0

    # ---- words

    @property
    def _next(self) -> Token:
        return self._words[self._place]

    def _take(self) -> Token:
        token = self._words[self._place]
        if token.kind != END:
            self._place += 1
        return token

    def _issue(self, at: int, words: str) -> None:
        self._issues.append(Issue(at, words))

    def _unexpected(self, wanted: frozenset[str]) -> _Stop:
        """Note what stands here instead of what may; the exception to raise."""
        token = self._next
        following = self._words[self._place + 1].kind if token.kind != END else ""
        shown = token.text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
        one = len(wanted) == 1
        if one and wanted <= {")", "]", "}"} and token.kind == END:
            self._issue(token.at, f"Syntax error: missing {_listed(wanted)} at '{shown}'")
            return _Stop()
        verb = "extraneous" if following in wanted else "mismatched"
        self._issue(token.at, f"Syntax error: {verb} input '{shown}' expecting {_listed(wanted)}")
        return _Stop()

    def _expect(self, *kinds: str) -> Token:
        if self._next.kind not in kinds:
            raise self._unexpected(frozenset(kinds))
        return self._take()

    # ---- expressions

    def whole(self) -> Node:
        tree = self._expression()
        if self._next.kind != END:
            raise self._unexpected(frozenset((END,)))
        return tree

    def _expression(self, *also: str) -> Node:
        """`also`: what else could have stood here, for the message."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._issue(self._next.at, f"expression recursion limit exceeded: {MAX_DEPTH}")
            raise _Stop
        condition = self._chain("||", "_||_", lambda: self._chain("&&", "_&&_", self._relation, *also), *also)
        if self._next.kind == "?":
            token = self._take()
            yes = self._chain("||", "_||_", lambda: self._chain("&&", "_&&_", self._relation))
            self._expect(":")
            condition = Call(token.at, "_?_:_", [condition, yes, self._expression()])
        self._depth -= 1
        return condition

    def _chain(self, sign: str, function: str, part: Callable[..., Node], *also: str) -> Node:
        terms, places = [part(*also) if sign == "&&" else part()], []
        while self._next.kind == sign:
            places.append(self._take().at)
            terms.append(part())
        return _balanced(function, terms, places, 0, len(places) - 1) if places else terms[0]

    def _relation(self, *also: str) -> Node:
        left = self._calculation(*also)
        while (function := _RELATIONS.get(self._next.kind)) is not None:
            token = self._take()
            left = Call(token.at, function, [left, self._calculation()])
        return left

    def _calculation(self, *also: str) -> Node:
        left = self._product(*also)
        while (function := _SUMS.get(self._next.kind)) is not None:
            token = self._take()
            left = Call(token.at, function, [left, self._product()])
        return left

    def _product(self, *also: str) -> Node:
        left = self._unary(*also)
        while (function := _PRODUCTS.get(self._next.kind)) is not None:
            token = self._take()
            left = Call(token.at, function, [left, self._unary()])
        return left

    def _unary(self, *also: str) -> Node:
        kind, start = self._next.kind, self._next
        if kind == "!":
            count = 0
            while self._next.kind == "!":
                self._take()
                count += 1
            inner = self._member()
            return Call(start.at, "!_", [inner]) if count % 2 else inner
        if kind == "-" and not self._words[self._place + 1].kind.startswith(("NUM_INT", "NUM_FLOAT")):
            count = 0
            while self._next.kind == "-":
                self._take()
                count += 1
            inner = self._member()
            return Call(start.at, "-_", [inner]) if count % 2 else inner
        return self._member(*also)

    # ---- members

    def _member(self, *also: str) -> Node:
        tree = self._primary(*also)
        while True:
            token = self._next
            if token.kind == ".":
                tree = self._selected(tree, self._take())
            elif token.kind == "[":
                self._take()
                optional = self._maybe()
                index = self._expression()
                self._expect("]")
                tree = Call(token.at, "_[?_]" if optional else "_[_]", [tree, index])
            else:
                return tree

    def _maybe(self) -> bool:
        if self._next.kind != "?":
            return False
        self._take()
        return True

    def _selected(self, operand: Node, dot: Token) -> Node:
        if self._maybe():
            return Select(dot.at, operand, self._field(), optional=True)
        name = self._expect("IDENTIFIER", "ESC_IDENTIFIER") if self._next.kind in _NAMES else self._no_name()
        if name.kind == "IDENTIFIER" and self._next.kind == "(":
            opening, args = self._arguments()
            return self._called(opening, name.text, args, operand)
        if name.text in RESERVED and name.kind == "IDENTIFIER":
            return Select(dot.at, operand, name.text)
        return Select(dot.at, operand, name.text.strip("`"))

    def _no_name(self) -> Token:
        if self._next.kind in ("in", "true", "false", "null"):
            token = self._next
            self._issue(token.at, f"Syntax error: no viable alternative at input '.{token.text}'")
            raise _Stop
        if self._next.kind == END:
            self._issue(self._next.at, "Syntax error: no viable alternative at input '.'")
            raise _Stop
        raise self._unexpected(frozenset(("IDENTIFIER", "ESC_IDENTIFIER", "?")))

    def _field(self) -> str:
        return self._expect("IDENTIFIER", "ESC_IDENTIFIER").text.strip("`")

    def _arguments(self) -> tuple[Token, list[Node]]:
        opening, args = self._expect("("), []
        if self._next.kind != ")":
            args.append(self._expression(")"))
            while self._next.kind == ",":
                self._take()
                args.append(self._expression())
        self._expect(")")
        return opening, args

    def _called(self, opening: Token, function: str, args: list[Node], target: Node | None) -> Node:
        try:
            expanded = macros.expanded(opening.at, function, target, args)
        except macros.Misused as problem:
            self._issue(problem.at, problem.words)
            return Literal(opening.at, None)
        return expanded if expanded is not None else Call(opening.at, function, args, target)

    # ---- primaries

    def _primary(self, *also: str) -> Node:
        token = self._next
        kind = token.kind
        if kind not in _STARTS or kind == "!":
            raise self._unexpected(_STARTS | frozenset(also))
        if kind == "(":
            self._take()
            tree = self._expression()
            self._expect(")")
            return tree
        if kind == "[":
            return self._list()
        if kind == "{":
            return self._map()
        if kind in (".", "IDENTIFIER"):
            return self._named()
        return self._literal()

    def _literal(self) -> Node:
        token = self._take()
        if token.kind in ("true", "false", "null"):
            return Literal(token.at, {"true": True, "false": False, "null": None}[token.kind])
        start, text = token.at, token.text
        if token.kind == "-":
            token = self._expect("NUM_INT", "NUM_FLOAT")
            text = f"-{token.text}"
        try:
            value = string_value(text) if token.kind in ("STRING", "BYTES") else number_value(token.kind, text)
        except ValueError as problem:
            self._issue(start, str(problem))
            value = None
        return Literal(start, value)

    def _list(self) -> Node:
        opening, items, optional = self._take(), list[Node](), set[int]()
        while self._next.kind != "]":
            if self._next.kind == "," and not items:
                self._take()
                break
            if self._maybe():
                optional.add(len(items))
            items.append(self._expression(*(() if items else ("]", ",", "?"))))
            if self._next.kind != ",":
                break
            self._take()
        self._expect("]")
        return ListOf(opening.at, items, frozenset(optional))

    def _map(self) -> Node:
        opening, entries = self._take(), list[tuple[Node, Node, bool]]()
        while self._next.kind != "}":
            if self._next.kind == "," and not entries:
                self._take()
                break
            optional = self._maybe()
            key = self._expression(*(() if entries else ("}", ",", "?")))
            self._expect(":")
            entries.append((key, self._expression(), optional))
            if self._next.kind != ",":
                break
            self._take()
        self._expect("}")
        return MapOf(opening.at, entries)

    def _named(self) -> Node:
        start = self._next
        leading = "."[: self._next.kind == "."]
        if leading:
            self._take()
        name = self._expect("IDENTIFIER")
        if (struct := self._struct(start, leading)) is not None:
            return struct
        if name.text in RESERVED:
            self._issue(start.at, f"reserved identifier: {name.text}")
            raise _Stop
        if self._next.kind == "(":
            opening, args = self._arguments()
            return self._called(opening, leading + name.text, args, None)
        return Ident(start.at, leading + name.text)

    def _struct(self, start: Token, leading: str) -> Node | None:
        """Name.of.Type{...}, if that is what follows."""
        at = self._place
        while self._words[at].kind == "." and self._words[at + 1].kind == "IDENTIFIER":
            at += 2
        if self._words[at].kind != "{":
            return None
        first = self._words[self._place - 1].text
        name = leading + ".".join([first, *(self._words[n].text for n in range(self._place + 1, at, 2))])
        self._place = at
        opening, fields = self._take(), list[tuple[int, str, Node, bool]]()
        while self._next.kind != "}":
            if self._next.kind == "," and not fields:
                self._take()
                break
            optional = self._maybe()
            if self._next.kind not in _NAMES:
                raise self._unexpected(frozenset(("}", ",", "?", *_NAMES)) if not fields else frozenset(("?", *_NAMES)))
            field = self._take()
            colon = self._expect(":")
            fields.append((colon.at, field.text.strip("`"), self._expression(), optional))
            if self._next.kind != ",":
                break
            self._take()
        self._expect("}")
        return Struct(opening.at, name, fields)


def _balanced(function: str, terms: list[Node], places: list[int], low: int, high: int) -> Node:
    """Chains of && and || as a tree of little depth, as upstream counts their cost."""
    middle = (low + high + 1) // 2
    left = terms[middle] if middle == low else _balanced(function, terms, places, low, middle - 1)
    right = terms[middle + 1] if middle == high else _balanced(function, terms, places, middle + 1, high)
    return Call(places[middle], function, [left, right])


def _listed(wanted: frozenset[str]) -> str:
    shown = [
        one if one == END or one.isupper() else "'\\u003F'" if one == "?" else f"'{one}'"
        for one in sorted(wanted, key=_ORDER.index)
    ]
    return shown[0] if len(shown) == 1 else "{" + ", ".join(shown) + "}"
