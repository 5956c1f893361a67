"""Types of expressions: every node gets one, every call its overloads, and what does not fit is said in upstream's words.

Names that are resolved to something of several parts (`a.b.c` declared as one variable, `optional.none`) are rewritten in the
tree, as upstream does.

Source: cel-go checker/checker.go, checker/errors.go; cel/validator.go for what is checked of literals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgekube.api.cel import types
from edgekube.api.cel.ast import Call, Comprehension, Ident, ListOf, Literal, MapOf, Node, Select, Struct
from edgekube.api.cel.declarations import Functions, Overload
from edgekube.api.cel.errors import CelError, CompileError, Issue, told
from edgekube.api.cel.types import Substitutions, Type
from edgekube.api.cel.values import Uint

# The type of an object by its name in an expression: Object.spec{...}
Structs = Callable[[str], Type | None]
_OF_LITERALS: dict[type, Type] = {
    bool: types.BOOL, int: types.INT, Uint: types.UINT, float: types.DOUBLE, str: types.STRING, bytes: types.BYTES,
    type(None): types.NULL,
}  # fmt: skip
_TYPE_NAMES = {
    "bool": types.BOOL, "int": types.INT, "uint": types.UINT, "double": types.DOUBLE, "string": types.STRING,
    "bytes": types.BYTES, "null_type": types.NULL, "list": types.list_of(types.DYN),
    "map": types.map_of(types.DYN, types.DYN), "type": types.type_of(types.DYN), "dyn": types.DYN,
    "google.protobuf.Duration": types.DURATION, "google.protobuf.Timestamp": types.TIMESTAMP,
    "optional_type": types.optional_of(types.DYN),
}  # fmt: skip


def check(text: str, tree: Node, variables: Mapping[str, Type], functions: Functions, structs: Structs) -> Node:
    """The tree with types; the root may be another node. Raises CompileError with all that is wrong."""
    checker = _Checker(variables, functions, structs)
    tree = checker.visit(tree)
    if not checker.issues:
        checker.settle(tree)
    if checker.issues:
        raise CompileError(told(text, checker.issues))
    return tree


class _Checker:
    def __init__(self, variables: Mapping[str, Type], functions: Functions, structs: Structs) -> None:
        self._scopes: list[Mapping[str, Type]] = [variables]
        self._functions, self._structs = functions, structs
        self._found = Substitutions()
        self.issues: list[Issue] = []

    def _issue(self, node: Node, words: str) -> None:
        self.issues.append(Issue(node.at, words))

    def _undeclared(self, node: Node, name: str) -> None:
        self._issue(node, f"undeclared reference to '{name}' (in container '')")
        node.type = types.ERROR

    # ---- all nodes

    def visit(self, node: Node) -> Node:
        """Give a node its type; the node to put in its place."""
        if isinstance(node, Literal):
            node.type = _OF_LITERALS[node.value.__class__]
        elif isinstance(node, Ident):
            self._ident(node)
        elif isinstance(node, Select):
            return self._select(node)
        elif isinstance(node, Call):
            self._call(node)
        elif isinstance(node, ListOf):
            self._list(node)
        elif isinstance(node, MapOf):
            self._map(node)
        elif isinstance(node, Struct):
            self._struct(node)
        elif isinstance(node, Comprehension):
            self._comprehension(node)
        return node

    def _lookup(self, name: str) -> Type | None:
        plain = name.removeprefix(".")
        for scope in self._scopes[:1] if plain != name else reversed(self._scopes):
            if plain in scope:
                return scope[plain]
        named = _TYPE_NAMES.get(plain)
        if named is not None:
            return types.type_of(named)
        struct = self._structs(plain)
        return types.type_of(struct) if struct is not None else None

    def _ident(self, node: Ident) -> None:
        found = self._lookup(node.name)
        if found is None:
            self._undeclared(node, node.name)
            return
        node.name = node.name.removeprefix(".")
        node.type = found

    def _select(self, node: Select) -> Node:
        if not node.test and not node.optional and (name := _qualified(node)) is not None:
            head = name.partition(".")[0]
            if not any(head in scope for scope in self._scopes[1:]) and (found := self._lookup(name)) is not None:
                made = Ident(node.at, name.removeprefix("."))
                made.type = found
                return made
        node.operand = self.visit(node.operand)
        found = self._field(node, node.operand.type, node.field, optional=node.optional)
        node.type = types.BOOL if node.test else self._found.applied(found)
        return node

    def _field(self, node: Node, operand: Type, field: str, *, optional: bool) -> Type:
        target, held = types.unwrapped(self._found.applied(operand))
        result = types.ERROR
        if target.kind == "map":
            result = target.params[1]
        elif target.kind == "object":
            fields = target.fields
            if fields is not None and field in fields:
                result = fields[field][0]
            else:
                self._issue(node, f"undefined field '{field}'")
        elif target.kind == "param":
            self._found.assignable([(types.DYN, target)])
            result = types.DYN
        else:
            if not types.is_dyn(target):
                self._issue(node, f"type '{target}' does not support field selection")
            result = types.DYN
        return types.optional_of(result) if held or optional else result

    # ---- calls

    def _call(self, node: Call) -> None:
        node.args = [self.visit(one) for one in node.args]
        if node.target is None:
            name = node.function.removeprefix(".")
            overloads = self._functions.get(name)
            if overloads is None:
                self._undeclared(node, node.function)
                return
            node.function = name
            self._resolve(node, overloads)
            return
        prefix = _qualified(node.target)
        if prefix is not None and (overloads := self._functions.get(f"{prefix.removeprefix('.')}.{node.function}")):
            node.function, node.target = f"{prefix.removeprefix('.')}.{node.function}", None
            self._resolve(node, overloads)
            return
        node.target = self.visit(node.target)
        overloads = self._functions.get(node.function)
        if overloads is None:
            self._undeclared(node, node.function)
            return
        self._resolve(node, overloads)

    def _resolve(self, node: Call, overloads: list[Overload]) -> None:
        node.overloads = []  # macros may have put one node into a tree twice
        given = [one.type for one in node.args]
        if node.target is not None:
            given.insert(0, node.target.type)
        if node.function in ("_&&_", "_||_"):
            self._logic(node, overloads)
            return
        result: Type | None = None
        for overload in overloads:
            if overload.member is not (node.target is not None) or len(overload.args) != len(given):
                continue
            wanted, outcome = self._instance(overload)
            if not self._found.assignable(list(zip(given, wanted, strict=True))):
                continue
            node.overloads.append(overload)
            outcome = self._found.applied(outcome)
            if result is None:
                result = outcome
            elif result.kind != "dyn" and outcome != result:
                result = types.DYN
        if result is None:
            shown = [str(self._found.applied(one, to_dyn=True)) for one in given]
            signature = f"{shown[0]}.({', '.join(shown[1:])})" if node.target is not None else f"({', '.join(shown)})"
            self._issue(node, f"found no matching overload for '{node.function}' applied to '{signature}'")
            result = types.ERROR
        node.type = result

    def _instance(self, overload: Overload) -> tuple[tuple[Type, ...], Type]:
        if not overload.params:
            return overload.args, overload.result
        fresh = {name: self._found.fresh() for name in sorted(overload.params)}
        return tuple([_with(one, fresh) for one in overload.args]), _with(overload.result, fresh)

    def _logic(self, node: Call, overloads: list[Overload]) -> None:
        node.overloads, node.type = list(overloads), types.BOOL
        for arg in node.args:
            if not self._found.assignable([(arg.type, types.BOOL)]):
                self._issue(arg, f"expected type 'bool' but found '{self._found.applied(arg.type, to_dyn=True)}'")
                node.type = types.ERROR

    # ---- what is put together

    def _joined(self, node: Node, before: Type | None, now: Type) -> Type:
        if before is None:
            return now
        if self._found.assignable([(before, now)]):
            return before if types.less_specific(before, now) else now
        shown = self._found.applied(before, to_dyn=True), self._found.applied(now, to_dyn=True)
        self._issue(node, f"expected type '{shown[0]}' but found '{shown[1]}'")
        return types.ERROR

    def _unwrapped(self, node: Node) -> Type:
        """What an optional element holds."""
        inner, held = types.unwrapped(self._found.applied(node.type))
        if not held and not types.is_dyn(inner):
            self._issue(node, f"expected type '{types.optional_of(inner)}' but found '{inner}'")
        return inner

    def _list(self, node: ListOf) -> None:
        joined: Type | None = None
        for at, item in enumerate(node.items):
            node.items[at] = item = self.visit(item)
            joined = self._joined(item, joined, self._unwrapped(item) if at in node.optional else item.type)
        node.type = types.list_of(joined or self._found.fresh())

    def _map(self, node: MapOf) -> None:
        keys: Type | None = None
        values: Type | None = None
        for at, (key, value, optional) in enumerate(node.entries):
            key, value = self.visit(key), self.visit(value)
            node.entries[at] = (key, value, optional)
            keys = self._joined(key, keys, key.type)
            values = self._joined(value, values, self._unwrapped(value) if optional else value.type)
        node.type = types.map_of(keys or self._found.fresh(), values or self._found.fresh())

    def _struct(self, node: Struct) -> None:
        name = node.name.removeprefix(".")
        made = self._structs(name)
        if made is None:
            if self._lookup(name) is None:
                self._undeclared(node, node.name)
            else:
                self._issue(node, f"'{name}' is not a message type")
                node.type = types.ERROR
            made = types.ERROR
        node.name = name
        node.type = made
        for position, (at, field, value, optional) in enumerate(node.fields):
            value = self.visit(value)
            node.fields[position] = (at, field, value, optional)
            if made.kind != "object":
                continue
            given = self._unwrapped(value) if optional else value.type
            place = Node(at)
            wanted = self._field(place, made, field, optional=False)
            if not self._found.assignable([(wanted, given)]):
                shown = self._found.applied(given, to_dyn=True)
                self._issue(place, f"expected type of field '{field}' is '{wanted}' but provided type is '{shown}'")

    # ---- folds

    def _comprehension(self, node: Comprehension) -> None:
        node.over, node.init = self.visit(node.over), self.visit(node.init)
        accu = node.init.type
        first, second = self._elements(node)
        self._scopes.append({node.accu: accu})
        inner = {node.variable: first}
        if node.variable2:
            inner[node.variable2] = second
        self._scopes.append(inner)
        node.condition = self.visit(node.condition)
        self._must(node.condition, types.BOOL)
        node.step = self.visit(node.step)
        self._must(node.step, accu)
        self._relink(node)
        self._scopes.pop()
        node.result = self.visit(node.result)
        self._scopes.pop()
        node.type = self._found.applied(node.result.type)

    def _elements(self, node: Comprehension) -> tuple[Type, Type]:
        """What the variables of a fold stand for."""
        over = self._found.applied(node.over.type)
        if over.kind == "list":
            return (types.INT, over.params[0]) if node.variable2 else (over.params[0], types.DYN)
        if over.kind == "map":
            return over.params[0], over.params[1]
        if types.is_dyn(over):
            self._found.assignable([(types.DYN, over)])
            return types.DYN, types.DYN
        words = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
        self._issue(node.over, words)
        return types.ERROR, types.ERROR

    def _must(self, node: Node, wanted: Type) -> None:
        if not self._found.assignable([(wanted, node.type)]):
            shown = self._found.applied(wanted, to_dyn=True), self._found.applied(node.type, to_dyn=True)
            self._issue(node, f"expected type '{shown[0]}' but found '{shown[1]}'")

    @staticmethod
    def _relink(node: Comprehension) -> None:
        """Body and condition as the checked tree has them, should they have been rewritten."""
        step = node.step
        if node.shape in ("all", "exists") and isinstance(step, Call):
            node.body = step.args[1]
            return
        if not isinstance(step, Call):
            return
        if node.shape == "exists_one":
            node.body = step.args[0]
            return
        if node.keep is not None and step.function == "_?_:_":
            node.keep, step = step.args[0], step.args[1]
        if node.shape == "list" and isinstance(step, Call) and isinstance(step.args[1], ListOf):
            node.body = step.args[1].items[0]
        elif node.shape in ("map", "entries") and isinstance(step, Call):
            node.body = step.args[-1]

    # ---- in the end

    def settle(self, node: Node) -> None:
        """Put in what parameters turned out to be; look at literals that will be read at run time."""
        node.type = self._found.applied(node.type, to_dyn=True)
        for child in children(node):
            self.settle(child)
        if isinstance(node, Call):
            self._literals(node)

    def _literals(self, node: Call) -> None:
        from edgekube.api.cel import core, regex

        probe: Callable[[str], object] | None = None
        place = 0
        if node.function in ("duration", "timestamp") and len(node.args) == 1:
            probe = core.duration if node.function == "duration" else core.timestamp
        elif node.function == "matches":
            probe, place = regex.compiled, len(node.args) - 1
        if probe is None:
            return
        literal = node.args[place]
        if not isinstance(literal, Literal) or literal.value.__class__ is not str:
            return
        try:
            probe(literal.value)
        except CelError:
            words = "matches" if node.function == "matches" else node.function
            self._issue(literal, f"invalid {words} argument")


def _with(t: Type, fresh: Mapping[str, Type]) -> Type:
    if t.kind == "param":
        return fresh[t.name]
    return Type(t.kind, t.name, tuple([_with(one, fresh) for one in t.params]), fields=t.fields) if t.params else t


def _qualified(node: Node) -> str | None:
    """ "a.b.c" of a chain of plain selections."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.test and not node.optional:
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    return ".".join([node.name, *reversed(parts)])


def children(node: Node) -> list[Node]:
    """The nodes right below."""
    if isinstance(node, Select):
        return [node.operand]
    if isinstance(node, Call):
        return [node.target, *node.args] if node.target is not None else node.args
    if isinstance(node, ListOf):
        return node.items
    if isinstance(node, MapOf):
        return [one for key, value, _ in node.entries for one in (key, value)]
    if isinstance(node, Struct):
        return [value for _, _, value, _ in node.fields]
    if isinstance(node, Comprehension):
        return [node.over, node.init, node.condition, node.step, node.result]
    return []
