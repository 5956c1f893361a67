"""Rules in CEL that a structural schema carries (`x-kubernetes-validations`): whether they may stand there, and what they say.

`definition_errors` is for whoever defines a schema: syntax, types, estimated costs. `Rules` is for documents: compiled once per
schema when the first document comes, then evaluated along the document, with the old one beside it where the two can be
correlated. Nothing of CEL is loaded before a schema has a rule.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/schema/cel/{compilation,validation}.go and
pkg/apis/apiextensions/validation/{validation,cel_validation}.go; k8s.io/apiserver pkg/cel/common/equality.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from edgekube.api import rules
from edgekube.api.kind import FieldError
from edgekube.api.schema import (
    EMBEDDED,
    LIST_KEYS,
    LIST_TYPE,
    Document,
    JSONSchema,
    additional_of,
    items_of,
    properties_of,
)

if TYPE_CHECKING:
    from edgekube.api.cel.program import Budget, Program
    from edgekube.api.cel.types import Type

EXPRESSIONS = "x-kubernetes-validations"
NOWHERE = "<nil>"
RULE_COST, SCHEMA_COST = 10_000_000, 100_000_000
MOST_NAMED = 4  # the most expensive rules that are named when all together are too expensive
MESSAGE_BYTES = 5 * 1024
_UNBOUNDED = 2**64 - 1
_ABSENT: Any = object()


def has_expressions(schema: JSONSchema) -> bool:
    """Whether any part of a schema carries CEL rules."""
    if schema.get(EXPRESSIONS):
        return True
    below = [*properties_of(schema).values(), items_of(schema), additional_of(schema), *(schema.get("allOf") or ())]
    return any(has_expressions(part) for part in below if isinstance(part, dict))


class ShownRule(msgspec.Struct, rename="pascal"):
    """A rule as upstream's messages show it."""

    rule: str
    message: str
    message_expression: str
    reason: str | None
    field_path: str
    optional_old_self: bool | None


def shown_rule(rule: Mapping[str, Any]) -> ShownRule:
    """A rule for a message."""
    return ShownRule(
        rule.get("rule") or "",
        rule.get("message") or "",
        rule.get("messageExpression") or "",
        rule.get("reason"),
        rule.get("fieldPath") or "",
        rule.get("optionalOldSelf"),
    )


# ------------------------------------------------------------------------------------------------- compiling


@dataclass(slots=True)
class Compiled:
    """One rule: its program and that of its message, or what is wrong with them."""

    rule: Mapping[str, Any]
    program: Program | None = None
    message: Program | None = None
    error: str = ""
    message_error: str = ""
    path: str = ""

    @property
    def uses_old(self) -> bool:
        """Whether it is about a change."""
        return self.program is not None and "oldSelf" in self.program.names


def _compiled(rule: Mapping[str, Any], declared: Type) -> Compiled:
    from edgekube.api.cel import types
    from edgekube.api.cel.program import CompileError, compile_expression

    made = Compiled(rule)
    text, message = rule.get("rule") or "", rule.get("messageExpression") or ""
    if not text.strip():
        return made
    old = types.optional_of(declared) if rule.get("optionalOldSelf") else declared
    variables = {"self": declared, "oldSelf": old}
    try:
        program = compile_expression(text, variables, root=declared)
    except CompileError as problem:
        made.error = f"compilation failed: {problem}"
        return made
    if program.type != types.BOOL:
        made.error = "cel expression must evaluate to a bool"
        return made
    made.program = program
    if not message:
        return made
    try:
        told = compile_expression(message, variables, root=declared)
    except CompileError as problem:
        made.message_error = f"messageExpression compilation failed: {problem}"
        return made
    if told.type != types.STRING:
        made.message_error = "messageExpression must evaluate to a string"
        return made
    made.message = told
    return made


# ------------------------------------------------------------------------------------------------- defining


