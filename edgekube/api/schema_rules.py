"""The rules a structural schema sets for values, broken ones in upstream's words.

Pure functions over plain documents and dict schemas; what is pruned or filled in is in `api.schema`. Errors that upstream makes
without a field have the path "<nil>", as its answers do. On update, parts that did not change may stay as wrong as they were
(ratcheting).

Source: k8s.io/kube-openapi pkg/validation/validate, k8s.io/apiextensions-apiserver pkg/apiserver/validation and
pkg/apiserver/schema/{listtype,objectmeta}.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from edgekube.api import formats, names, rules
from edgekube.api.kind import FieldError
from edgekube.api.schema import (
    EMBEDDED,
    INT_OR_STRING,
    LIST_KEYS,
    LIST_TYPE,
    Document,
    JSONSchema,
    additional_of,
    items_of,
    properties_of,
)
from edgekube.api.schema_expressions import NOWHERE, Rules

UNCHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_BLOCKING = frozenset((rules.NOT_SUPPORTED, rules.REQUIRED, rules.TOO_LONG, rules.TOO_MANY, rules.TYPE_INVALID))
_ABSENT: Any = object()
_Found = tuple[
    list[FieldError], int
]  # the errors, and how much matched: the closest of several alternatives is reported


def validate(
    document: Document,
    schema: JSONSchema | None,
    old: Document | None = None,
    expressions: Rules | None = None,
    warned: list[str] | None = None,
) -> list[FieldError]:
    """Every broken rule: of the values, of embedded resources, of list types, and of `expressions` if all else allows to ask them.

    `old`: what the document replaces. `warned`: where to put what is as wrong as it was.
    """
    if not schema:
        return []
    errors = _check(document, schema, "", _ABSENT if old is None else old, True)[0]
    errors += embedded_errors(document, {**schema, EMBEDDED: False})
    if old is None or not list_errors(old, schema):
        errors += list_errors(document, schema)
    if expressions is None:
        return errors
    if any(error.reason in _BLOCKING for error in errors):
        return [*errors, rules.invalid(NOWHERE, None, UNCHECKED)]
    broken, warnings = expressions.errors(document, old)
    if warned is not None:
        warned += warnings
    return errors + broken


def values_errors(value: Any, schema: JSONSchema) -> list[FieldError]:
    """What any value breaks of the rules for values."""
    return _check(value, schema, "", _ABSENT, True)[0]


# ------------------------------------------------------------------------------------------------- values


def _check(value: Any, schema: JSONSchema, path: str, old: Any, ratchet: bool) -> _Found:
    """One value against one schema. `ratchet`: errors go when the value equals the old one (not so in alternatives)."""
    if value is None:
        errors, count = _check_type(value, schema, path)
        errors = errors + _check_enum(value, schema, path)
    else:
        errors, count = _check_present(value, schema, path, old)
    if errors and ratchet and old is not _ABSENT and value == old and type(value) is type(old):
        return [], count
    return errors, count


def _check_present(value: Any, schema: JSONSchema, path: str, old: Any) -> _Found:
    errors: list[FieldError] = []
    count = 1
    if _types(schema) or _format(schema):
        found, matched = _check_type(value, schema, path)
        errors, count = found, count + matched + 1
    found, matched = _check_alternatives(value, schema, path, old)
    errors, count = errors + found, count + matched + 1
    if isinstance(value, str):
        errors = errors + _check_string(value, schema, path)
        count += 1
        name = _format(schema)
        if name and formats.known(name):
            count += 1
            if not formats.keeps(name, value):
                words = f"{path} in body must be of type {name}: {rules.quoted(value)}"
                errors = [*errors, rules.type_invalid(_where(path), value, words)]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        errors, count = errors + _check_number(value, schema, path), count + 2
    elif isinstance(value, list):
        found, matched = _check_list(value, schema, path, old)
        errors, count = errors + found, count + matched + 2
    errors, count = errors + _check_enum(value, schema, path), count + 1
    if isinstance(value, dict):
        found, matched = _check_object(value, schema, path, old)
        errors, count = errors + found, count + matched + 1
    return errors, count


def _where(path: str) -> str:
    return path.removeprefix(".") or NOWHERE


def _types(schema: JSONSchema) -> tuple[str, ...]:
    if schema.get(INT_OR_STRING):
        return ("integer", "string")
    kind = schema.get("type")
    return (kind,) if kind else ()


def _format(schema: JSONSchema) -> str:
    """The format as far as upstream looks at it."""
    name = schema.get("format") or ""
    types = _types(schema)
    kind = types[0] if len(types) == 1 else ""
    if kind in ("", "string"):
        return name if formats.known(name) else ""
    allowed = {"integer": ("int32", "int64"), "number": ("float", "double")}.get(kind, ())
    return name if name in allowed else ""


def _type_of(value: Any) -> tuple[str, str]:
    """(type, format) of a decoded value in schema words. Integers beyond int64 count as floats, as Go reads them."""
    if value is None:
        return "null", ""
    if isinstance(value, bool):
        return "boolean", ""
    if isinstance(value, str):
        return "string", ""
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return "integer", "int64"
    if isinstance(value, int | float):
        return "number", "float64"
    return ("array", "") if isinstance(value, list) else ("object", "")


def _integral(value: Any) -> bool:
    return float(value).is_integer() and abs(value) < 2**53


def _check_type(value: Any, schema: JSONSchema, path: str) -> _Found:
    types, name = _types(schema), _format(schema)
    found, precise = _type_of(value)

    def refuse(wanted: str, shown: str) -> _Found:
        words = f"{path} in body must be of type {wanted}: {rules.quoted(shown)}"
        return [rules.type_invalid(_where(path), shown, words)], 0

    if found == "null":
        return refuse(",".join(types), "null") if types and not schema.get("nullable") else ([], 1)
    fits = found in types
    fits = fits or (found == "number" and "integer" in types and _integral(value))
    fits = fits or (found == "integer" and "number" in types)
    if found not in ("string", "array") and name and not fits and precise != name:
        return refuse(name, precise)
    if name and found in ("string", "array") and not {"number", "integer"} & set(types):
        return [], 1
    return ([], 1) if fits or not types else refuse(",".join(types), found)


def _check_enum(value: Any, schema: JSONSchema, path: str) -> list[FieldError]:
    allowed = schema.get("enum")
    if not allowed or any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in allowed):
        return []
    shown = [item if isinstance(item, str) else rules.go_json(item) for item in allowed]
    return [rules.not_supported(_where(path), value, shown)]


def _check_string(value: str, schema: JSONSchema, path: str) -> list[FieldError]:
    most, least, expression = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if most is not None and len(value) > most:
        return [rules.too_long(_where(path), int(most))]
    if least is not None and len(value) < least:
        return [rules.invalid(_where(path), value, f"{path} in body should be at least {int(least)} chars long")]
    if expression and (compiled := formats.pattern(expression)) is not None and not compiled.search(value):
        return [rules.invalid(_where(path), value, f"{path} in body should match '{expression}'")]
    return []


def _check_number(value: float, schema: JSONSchema, path: str) -> list[FieldError]:
    errors = []
    kind, name = schema.get("type"), _format(schema)
    if not _in_range(value, kind, name):
        shown = f"with format {name}" if name else "(default format)"
        words = f"Checked value must be of type {kind} {shown} in {path}"
        errors.append(rules.invalid(NOWHERE, "", words))
    factor = schema.get("multipleOf")
    if factor is not None and factor > 0 and not _is_multiple(value, factor):
        words = f"{path} in body should be a multiple of {rules.go_value(factor)}"
        errors.append(rules.invalid(_where(path), value, words))
    for bound, exclusive, sign, soft, hard in (
        ("minimum", "exclusiveMinimum", 1, "greater than or equal to", "greater than"),
        ("maximum", "exclusiveMaximum", -1, "less than or equal to", "less than"),
    ):
        limit = schema.get(bound)
        if limit is None:
            continue
        if isinstance(value, int):
            limit = int(limit)
        distance = (value - limit) * sign
        if distance < 0 or (distance == 0 and schema.get(exclusive)):
            words = f"{path} in body should be {hard if schema.get(exclusive) else soft} {rules.go_value(limit)}"
            errors.append(rules.invalid(_where(path), value, words))
    return errors


def _in_range(value: float, kind: str | None, name: str) -> bool:
    if kind != "integer":
        return name != "float" or not math.isfinite(value) or abs(value) <= 3.4028234663852886e38
    if isinstance(value, float) and not value.is_integer():
        return False
    bits = 31 if name == "int32" else 63
    return -(1 << bits) <= value < 1 << bits


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and float(factor).is_integer():
        return value % int(factor) == 0
    ratio = value / factor if factor >= 1 else 1 / factor * value
    return bool(abs(ratio - round(ratio)) < 1e-9 * max(1.0, abs(ratio)))


def _correlated(old: Any, schema: JSONSchema, item: Any) -> Any:
    """The old element an element of a keyed list replaces; elements of other lists have no counterpart."""
    keys = schema.get(LIST_KEYS)
    if not isinstance(old, list) or schema.get(LIST_TYPE) != "map" or not keys or not isinstance(item, dict):
        return _ABSENT
    for candidate in old:
        if isinstance(candidate, dict) and all(candidate.get(key) == item.get(key) for key in keys):
            return candidate
    return _ABSENT


def _check_list(value: list[Any], schema: JSONSchema, path: str, old: Any) -> _Found:
    errors: list[FieldError] = []
    count = 1
    if (items := items_of(schema)) is not None:
        for position, item in enumerate(value):
            found, matched = _check(item, items, f"{path}[{position}]", _correlated(old, schema, item), True)
            errors, count = errors + found, count + matched
    least, most = schema.get("minItems"), schema.get("maxItems")
    if least is not None and len(value) < least:
        words = f"{path} in body should have at least {int(least)} items"
        errors.append(rules.invalid(_where(path), len(value), words))
    if most is not None and len(value) > most:
        errors.append(rules.too_many(_where(path), len(value), int(most)))
    if schema.get("uniqueItems") and any(item in value[:position] for position, item in enumerate(value)):
        errors.append(rules.invalid(_where(path), "", f"{path} in body shouldn't contain duplicates"))
    return errors, count


def _check_object(value: Document, schema: JSONSchema, path: str, old: Any) -> _Found:
    errors: list[FieldError] = []
    count = 0
    least, most = schema.get("minProperties"), schema.get("maxProperties")
    if least is not None and len(value) < least:
        words = f"{path} in body should have at least {int(least)} properties"
        errors.append(rules.invalid(_where(path), len(value), words))
    if most is not None and len(value) > most:
        errors.append(rules.too_many(_where(path), len(value), int(most)))
    before = old if isinstance(old, dict) else {}
    properties, additional = properties_of(schema), additional_of(schema)
    for name, item in value.items():
        below = properties.get(name)
        inner = f"{path}.{name}" if path or below is None else name
        if below is None:
            if not isinstance(additional, dict):
                continue
            below = additional
        found, matched = _check(item, below, inner, before.get(name, _ABSENT), True)
        errors, count = errors + found, count + matched
    errors += [rules.required(_where(f"{path}.{name}")) for name in schema.get("required") or () if name not in value]
    return errors, count


def _check_alternatives(value: Any, schema: JSONSchema, path: str, old: Any) -> _Found:
    errors: list[FieldError] = []
    count = 1
    shown = rules.quoted(path)

    def tried(name: str) -> list[_Found]:
        return [_check(value, option, path, old, False) for option in schema.get(name) or ()]

    if results := tried("anyOf"):
        fitting = next((result for result in results if not result[0]), None)
        if fitting is None:
            errors.append(rules.invalid(NOWHERE, "", f"{shown} must validate at least one schema (anyOf)"))
        found, matched = fitting or _closest(results)
        errors, count = errors + found, count + matched
    if results := tried("oneOf"):
        fitted = [result for result in results if not result[0]]
        if len(fitted) == 1:
            count += fitted[0][1]
        else:
            told = f"Found {len(fitted)} valid alternatives" if fitted else "Found none valid"
            words = f"{shown} must validate one and only one schema (oneOf). {told}"
            errors.append(rules.invalid(NOWHERE, "", words))
            if not fitted:
                found, matched = _closest(results)
                errors, count = errors + found, count + matched
    if results := tried("allOf"):
        for found, matched in results:
            errors, count = errors + found, count + matched
        failed = sum(1 for found, _ in results if found)
        if failed:
            told = ". None validated" if failed == len(results) else ""
            errors.append(rules.invalid(NOWHERE, "", f"{shown} must validate all the schemas (allOf){told}"))
    if isinstance(schema.get("not"), dict) and not _check(value, schema["not"], path, old, False)[0]:
        errors.append(rules.invalid(NOWHERE, "", f"{shown} must not validate the schema (not)"))
    return errors, count


def _closest(results: list[_Found]) -> _Found:
    return max(results, key=lambda result: result[1])


# ------------------------------------------------------------------------------------------------- list types


def list_errors(value: Any, schema: JSONSchema, path: str = "") -> list[FieldError]:
    """Elements of sets and keyed lists that occur again."""
    errors: list[FieldError] = []
    if isinstance(value, dict):
        properties, additional = properties_of(schema), additional_of(schema)
        for name, item in value.items():
            if not isinstance(item, dict | list):
                continue
            if name in properties:
                errors += list_errors(item, properties[name], rules.child(path, name))
            elif isinstance(additional, dict):
                errors += list_errors(item, additional, rules.key(path, name))
    elif isinstance(value, list):
        errors += _repeated(value, schema, path)
        if (items := items_of(schema)) is not None:
            for position, item in enumerate(value):
                errors += list_errors(item, items, rules.index(path, position))
    return errors


def _repeated(value: list[Any], schema: JSONSchema, path: str) -> list[FieldError]:
    kind = schema.get(LIST_TYPE)
    if kind == "set":
        told = value
    elif kind == "map":
        for position, item in enumerate(value):
            if item is not None and not isinstance(item, dict):
                words = "must be an object for an array of list-type map"
                return [rules.invalid(rules.index(path, position), item, words)]
        keys = schema.get(LIST_KEYS) or ()
        told = [{key: item[key] for key in keys if key in item} if item else {} for item in value]
    else:
        return []
    seen: dict[bytes, int] = {}
    errors = []
    for position, item in enumerate(told):
        mark = msgspec.json.encode(item, order="deterministic")
        seen[mark] = seen.get(mark, 0) + 1
        if seen[mark] == 2:
            errors.append(rules.duplicate(rules.index(path, position), item))
    return errors


# ------------------------------------------------------------------------------------------------- embedded resources


def embedded_errors(value: Any, schema: JSONSchema, path: str = "") -> list[FieldError]:
    """What embedded resources lack of a resource: apiVersion, kind, well-formed metadata."""
    errors: list[FieldError] = []
    if isinstance(value, dict):
        if schema.get(EMBEDDED):
            errors += _resource_errors(value, path)
        properties, additional = properties_of(schema), additional_of(schema)
        for name, item in value.items():
            if not isinstance(item, dict | list):
                continue
            if name in properties:
                errors += embedded_errors(item, properties[name], rules.child(path, name))
            elif isinstance(additional, dict):
                errors += embedded_errors(item, additional, rules.key(path, name))
    elif isinstance(value, list) and (items := items_of(schema)) is not None:
        for position, item in enumerate(value):
            errors += embedded_errors(item, items, rules.index(path, position))
    return errors


def _resource_errors(value: Document, path: str) -> list[FieldError]:
    errors = []
    for name in ("apiVersion", "kind"):
        where, text = rules.child(path, name), value.get(name, _ABSENT)
        if text is _ABSENT:
            errors.append(rules.required(where))
        elif not isinstance(text, str):
            errors.append(rules.invalid(where, text, "must be a string"))
        elif not text:
            errors.append(rules.invalid(where, text, "must not be empty"))
        elif name == "apiVersion" and text.count("/") > 1:
            errors.append(rules.invalid(where, text, f"unexpected GroupVersion string: {text}"))
        elif name == "kind" and (wrong := names.dns_1035_label(text.lower())):
            words = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
            errors.append(rules.invalid(where, text, words))
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        errors += _metadata_errors(metadata, rules.child(path, "metadata"))
    return errors


def _metadata_errors(metadata: Document, path: str) -> list[FieldError]:
    errors = []
    name = metadata.get("name")
    if isinstance(name, str):
        errors += rules.each(rules.child(path, "name"), name, names.path_segment(name))
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and namespace:
        errors += rules.each(rules.child(path, "namespace"), namespace, names.dns_label(namespace))
    for key, text in (metadata.get("labels") or {}).items():
        where = rules.child(path, "labels")
        errors += rules.each(where, key, names.label_key(key)) + rules.each(where, text, names.label_value(text))
    for key in metadata.get("annotations") or {}:
        errors += rules.each(rules.child(path, "annotations"), key, names.qualified_name(key.lower()))
    return errors
