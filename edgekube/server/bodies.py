"""Request bodies to documents: by media type, checked for the kind, version and fields the resource expects.

The texts of refusals are `api.decoding`'s; here is only the order of the questions. YAML and protobuf readers are loaded when
the first such body comes. Source: k8s.io/apiserver pkg/endpoints/handlers (create.go, rest.go) and runtime/serializer.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from edgekube import errors
from edgekube.api import decoding, rules
from edgekube.api.kind import Kind
from edgekube.kinds.catalog import SUBRESOURCE_KINDS, built_in
from edgekube.server.context import Context

Document = dict[str, Any]

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
READ = (JSON, YAML, PROTOBUF)
READ_CUSTOM = (JSON, YAML)
SCHEME = "pkg/api/legacyscheme/scheme.go:30"
# Versions that upstream no longer serves but still recognises in a body.
RETIRED = {
    "Deployment": ("extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"),
    "ReplicaSet": ("extensions/v1beta1", "apps/v1beta2"),
    "DaemonSet": ("extensions/v1beta1", "apps/v1beta2"),
    "StatefulSet": ("apps/v1beta1", "apps/v1beta2"),
    "Ingress": ("extensions/v1beta1", "networking.k8s.io/v1beta1"),
    "CronJob": ("batch/v1beta1",),
    "NetworkPolicy": ("extensions/v1beta1",),
    "PodDisruptionBudget": ("policy/v1beta1",),
    "Event": ("v1", "events.k8s.io/v1beta1", "events.k8s.io/v1"),
    "HorizontalPodAutoscaler": ("autoscaling/v1", "autoscaling/v2beta1", "autoscaling/v2beta2", "autoscaling/v2"),
    "Eviction": ("policy/v1beta1", "policy/v1"),
}


@cache
def _built_in_ids() -> frozenset[int]:
    return frozenset(id(kind) for kind in (*built_in(), *SUBRESOURCE_KINDS))


def media_type(header: str) -> str:
    """The media type of a Content-Type, without parameters; JSON where there is none."""
    return header.partition(";")[0].strip().lower() or JSON


def unknown_format(accepted: tuple[str, ...]) -> errors.UnsupportedMediaType:
    """The body's media type is none that this resource reads."""
    return errors.UnsupportedMediaType(
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted),
        details=False,
    )


def is_custom(kind: Kind[Any]) -> bool:
    """Whether a kind comes from a definition at run time; such objects are never protobuf."""
    return id(kind) not in _built_in_ids()


def read_object(kind: Kind[Any], data: bytes, content_type: str, context: Context) -> Document:
    """The document of an object of `kind` in a request body. Adds warnings. Raises BadRequest, UnsupportedMediaType."""
    media = media_type(content_type)
    if media == JSON:
        document = decoding.parse_object(data, kind.name)
        check_kind(kind, document, data)
        check_fields(kind, document, data, context)
        if kind.read_text is not None:
            kind.read_text(document, data)
        return document
    if media == YAML:
        return _read_yaml(kind, data, context)
    if media == PROTOBUF:
        from edgekube.wire import k8s_protobuf

        try:
            document = k8s_protobuf.decode(data, kind)
        except (errors.ProtocolError, ValueError) as problem:
            raise decoding.unrecognized(kind.name, str(problem), data) from None
        check_kind(kind, document)
        return document
    raise unknown_format(READ)


def _read_yaml(kind: Kind[Any], data: bytes, context: Context) -> Document:
    from edgekube.api import yamldoc

    try:
        document, repeated = yamldoc.parse_yaml(data)
    except ValueError as problem:
        raise decoding.unrecognized(
            kind.name, f"couldn't get version/kind; json parse error: {problem}", data
        ) from None
    document = decoding.parse_object(msgspec.json.encode(document), kind.name)
    check_kind(kind, document, data)
    check_fields(kind, document, b"", context, repeated)
    return document


def check_kind(kind: Kind[Any], document: Document, data: bytes = b"") -> None:
    """Fill in a missing kind and version; raise BadRequest for others than the resource's."""
    if kind.custom:
        _check_custom_kind(kind, document, data)
        return
    name, version = document.get("kind") or kind.name, document.get("apiVersion") or kind.api_version
    for member, value in (("apiVersion", version), ("kind", name)):
        if not isinstance(value, str):
            found = decoding.json_type(value)
            raise errors.BadRequest(f"json: cannot unmarshal {found} into Go struct field .{member} of type string")
    if (name, version) == (kind.name, kind.api_version):
        document["kind"], document["apiVersion"] = name, version
        return
    if name == kind.name and version in RETIRED.get(name, ()):
        raise errors.BadRequest(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    short = version.rpartition("/")[2]
    start = f'{name} in version "{short}" cannot be handled as a {kind.name}: '
    if _registered(name, version):
        package = kind.group.partition(".")[0] or "core"
        raise errors.BadRequest(f"{start}converting ({short}.{name}) to ({package}.{kind.name}): unknown conversion")
    raise errors.BadRequest(f'{start}no kind "{name}" is registered for version "{version}" in scheme "{SCHEME}"')


def _check_custom_kind(kind: Kind[Any], document: Document, data: bytes) -> None:
    """Custom resources must say what they are: in a body (`data`) another version cannot be read, in a patch's result it breaks
    a rule, as another kind does everywhere."""
    name, version = document.get("kind"), document.get("apiVersion")
    if not name:
        text = data or msgspec.json.encode(document)
        words = f"Object 'Kind' is missing in '{text.decode(errors='replace')}'"
        raise decoding.unrecognized(kind.name, words, text)
    metadata = document.get("metadata")
    called = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
    broken = []
    if version != kind.api_version:
        if data:
            raise errors.BadRequest(
                f"the API version in the data ({version or ''}) does not match the expected API version"
                f" ({kind.api_version})"
            )
        broken.append(rules.invalid("apiVersion", version, f"must be {kind.api_version}"))
    if name != kind.name:
        broken.append(rules.invalid("kind", name, f"must be {kind.name}"))
    if broken:
        raise rules.invalid_object(str(name), kind.group, called, broken)


def _registered(name: str, version: str) -> bool:
    if name in ("List", "Status", "DeleteOptions", "ListOptions", "PodList"):
        return True
    single = name.removesuffix("List")
    return any(kind.name in (name, single) and kind.api_version == version for kind in built_in())


def check_fields(
    kind: Kind[Any], document: Document, data: bytes, context: Context, problems: list[str] | None = None
) -> None:
    """Unknown and repeated fields: refused when Strict, warned of when Warn (the default), ignored when Ignore."""
    if context.field_validation == "Ignore":
        return
    found = (problems or []) + decoding.unknown_and_duplicate_fields(document, kind.type, data)
    if not found:
        return
    if context.field_validation == "Strict":
        raise decoding.strict_error(
            kind, [f"yaml: unmarshal errors:\n  {p}" if p in (problems or ()) else p for p in found]
        )
    context.warnings += found


def go_map(value: Any) -> str:
    """A document as Go's %v prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_map(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_map, value))}]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