@dataclass(slots=True)
class _Definition:
    """A walk over a schema whose rules are to be accepted."""

    errors: list[FieldError] = field(default_factory=list)
    total: int = 0
    expensive: list[tuple[int, str]] = field(default_factory=list)

    def observe(self, path: str, cost: int) -> None:
        self.total = min(self.total + cost, _UNBOUNDED)
        if cost >= SCHEMA_COST // 100:
            self.expensive = sorted([*self.expensive, (cost, path)], key=lambda one: -one[0])[:MOST_NAMED]

    def visit(self, path: str, schema: JSONSchema, declared: Type | None, cardinality: int | None, loose: str) -> None:
        """`declared`: the type, if a schema above made it. `cardinality`: how often this may occur at most. `loose`: the path above
        which old and new cannot be correlated."""
        from edgekube.api import schema_types

        if schema.get(EXPRESSIONS):
            if declared is None:
                declared = schema_types.declared(schema, root=bool(schema.get(EMBEDDED)))
            if declared is None:
                words = "internal error: failed to construct type information for x-kubernetes-validations rules: "
                more = "unable to convert structural schema to CEL declarations"
                self.errors.append(rules.internal(f"{path}.{EXPRESSIONS}", words + more))
            else:
                self._rules(path, schema, declared, cardinality, loose)
        inner = _times(cardinality, _most_elements(schema))
        atomic = path if schema.get("x-kubernetes-map-type") not in (None, "granular", "atomic") else ""
        for name, part in sorted(properties_of(schema).items()):
            said = schema_types.escaped(name)
            fields = declared.fields if declared is not None else None
            below = fields[said][0] if fields is not None and said is not None and said in fields else None
            self.visit(f"{path}.properties[{name}]", part, below, inner, loose or atomic)
        if (items := items_of(schema)) is not None:
            below = declared.params[0] if declared is not None and declared.kind == "list" else None
            self.visit(f"{path}.items", items, below, inner, loose or (path if schema.get(LIST_TYPE) != "map" else ""))
        if isinstance(additional := additional_of(schema), dict):
            below = declared.params[1] if declared is not None and declared.kind == "map" else None
            self.visit(f"{path}.additionalProperties", additional, below, inner, loose)

    def _rules(self, path: str, schema: JSONSchema, declared: Type, cardinality: int | None, loose: str) -> None:
        times = 3 * 1024 * 1024 // (declared.min_bytes + 1) if cardinality is None else cardinality
        for position, rule in enumerate(schema[EXPRESSIONS]):
            at, made = f"{path}.{EXPRESSIONS}[{position}]", _compiled(rule, declared)
            cost = min((made.program.cost if made.program is not None else 0) * times, _UNBOUNDED)
            if cost > RULE_COST:
                words = too_expensive("estimated rule cost", cost, RULE_COST)
                self.errors.append(rules.forbidden(f"{at}.rule", words))
            self.observe(f"{at}.rule", cost)
            if made.error:
                self.errors.append(rules.invalid(f"{at}.rule", shown_rule(rule), made.error))
            self._message(at, made)
            if made.uses_old:
                if loose:
                    words = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {loose}"
                    self.errors.append(rules.invalid(f"{at}.rule", rule["rule"], words))
            elif rule.get("optionalOldSelf") is not None:
                words = "may not be set if oldSelf is not used in rule"
                self.errors.append(rules.invalid(f"{at}.optionalOldSelf", rule["optionalOldSelf"], words))

    def _message(self, at: str, made: Compiled) -> None:
        if made.message_error:
            self.errors.append(rules.invalid(f"{at}.messageExpression", shown_rule(made.rule), made.message_error))
        elif made.message is not None:
            cost = made.message.cost
            if cost > RULE_COST:
                words = too_expensive("estimated messageExpression cost", cost, RULE_COST)
                self.errors.append(rules.forbidden(f"{at}.messageExpression", words))
            self.observe(f"{at}.messageExpression", cost)


def _times(cardinality: int | None, most: int | None) -> int | None:
    return None if cardinality is None or most is None else min(cardinality * most, _UNBOUNDED)


def _most_elements(schema: JSONSchema) -> int | None:
    """How many values a schema may have of each schema right below it; None if there is no bound."""
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") not in (None, False):
        most = schema.get("maxProperties")
    elif kind == "array":
        most = schema.get("maxItems")
    else:
        return 1
    return None if most is None else max(int(most), 0)


def too_expensive(what: str, cost: int, limit: int) -> str:
    """By how much an estimate is over its limit."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100.0 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    advice = "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared"
    return f"{what} exceeds budget by factor of {shown} ({advice})"


def definition_errors(path: str, schema: JSONSchema) -> list[FieldError]:
    """Everything wrong with the rules of a schema that is well-formed otherwise."""
    if not has_expressions(schema):
        return []
    from edgekube.api import schema_types

    walk = _Definition()
    root = schema_types.declared(schema, root=True) if schema.get(EXPRESSIONS) else None
    walk.visit(path, schema, root, 1, "")
    if walk.total > SCHEMA_COST:
        words = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        walk.errors += [rules.forbidden(at, words) for _, at in walk.expensive]
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        walk.errors.append(rules.forbidden(path, too_expensive(what, walk.total, SCHEMA_COST)))
    return walk.errors


# ------------------------------------------------------------------------------------------------- field paths

_STEP = re.compile(r"\.([^.\[\]']+)|\['((?:[^'\\]|\\.)*)'\]")


def field_path(path: str, schema: JSONSchema) -> str | None:
    """Where a rule's `fieldPath` leads, as a path below its place; None if it leads nowhere."""
    place: JSONSchema | None = schema
    shown, at = "", 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or place is None:
            return None
        name = match[1] if match[1] is not None else re.sub(r"\\(.)", r"\1", match[2])
        properties, additional = properties_of(place), additional_of(place)
        if properties:
            if name not in properties:
                return None
            place, shown = properties[name], f"{shown}.{name}" if shown else name
        elif isinstance(additional, dict):
            place, shown = additional, f"{shown}[{name}]"
        else:
            return None
        at = match.end()
    return shown or None


