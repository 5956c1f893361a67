"""What an expression may cost at worst, before it was ever evaluated: the estimate that decides whether a rule is accepted.

A cost is (least, most); so is a size. Sizes come from literals, from the schema (`Type.max_elements` along the path from a variable)
and from what functions make of sizes. Numbers stop at 2**64-1, as upstream's do.

Source: cel-go checker/cost.go, k8s.io/apiserver pkg/cel/library/cost.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgekube.api.cel.ast import Call, Comprehension, Ident, ListOf, Literal, MapOf, Node, Select, Struct
from edgekube.api.cel.authorizing import CHECK_COST
from edgekube.api.cel.types import SCALARS, UNBOUNDED, Type, is_optional

Range = tuple[int, int]  # the least and the most
ONE, NOTHING, UNKNOWN = (1, 1), (0, 0), (0, UNBOUNDED)
LIST_COST, MAP_COST, STRUCT_COST = (10, 10), (30, 30), (40, 40)
TRAVERSAL, PATTERN = 0.1, 0.25
_FORMAT_LENGTH = 128

_ONE_EACH = frozenset(
    ("serviceAccount", "path", "group", "resource", "subresource", "namespace", "name", "allowed", "reason", "error",
     "errored", "masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast",
     "isLinkLocalUnicast", "isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger", "asApproximateFloat",
     "isGreaterThan", "isLessThan", "compareTo", "add", "sub", "major", "minor", "patch", "getScheme", "getHostname",
     "getHost", "getPort", "getEscapedPath", "getQuery")
)  # fmt: skip
_READ_ARGUMENT = frozenset(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"))
_COMPARING = frozenset(
    ("less_string", "greater_string", "less_equals_string", "greater_equals_string", "less_bytes", "greater_bytes",
     "less_equals_bytes", "greater_equals_bytes", "equals", "not_equals")
)  # fmt: skip


def _cut(value: int) -> int:
    return value if value < UNBOUNDED else UNBOUNDED


def plus(*ranges: Range) -> Range:
    """The sum."""
    return _cut(sum(one[0] for one in ranges)), _cut(sum(one[1] for one in ranges))


def times(one: Range, other: Range) -> Range:
    """The product."""
    return _cut(one[0] * other[0]), _cut(one[1] * other[1])


def scaled(one: Range, factor: float) -> Range:
    """A share or a multiple, rounded up."""

    def scale(value: int) -> int:
        found = math.ceil(float(value) * factor)
        return found if found < 2.0**64 else UNBOUNDED

    return scale(one[0]), scale(one[1])


def union(one: Range, other: Range) -> Range:
    """What holds both."""
    return min(one[0], other[0]), max(one[1], other[1])


class _Local:
    """A variable of a fold: where in the declared types it comes from, its size, the sizes of its entries."""

    __slots__ = ("entries", "path", "size")

    def __init__(self, path: Type | None, size: Range | None, entries: tuple[str, Range, Range] | None) -> None:
        self.path, self.size, self.entries = path, size, entries


def estimate(tree: Node, root: Type | None = None, variables: Mapping[str, Any] | None = None) -> Range:
    """The least and the most an expression costs. `root`: the declared type its variables are of, with known sizes."""
    return _Coster(root, variables or {}).cost(tree)


class _Coster:
    def __init__(self, root: Type | None, variables: Mapping[str, Any]) -> None:
        self._root, self._variables = root, variables
        self._locals: dict[str, list[_Local]] = {}
        self._paths: dict[Node, Type | None] = {}
        self._sizes: dict[Node, Range] = {}
        self._entries: dict[Node, tuple[str, Range, Range]] = {}

    # ---- where a node comes from, and how large it may be

    def _local(self, name: str) -> _Local | None:
        found = self._locals.get(name)
        return found[-1] if found else None

    def _path(self, node: Node) -> Type | None:
        if isinstance(node, Ident) and (local := self._local(node.name)) is not None:
            return local.path
        return self._paths.get(node)

    def _size(self, node: Node) -> Range | None:
        if (known := self._sizes.get(node)) is not None:
            return known
        if isinstance(node, Literal):
            length = len(node.value) if isinstance(node.value, str | bytes) else 1
            return length, length
        if isinstance(node, ListOf):
            return len(node.items), len(node.items)
        if isinstance(node, MapOf):
            return len(node.entries), len(node.entries)
        path = self._path(node)
        if path is not None:  # what has no elements (a number, a map's key) counts as nothing, as upstream has it
            found = self._sizes[node] = (0, path.max_elements or 0)
            return found
        if _is_scalar(node.type):
            return ONE
        if isinstance(node, Ident) and (local := self._local(node.name)) is not None:
            return local.size
        return None

    def size(self, node: Node) -> Range:
        """The size, or anything."""
        return self._size(node) or UNKNOWN

    def _entry(self, node: Node) -> tuple[str, Range, Range] | None:
        if (found := self._entries.get(node)) is not None:
            return found
        if isinstance(node, Ident) and (local := self._local(node.name)) is not None:
            return local.entries
        return None

    # ---- costs

    def cost(self, node: Node) -> Range:
        if isinstance(node, Literal):
            return NOTHING
        if isinstance(node, Ident):
            if self._local(node.name) is None:
                self._paths[node] = self._root if node.name in self._variables or not self._variables else None
            return ONE
        if isinstance(node, Select):
            return self._select(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListOf):
            return self._list(node)
        if isinstance(node, MapOf):
            return self._map(node)
        if isinstance(node, Struct):
            return plus(STRUCT_COST, *(self.cost(value) for _, _, value, _ in node.fields))
        assert isinstance(node, Comprehension)
        return self._bind(node) if node.shape == "bind" else self._comprehension(node)

    def _select(self, node: Select) -> Range:
        found = self.cost(node.operand)
        if node.test:
            return found
        if node.optional:
            return plus(found, ONE)
        if node.operand.type.kind in ("map", "object", "param"):
            found = plus(found, ONE)
        self._paths[node] = _below(self._path(node.operand), node.field)
        return found

    def _list(self, node: ListOf) -> Range:
        costs = [self.cost(one) for one in node.items]
        items = (UNBOUNDED if node.items else 0, 0)
        for one in node.items:
            items = union(items, self.size(one))
        self._entries[node] = ("list", ONE, items)
        return plus(LIST_COST, *costs)

    def _map(self, node: MapOf) -> Range:
        costs = []
        keys = values = (UNBOUNDED if node.entries else 0, 0)
        for key, value, _ in node.entries:
            costs += [self.cost(key), self.cost(value)]
            keys, values = union(keys, self.size(key)), union(values, self.size(value))
        self._entries[node] = ("map", keys, values)
        return plus(MAP_COST, *costs)

    # ---- calls

    def _call(self, node: Call) -> Range:
        if node.function == "dyn" and node.target is None:
            found = plus(ONE, self.cost(node.args[0]))
            self._copy(node, node.args[0])
            return found
        costs = [self.cost(one) for one in node.args]
        if not node.overloads:
            return NOTHING
        target = self.cost(node.target) if node.target is not None else NOTHING
        total: Range = (UNBOUNDED, 0)
        result: Range | None = None
        for overload in node.overloads:
            cost, size = self._function(node, overload.id, costs)
            total = union(total, cost)
            if size is not None:
                result = size if result is None else union(result, size)
            if overload.id in ("index_list", "index_map"):
                entry = self._entry(node.args[0])
                result = entry[2] if entry is not None else None
                step = "@items" if overload.id == "index_list" else "@values"
                self._paths[node] = _below(self._path(node.args[0]), step)
            if result is None:
                result = self._size(node)
        if result is not None:
            self._sizes[node] = result
        return plus(target, total)

    def _function(self, node: Call, overload: str, costs: list[Range]) -> tuple[Range, Range | None]:
        """(the cost of a call with its arguments, the size of what it gives)."""
        own = self._of_library(node, overload)
        if own is not None:
            return plus(own[0], *costs), own[1]
        if overload in ("logical_or", "logical_and"):
            return (costs[0][0], plus(*costs)[1]), None
        if overload == "conditional":
            self._merge_entries(node, node.args[1], node.args[2])
            size = union(self.size(node.args[1]), self.size(node.args[2]))
            return plus(costs[0], union(costs[1], costs[2])), size
        cost, result = self._of_cel(node, overload)
        return plus(cost, *costs), result

    def _of_cel(self, node: Call, overload: str) -> tuple[Range, Range | None]:
        """Functions of the language whose cost grows with their arguments; all others cost one."""
        args = node.args
        if overload == "string_format" and node.target is not None:
            return scaled(self.size(node.target), TRAVERSAL), None
        if overload in ("string_to_bytes", "bytes_to_string", "strings_quote"):
            size = self.size(args[0])
            result = {
                "string_to_bytes": (size[0], _cut(size[1] * 4)),
                "bytes_to_string": (size[0] // 4, size[1]),
                "strings_quote": (_cut(size[0] + 2), _cut(size[1] * 2 + 2)),
            }[overload]
            return scaled(size, TRAVERSAL), result
        if overload in ("starts_with_string", "ends_with_string"):
            return scaled(self.size(args[0]), TRAVERSAL), None
        if overload == "in_list":
            return self.size(args[1]), None
        if overload == "matches_string" and node.target is not None:
            return self._pattern(self.size(node.target), args[0]), None
        if overload == "contains_string" and node.target is not None:
            return times(scaled(self.size(node.target), TRAVERSAL), scaled(self.size(args[0]), TRAVERSAL)), None
        if overload in ("add_string", "add_bytes", "add_list"):
            result = plus(self.size(args[0]), self.size(args[1]))
            self._merge_entries(node, args[0], args[1])
            return (ONE if overload == "add_list" else scaled(result, TRAVERSAL)), result
        if overload in _COMPARING:
            most = min(self.size(args[0])[1], self.size(args[1])[1])
            return scaled((1 if most > 0 else 0, most), TRAVERSAL), None
        return ONE, None

    def _pattern(self, text: Range, pattern: Node) -> Range:
        return times(scaled(plus(text, ONE), TRAVERSAL), scaled(self.size(pattern), PATTERN))

    def _of_library(self, node: Call, overload: str) -> tuple[Range, Range | None] | None:
        """Kubernetes' own estimates."""
        function, args, target = node.function, node.args, node.target
        if function == "check":
            return (CHECK_COST, CHECK_COST), None
        if function in _ONE_EACH or overload == "cidr_ip":
            return ONE, None
        if target is not None and (found := self._of_target(node, function, target)) is not None:
            return found
        if function in ("url", "jsonpatch.escapeKey"):
            size = self.size(args[0])
            return scaled(size, TRAVERSAL), size
        if function in _READ_ARGUMENT or function == "ip":
            return scaled(self.size(args[0]), TRAVERSAL), None
        if function == "ip.isCanonical":
            return scaled(self.size(args[0]), 2 * TRAVERSAL), None
        if function == "_==_" and args[0].type == args[1].type and args[0].type.kind == "object":
            return self._equality(args[0].type.name)
        return None

    @staticmethod
    def _equality(name: str) -> tuple[Range, Range | None] | None:
        if name == "kubernetes.NamedFormat":
            return scaled((1, 64), TRAVERSAL), None
        if name.startswith(("net.", "kubernetes.Quantity", "kubernetes.authorization.", "kubernetes.Semver")):
            return ONE, None
        return None

    def _of_target(self, node: Call, function: str, target: Node) -> tuple[Range, Range | None] | None:
        args, size = node.args, self.size(target)
        if function in ("fieldSelector", "labelSelector"):
            length = self.size(args[0])
            return plus(LIST_COST, scaled(length, TRAVERSAL), scaled(scaled(length, 0.5), 50.0)), None
        if function in ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"):
            if not target.type.params:
                return scaled(size, TRAVERSAL), None
            element, each = target.type.params[0], ONE
            if element.kind in ("string", "bytes"):
                each = plus(each, scaled(self._element_size(target), TRAVERSAL))
            return times(size, each), None
        if function in ("lowerAscii", "upperAscii", "substring", "trim"):
            return scaled(size, TRAVERSAL), size
        if function == "replace" and len(args) >= 2:
            return scaled(size, 2 * TRAVERSAL), _replaced(size, self.size(args[0]), self.size(args[1]))
        if function == "split":
            most = size[1]
            if len(args) > 1 and isinstance(args[1], Literal) and isinstance(args[1].value, int):
                most = args[1].value % 2**64
            return scaled(size, 2 * TRAVERSAL), (0, most)
        if function == "join":
            joined = times(size, self._element_size(target)) if target.type.params else NOTHING
            if args:
                parted = (max(size[0] - 1, 0), max(size[1] - 1, 0))
                joined = plus(joined, times(self.size(args[0]), parted))
            return scaled(joined, TRAVERSAL), joined
        if function in ("find", "findAll"):
            return self._pattern(size, args[0]), (0, size[1])
        if function in ("containsIP", "containsCIDR"):
            return self._containing(node, function), None
        if function == "validate":
            return scaled(scaled(self.size(args[0]), TRAVERSAL), _FORMAT_LENGTH * PATTERN), None
        return None

    def _containing(self, node: Call, function: str) -> Range:
        cost = scaled((8, 32), TRAVERSAL)
        if function == "containsCIDR":
            cost = plus(cost, scaled((4, 16), TRAVERSAL), ONE)
        if any(one.id.endswith("_string") for one in node.overloads):
            cost = plus(cost, scaled(self.size(node.args[0]), TRAVERSAL))
        return cost

    def _element_size(self, container: Node) -> Range:
        path = _below(self._path(container), "@items")
        return UNKNOWN if path is None else (0, path.max_elements or 0)

    def _merge_entries(self, node: Node, one: Node, other: Node) -> None:
        left, right = self._entry(one), self._entry(other)
        if left is not None and right is not None:
            self._entries[node] = (left[0], union(left[1], right[1]), union(left[2], right[2]))

    def _copy(self, node: Node, source: Node) -> None:
        if (size := self._size(source)) is not None:
            self._sizes[node] = size
        if (entry := self._entry(source)) is not None:
            self._entries[node] = entry

    # ---- folds

    def _comprehension(self, node: Comprehension) -> Range:
        total = plus(self.cost(node.over), self.cost(node.init))
        self._push(node.accu, _Local(self._path(node.init), self._size(node.init), self._entry(node.init)))
        over, entry = self._path(node.over), self._entry(node.over)
        is_list = (entry[0] if entry is not None else node.over.type.kind) == "list"
        if node.variable2:
            key = None if is_list else _below(over, "@keys")
            self._push(node.variable, _Local(key, entry[1] if entry else None, None))
            value = _below(over, "@items" if is_list else "@values")
            self._push(node.variable2, _Local(value, entry[2] if entry else None, None))
        else:
            element = _below(over, "@items" if is_list else "@keys")
            self._push(node.variable, _Local(element, (entry[2] if is_list else entry[1]) if entry else None, None))
        each = plus(self.cost(node.condition), self.cost(node.step))
        step_entry = self._entry(node.step)
        self._locals[node.variable].pop()
        if node.variable2:
            self._locals[node.variable2].pop()
        total = plus(total, self.cost(node.result))
        self._locals[node.accu].pop()
        count = self.size(node.over)
        if isinstance(node.init, Literal):
            self._sizes[node] = ONE
        else:
            self._sizes[node] = count
            if step_entry is not None:
                self._entries[node] = step_entry
        return plus(total, times(count, each))

    def _bind(self, node: Comprehension) -> Range:
        total = plus(self.cost(node.over), self.cost(node.init))
        self._push(node.accu, _Local(self._path(node.init), self._size(node.init), self._entry(node.init)))
        total = plus(total, self.cost(node.result))
        self._copy(node, node.result)
        self._locals[node.accu].pop()
        return total

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)


def _below(path: Type | None, step: str) -> Type | None:
    """The declared type one step further along a path."""
    if path is None:
        return None
    if step == "@items":
        return path.params[0] if path.kind == "list" else None
    if step in ("@keys", "@values"):
        return path.params[step == "@values"] if path.kind == "map" else None
    return path.fields[step][0] if path.fields is not None and step in path.fields else None


def _is_scalar(t: Type) -> bool:
    return t.kind in SCALARS or (is_optional(t) and _is_scalar(t.params[0]))


def _replaced(size: Range, old: Range, new: Range) -> Range:
    """How long a text may be after parts of it were replaced."""
    most_count, kept_most = 0, 0
    if old[0] == 0:
        most_count, kept_most = _cut(size[1] + 1), size[1]
    elif new[1] <= old[0]:
        kept_most = size[1]
    else:
        most_count = math.ceil(size[1] / old[0])
    least_count, kept_least = 0, 0
    if old[1] == 0:
        least_count, kept_least = _cut(size[0] + 1), size[0]
    elif old[1] <= new[0]:
        kept_least = size[0]
    else:
        least_count = math.ceil(size[0] / old[1])
    return plus(times((least_count, most_count), new), (kept_least, kept_most))
