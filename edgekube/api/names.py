"""The forms a name may have: each check answers with upstream's messages, an empty list when the text is fine.

Only text is judged here. What a check's failure means (which field, which error type) is for `api.rules` and the kinds.
Lengths count UTF-8 bytes, as Go's do.

Source: k8s.io/apimachinery pkg/util/validation, pkg/api/validate/content and pkg/api/validation/path.
"""

from __future__ import annotations

import re

DNS_LABEL_MAX = 63
DNS_SUBDOMAIN_MAX = 253
LABEL_VALUE_MAX = 63
PORT_NAME_MAX = 15

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_SUBDOMAIN_UNDERSCORE = _LABEL_UNDERSCORE + r"(\." + _LABEL_UNDERSCORE + ")*"
_WILDCARD_SUBDOMAIN = r"\*\." + _SUBDOMAIN
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_ENV_NAME = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_PERCENT = "[0-9]+%"
_HEADER = "[-A-Za-z0-9]+"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

_match_label = re.compile(_LABEL).fullmatch
_match_subdomain = re.compile(_SUBDOMAIN).fullmatch
_match_subdomain_underscore = re.compile(_SUBDOMAIN_UNDERSCORE).fullmatch
_match_wildcard = re.compile(_WILDCARD_SUBDOMAIN).fullmatch
_match_label_1035 = re.compile(_LABEL_1035).fullmatch
_match_qualified = re.compile(_QUALIFIED).fullmatch
_match_label_value = re.compile(_LABEL_VALUE).fullmatch
_match_c_identifier = re.compile(_C_IDENTIFIER).fullmatch
_match_config_key = re.compile(_CONFIG_KEY).fullmatch
_match_env_name = re.compile(_ENV_NAME).fullmatch
_match_percent = re.compile(_PERCENT).fullmatch
_match_header = re.compile(_HEADER).fullmatch
_match_http_path = re.compile(_HTTP_PATH).fullmatch
_match_port_letters = re.compile("[-a-z0-9]+").fullmatch
_find_letter = re.compile("[a-z]").search

_QUALIFIED_WORDS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)