# ------------------------------------------------------------------------------------------------- documents


@dataclass(slots=True)
class _Place:
    """A schema with rules in it or below it."""

    schema: JSONSchema
    kind: str
    convert: Callable[[Any], Any] | None
    compiled: list[Compiled]
    properties: dict[str, _Place]
    items: _Place | None
    additional: _Place | None
    all_of: list[_Place]


class _Out(Exception):
    """The budget is spent: nothing more is asked."""


@dataclass(slots=True)
class _Evaluation:
    budget: Budget
    errors: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def visit(self, place: _Place, path: str, value: Any, old: Any, same: bool) -> None:
        """`old`: what the value replaces, or _ABSENT. `same`: the value, or what it stands in, did not change."""
        if value is None:
            return
        if place.compiled:
            self._rules(place, path, value, old, same)
        for part in place.all_of:
            self.visit(part, path, value, old, False)
        if isinstance(value, list) and place.items is not None:
            self._list(place, path, value, old, same)
        elif isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            if place.additional is not None:
                for name in sorted(value):
                    self._below(place.additional, rules.key(path, name), value[name], before.get(name, _ABSENT), same)
            for name, part in place.properties.items():
                if name in value:
                    self._below(part, rules.child(path, name), value[name], before.get(name, _ABSENT), same)

    def _below(self, place: _Place, path: str, value: Any, old: Any, same: bool) -> None:
        self.visit(place, path, value, old, same or (old is not _ABSENT and value == old))

    def _list(self, place: _Place, path: str, value: list[Any], old: Any, same: bool) -> None:
        assert place.items is not None
        before: dict[Any, Any] = {}
        keys = place.schema.get(LIST_KEYS) or ()
        if place.schema.get(LIST_TYPE) == "map" and isinstance(old, list):
            before = {_key(one, keys): one for one in old if isinstance(one, dict)}
        for at, item in enumerate(value):
            was = before.get(_key(item, keys), _ABSENT) if before and isinstance(item, dict) else _ABSENT
            self._below(place.items, rules.index(path, at), item, was, same)

    def _rules(self, place: _Place, path: str, value: Any, old: Any, same: bool) -> None:
        from edgekube.api.cel.errors import CelError, CostExceeded
        from edgekube.api.cel.values import NONE, Optional

        where, convert = path or NOWHERE, place.convert
        seen = value if convert is None else convert(value)
        bindings: dict[str, Any] = {"self": seen}
        optional = dict(bindings)
        if any(one.uses_old for one in place.compiled):
            optional["oldSelf"] = NONE
            if old is not _ABSENT and old is not None:
                bindings["oldSelf"] = old if convert is None else convert(old)
                optional["oldSelf"] = Optional(bindings["oldSelf"])
        for one in place.compiled:
            program, maybe = one.program, bool(one.rule.get("optionalOldSelf"))
            if program is None or (one.uses_old and "oldSelf" not in bindings and not maybe):
                continue
            try:
                answer = program.evaluate(optional if maybe else bindings, self.budget)
            except CostExceeded as problem:
                words = f"'{problem}': no further validation rules will be run due to call cost exceeds limit for rule: {_name(one.rule)}"
                self._stop(where, place.kind, words)
            except CelError as problem:
                self.errors.append(rules.invalid(where, place.kind, _failed(problem, one.rule)))
                continue
            if self.budget.left < 0:
                words = "validation failed due to running out of cost budget, no further validation rules will be run"
                self._stop(where, place.kind, words)
            if answer is not True:
                self._broken(one, where, path, place, value, optional if maybe else bindings, same)

    def _stop(self, where: str, kind: str, words: str) -> None:
        self.errors.append(rules.invalid(where, kind, words))
        raise _Out

    def _broken(
        self, one: Compiled, where: str, path: str, place: _Place, value: Any, bindings: Mapping[str, Any], same: bool
    ) -> None:
        if one.path:
            where = f"{path}.{one.path}".replace(".[", "[") if path else one.path
        detail = self._message(one, where, place, bindings)
        error = _error(where, _ABSENT if isinstance(value, dict | list) else value, detail, one.rule.get("reason"))
        if same and not one.uses_old:
            self.warnings.append(str(error))
        else:
            self.errors.append(error)

    def _message(self, one: Compiled, where: str, place: _Place, bindings: Mapping[str, Any]) -> str:
        from edgekube.api.cel.errors import CelError, CostExceeded

        fixed = (one.rule.get("message") or "").strip() or f"failed rule: {_name(one.rule)}"
        if one.message is None:
            return fixed
        text = one.message.text
        try:
            made = one.message.evaluate(bindings, self.budget)
        except CostExceeded:
            words = "no further validation rules will be run due to call cost exceeds limit for messageExpression: "
            self._stop(where, place.kind, words + rules.quoted(text))
        except CelError:
            return fixed
        if self.budget.left < 0:
            words = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run"
            self._stop(where, place.kind, words)
        told = made.strip() if isinstance(made, str) else ""
        return fixed if not told or "\n" in told or len(told.encode()) > MESSAGE_BYTES else told


