"""Broken rules in upstream's exact words: one function per error type, and the Invalid answer made of them.

Kinds call these with the field's path as text ("spec.ports[0].name"); `child`, `index` and `key` build paths. What the rules
of a kind are is for the kind. A value that is shown is rendered as Go would: text quoted, the rest as Go's JSON.

Source: k8s.io/apimachinery pkg/util/validation/field/errors.go and pkg/api/errors (NewInvalid).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from edgekube.api.kind import FieldError
from edgekube.api.meta import encode_scalar
from edgekube.errors import Invalid

REQUIRED = "FieldValueRequired"
INVALID = "FieldValueInvalid"
TYPE_INVALID = "FieldValueTypeInvalid"
NOT_SUPPORTED = "FieldValueNotSupported"
DUPLICATE = "FieldValueDuplicate"
NOT_FOUND = "FieldValueNotFound"
FORBIDDEN = "FieldValueForbidden"
TOO_LONG = "FieldValueTooLong"
TOO_SHORT = "FieldValueTooShort"
TOO_MANY = "FieldValueTooMany"
TOO_FEW = "FieldValueTooFew"
INTERNAL = "InternalError"

IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"

_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
_ENCODER = msgspec.json.Encoder(enc_hook=encode_scalar, order="deterministic")
_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def child(path: str, name: str) -> str:
    """The path of a member of what `path` names."""
    return f"{path}.{name}" if path else name


def index(path: str, position: int) -> str:
    """The path of a list's element."""
    return f"{path}[{position}]"


def key(path: str, name: str) -> str:
    """The path of a map's entry."""
    return f"{path}[{name}]"


def quoted(text: str) -> str:
    """Text as Go's %q shows it."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_quoted_letter(letter) for letter in text) + '"'


def _quoted_letter(letter: str) -> str:
    code = ord(letter)
    if code in _ESCAPES:
        return _ESCAPES[code]
    if letter.isprintable():
        return letter
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_json(value: Any) -> str:
    """A value as Go's encoding/json writes it: no spaces, map keys sorted (members of structs are not), HTML escaped."""
    return _ENCODER.encode(value).decode().translate(_HTML)


def go_value(value: Any) -> str:
    """A decoded JSON value as Go's %v shows it: map[a:1 b:[x y]]."""
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{name}:{go_value(value[name])}' for name in sorted(value))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(go_value, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _go_float(value)
    return str(value)


def _go_float(value: float) -> str:
    text = repr(value)
    if "e" in text and 1e-4 <= abs(value) < 1e21:
        return f"{value:.0f}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa.removesuffix('.0')}e{exponent[0] if exponent[0] in '+-' else '+'}{exponent.lstrip('+-'):0>2}"
    return text.removesuffix(".0")


def shown(value: Any) -> str:
    """A bad value as it stands in a message."""
    if isinstance(value, str):
        return quoted(str(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return go_value(value)
    return go_json(value)


def _body(words: str, detail: str) -> str:
    return f"{words}: {detail}" if detail else words


def required(path: str, detail: str = "") -> FieldError:
    """A value must be there."""
    return FieldError(REQUIRED, path, _body("Required value", detail))


def invalid(path: str, value: Any, detail: str) -> FieldError:
    """A value is malformed or out of bounds."""
    return FieldError(INVALID, path, _body(f"Invalid value: {shown(value)}", detail))


def type_invalid(path: str, value: Any, detail: str) -> FieldError:
    """A value is not of the type its schema asks for."""
    return FieldError(TYPE_INVALID, path, _body(f"Invalid value: {shown(value)}", detail))


def not_supported(path: str, value: Any, allowed: Iterable[str]) -> FieldError:
    """A value is not one of the known ones; `allowed` is listed in the order given (upstream mostly sorts it)."""
    names = ", ".join(quoted(name) for name in allowed)
    return FieldError(
        NOT_SUPPORTED, path, _body(f"Unsupported value: {shown(value)}", f"supported values: {names}" if names else "")
    )


def duplicate(path: str, value: Any) -> FieldError:
    """A value that must be unique occurs again."""
    return FieldError(DUPLICATE, path, f"Duplicate value: {shown(value)}")


def not_found(path: str, value: Any) -> FieldError:
    """A value refers to nothing."""
    return FieldError(NOT_FOUND, path, f"Not found: {shown(value)}")


def forbidden(path: str, detail: str) -> FieldError:
    """A well-formed value that may not be set here and now."""
    return FieldError(FORBIDDEN, path, _body("Forbidden", detail))


def too_long(path: str, most: int, unit: str = "byte") -> FieldError:
    """Longer than `most` units ("byte" or "character"); a negative `most` is not named."""
    if most < 0:
        return FieldError(TOO_LONG, path, "Too long: value is too long")
    return FieldError(TOO_LONG, path, f"Too long: may not be more than {most} {unit}{'' if most == 1 else 's'}")


def too_short(path: str, least: int) -> FieldError:
    """Shorter than `least` characters."""
    return FieldError(TOO_SHORT, path, f"Too short: must be at least {least} character{'' if least == 1 else 's'}")


def too_many(path: str, actual: int, most: int) -> FieldError:
    """A list of `actual` items (negative: not named) where `most` are allowed (negative: not named)."""
    words = f"must have at most {most} item{'' if most == 1 else 's'}" if most >= 0 else "has too many items"
    return FieldError(TOO_MANY, path, f"Too many: {actual}: {words}" if actual >= 0 else f"Too many: {words}")


def too_few(path: str, actual: int, least: int) -> FieldError:
    """A list of `actual` items where `least` are needed."""
    words = f"must have at least {least} item{'' if least == 1 else 's'}" if least >= 0 else "has too few items"
    return FieldError(TOO_FEW, path, f"Too few: {actual}: {words}")


def internal(path: str, detail: str) -> FieldError:
    """Our own failure found while checking a field."""
    return FieldError(INTERNAL, path, _body("Internal error", detail))


def immutable(path: str, value: Any) -> FieldError:
    """A field that may not change was changed; `value` is the new one."""
    return invalid(path, value, IMMUTABLE)


def same(path: str, new: Any, old: Any) -> list[FieldError]:
    """`immutable` unless both values are equal."""
    return [] if new == old else [immutable(path, new)]


def not_negative(path: str, value: int) -> list[FieldError]:
    """Zero or more."""
    return [] if value >= 0 else [invalid(path, value, NOT_NEGATIVE)]


def each(path: str, value: Any, messages: Sequence[str]) -> list[FieldError]:
    """One `invalid` per message that a check of `api.names` returned."""
    return [invalid(path, value, message) for message in messages]


def one_of(path: str, value: str, allowed: Sequence[str], *, empty: str = "required") -> list[FieldError]:
    """`value` must be in `allowed`. `empty` says what "" means: "required", "fine" or "unsupported"."""
    if value in allowed or (not value and empty == "fine"):
        return []
    if not value and empty == "required":
        return [required(path)]
    return [not_supported(path, value, allowed)]


def invalid_object(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> Invalid:
    """The 422 answer for an object that breaks these rules."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    full = f"{kind}.{group}" if group else kind
    message = f'{full} "{name}" is invalid' + (f": {listed}" if texts else "")
    return Invalid(message, name=name, group=group, kind=kind, causes=[error.to_cause() for error in errors])