def regex_error(message: str, pattern: str, *examples: str) -> str:
    """Upstream's sentence for text that does not match `pattern`."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def _too_long(value: str, most: int, unit: str = "characters") -> list[str]:
    if len(value) <= most and (value.isascii() or len(value.encode()) <= most):
        return []
    return [f"must be no more than {most} {unit}"]


def dns_label(value: str) -> list[str]:
    """RFC 1123 label: namespaces, most short names."""
    problems = _too_long(value, DNS_LABEL_MAX)
    if not _match_label(value):
        if _match_subdomain(value):
            problems.append("must not contain dots")
        else:
            message = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                "and must start and end with an alphanumeric character"
            )
            problems.append(regex_error(message, _LABEL, "my-name", "123-abc"))
    return problems


def dns_subdomain(value: str, unit: str = "characters") -> list[str]:
    """RFC 1123 subdomain: the name of most objects. `unit` is the word upstream uses for the length where it is checked."""
    problems = _too_long(value, DNS_SUBDOMAIN_MAX, unit)
    if not _match_subdomain(value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        problems.append(regex_error(message, _SUBDOMAIN, "example.com"))
    return problems


def dns_subdomain_underscore(value: str) -> list[str]:
    """RFC 1123 subdomain that may hold underscores (DNS search paths)."""
    problems = _too_long(value, DNS_SUBDOMAIN_MAX)
    if not _match_subdomain_underscore(value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        problems.append(regex_error(message, _SUBDOMAIN_UNDERSCORE, "example.com"))
    return problems


def wildcard_dns_subdomain(value: str) -> list[str]:
    """`*.` and a subdomain (Ingress hosts)."""
    problems = _too_long(value, DNS_SUBDOMAIN_MAX)
    if not _match_wildcard(value):
        message = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
            "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
        )
        problems.append(regex_error(message, _WILDCARD_SUBDOMAIN, "*.example.com"))
    return problems


def dns_1035_label(value: str) -> list[str]:
    """RFC 1035 label: Service names, CRD short names."""
    problems = _too_long(value, DNS_LABEL_MAX)
    if not _match_label_1035(value):
        message = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character"
        )
        problems.append(regex_error(message, _LABEL_1035, "my-name", "abc-123"))
    return problems


def qualified_name(value: str) -> list[str]:
    """An optional DNS prefix, a slash and a name: label and annotation keys, finalizers, resource names."""
    parts = value.split("/")
    words = regex_error(_QUALIFIED_WORDS, _QUALIFIED, "MyName", "my.name", "123-abc")
    if len(parts) > 2:
        return [f"a valid label key {words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    problems = []
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {message}" for message in dns_subdomain(prefix, "bytes")]
    name = parts[-1]
    if not name:
        problems.append("name part must be non-empty")
    else:
        problems += [f"name part {message}" for message in _too_long(name, LABEL_VALUE_MAX, "bytes")]
    if not _match_qualified(name):
        problems.append(f"name part {words}")
    return problems


label_key = qualified_name


def label_value(value: str) -> list[str]:
    """Empty, or like the name part of a label key."""
    problems = _too_long(value, LABEL_VALUE_MAX, "bytes")
    if not _match_label_value(value):
        message = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character"
        )
        problems.append(regex_error(message, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return problems


def c_identifier(value: str) -> list[str]:
    """A C identifier, any length."""
    if _match_c_identifier(value):
        return []
    message = (
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
        "characters or '_'"
    )
    return [regex_error(message, _C_IDENTIFIER, "my_name", "MY_NAME", "MyName")]


def port_number(value: int) -> list[str]:
    """1 to 65535."""
    return in_range(value, 1, 65535)


def in_range(value: int, least: int, most: int) -> list[str]:
    """Between the bounds, both included."""
    return [] if least <= value <= most else [f"must be between {least} and {most}, inclusive"]


def user_id(value: int) -> list[str]:
    """A Unix uid or gid."""
    return in_range(value, 0, 2**31 - 1)


def port_name(value: str) -> list[str]:
    """An IANA service name: at most 15 of a-z, 0-9 and single hyphens, at least one letter."""
    problems = _too_long(value, PORT_NAME_MAX)
    if not _match_port_letters(value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _find_letter(value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def percent(value: str) -> list[str]:
    """Digits and a percent sign."""
    if _match_percent(value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_error(message, _PERCENT, "1%", "93%")]


def http_header_name(value: str) -> list[str]:
    """A header field name."""
    if _match_header(value):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_error(message, _HEADER, "X-Header-Name")]


def env_name(value: str) -> list[str]:
    """An environment variable's name: printable ASCII without '='."""
    problems = [] if value else ["environment variable name must be non-empty"]
    if not all(" " <= letter <= "~" and letter != "=" for letter in value):
        problems.append(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
    return problems


def strict_env_name(value: str) -> list[str]:
    """An environment variable's name as it was before the rule was relaxed."""
    problems = []
    if not _match_env_name(value):
        message = (
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
            "and must not start with a digit"
        )
        problems.append(regex_error(message, _ENV_NAME, "my.env-name", "MY_ENV.NAME", "MyEnvName1"))
    return problems + _climbs(value)


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: it becomes a file name."""
    problems = _too_long(value, DNS_SUBDOMAIN_MAX)
    if not _match_config_key(value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        problems.append(regex_error(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return problems + _climbs(value)


def _climbs(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def path_segment(value: str) -> list[str]:
    """A name that can stand in a URL path: RBAC objects."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{letter}'" for letter in "/%" if letter in value]


def http_path(value: str) -> list[str]:
    """The path characters RFC 3986 allows."""
    return [] if _match_http_path(value) else [regex_error("Invalid path", _HTTP_PATH)]


def mask_trailing_dash(prefix: str) -> str:
    """A `generateName` made checkable as a name: a last dash stands for what will be appended."""
    return prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
