"""OpenAPI of aggregated servers beside our own: their documents in the v3 index, their paths and definitions in v2.

Source: kube-aggregator pkg/controllers/{openapi,openapiv3}.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from edgekube.api.kind import ENCODER

_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])


def v3_entries(body: bytes, path: str) -> dict[str, str]:
    """Of a v3 index, the URLs of the documents of one group and version ("apis/g/v")."""
    try:
        index: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    paths = index.get("paths") if isinstance(index, dict) else None
    found = paths.get(path) if isinstance(paths, dict) else None
    url = found.get("serverRelativeURL") if isinstance(found, dict) else None
    return {path: url} if isinstance(url, str) else {}


def merged_v2(packed: bytes, others: Sequence[tuple[str, bytes]]) -> tuple[bytes, str]:
    """(gzipped, hash) of our v2 document with those of others: of each (path, document) only what is below the path.

    Documents are taken apart no deeper than their paths and definitions, for they are large.
    """
    whole = _parts.decode(gzip.decompress(packed))
    paths, definitions = _parts.decode(whole["paths"]), _parts.decode(whole["definitions"])
    for prefix, body in others:
        try:
            other = _parts.decode(body)
            theirs = _parts.decode(other.get("paths", b"{}"))
            paths |= {path: value for path, value in theirs.items() if f"{path}/".startswith(f"{prefix}/")}
            for name, value in _parts.decode(other.get("definitions", b"{}")).items():
                definitions.setdefault(name, value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    whole["paths"] = msgspec.Raw(ENCODER.encode(paths))
    whole["definitions"] = msgspec.Raw(ENCODER.encode(definitions))
    data = ENCODER.encode(whole)
    return gzip.compress(data, 5, mtime=0), hashlib.sha512(data).hexdigest().upper()