def _key(item: Mapping[str, Any], keys: Any) -> tuple[Any, ...]:
    return tuple(repr(item.get(key)) for key in keys)


def _name(rule: Mapping[str, Any]) -> str:
    return (rule.get("message") or "").strip() or (rule.get("rule") or "").strip()


def _failed(problem: Exception, rule: Mapping[str, Any]) -> str:
    if str(problem).startswith("no such overload"):
        words = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{problem}': {words}: {_name(rule)}"
    return f"{problem} evaluating rule: {_name(rule)}"


def _error(where: str, value: Any, detail: str, reason: str | None) -> FieldError:
    if reason == "FieldValueForbidden":
        return rules.forbidden(where, detail)
    if reason == "FieldValueRequired":
        return rules.required(where, detail)
    if reason == "FieldValueDuplicate":
        return (
            FieldError(rules.DUPLICATE, where, "Duplicate value") if value is _ABSENT else rules.duplicate(where, value)
        )
    if value is _ABSENT:
        return FieldError(rules.INVALID, where, f"Invalid value: {detail}")
    return rules.invalid(where, value, detail)


def _place(schema: JSONSchema, types_of: JSONSchema, declared: Type | None, *, root: bool) -> _Place | None:
    """`schema`: whose rules; `types_of`: whose types (another one only inside of allOf)."""
    from edgekube.api import schema_types

    if declared is None:
        declared = schema_types.declared(types_of, root=root)
    if declared is None:
        return None
    compiled = [_compiled(rule, declared) for rule in schema.get(EXPRESSIONS) or ()]
    for one in compiled:
        if one.rule.get("fieldPath"):
            one.path = field_path(one.rule["fieldPath"], types_of) or ""
    properties: dict[str, _Place] = {}
    known = properties_of(types_of)
    for name, part in sorted(properties_of(schema).items()):
        if name in known and has_expressions(part):
            said = schema_types.escaped(name)
            below = declared.fields.get(said or "") if declared.fields is not None else None
            made = _place(part, known[name], below[0] if below else None, root=bool(known[name].get(EMBEDDED)))
            if made is not None:
                properties[name] = made
    return _Place(
        types_of,
        types_of.get("type") or "",
        schema_types.converter(types_of),
        compiled,
        properties,
        _element(items_of(schema), items_of(types_of), declared, 0),
        _element(additional_of(schema), additional_of(types_of), declared, -1),
        [
            made
            for part in schema.get("allOf") or ()
            if isinstance(part, dict) and has_expressions(part)
            if (made := _place(part, types_of, declared, root=root)) is not None
        ],
    )


def _element(schema: Any, types_of: Any, declared: Type, place: int) -> _Place | None:
    if not isinstance(schema, dict) or not isinstance(types_of, dict) or not has_expressions(schema):
        return None
    below = declared.params[place] if declared.kind in ("list", "map") else None
    return _place(schema, types_of, below, root=bool(types_of.get(EMBEDDED)))


class Rules:
    """The rules of one schema at work. Compiled when first asked."""

    __slots__ = ("_place", "_schema")

    def __init__(self, schema: JSONSchema) -> None:
        self._schema = schema
        self._place: _Place | None = None

    def errors(self, document: Document, old: Document | None = None) -> tuple[list[FieldError], list[str]]:
        """What the rules say of a document, and what they would say had it not been so before."""
        from edgekube.api.cel.program import Budget

        if self._place is None:
            self._place = _place(self._schema, self._schema, None, root=True)
            assert self._place is not None, "a resource is an object"
        evaluation = _Evaluation(Budget())
        try:
            evaluation.visit(self._place, "", document, _ABSENT if old is None else old, False)
        except _Out:
            pass
        return evaluation.errors, evaluation.warnings
