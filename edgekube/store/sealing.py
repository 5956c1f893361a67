"""Encryption at rest: AES-256-GCM with a key file beside the data.

The key file is JSON, mode 0600: `{"keys": [{"id": 1, "key": "<base64>"}, ...]}`. The first key seals, all of them open, so a
key is rotated by putting a new one first. A sealed value is: key id (2 bytes), nonce (12), ciphertext and tag. `cryptography`
is imported when the first value is sealed or opened, not before.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from edgekube.errors import StoreError

KEY_BYTES = 32
NONCE_BYTES = 12
ID_BYTES = 2


class AesGcmSealer:
    """A `codec.Sealer` for some resources."""

    def __init__(self, keys: dict[int, bytes], resources: frozenset[str]) -> None:
        """`keys` in the order of the key file: the first one seals."""
        self._keys = keys
        self._first = next(iter(keys))
        self._resources = resources
        self._ciphers: dict[int, Any] = {}

    def seals(self, resource: str) -> bool:
        """Whether new values of a resource are sealed."""
        return resource in self._resources

    def seal(self, value: bytes, context: bytes) -> bytes:
        """Encrypt under the first key with a fresh nonce."""
        nonce = os.urandom(NONCE_BYTES)
        sealed: bytes = self._cipher(self._first).encrypt(nonce, value, context)
        return self._first.to_bytes(ID_BYTES, "big") + nonce + sealed

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt under whichever key sealed it. Raises `StoreError`."""
        from cryptography.exceptions import InvalidTag

        key_id = int.from_bytes(sealed[:ID_BYTES], "big")
        if key_id not in self._keys:
            raise StoreError(f"a value is sealed with key {key_id}, which the key file does not have")
        body = ID_BYTES + NONCE_BYTES
        try:
            value: bytes = self._cipher(key_id).decrypt(sealed[ID_BYTES:body], sealed[body:], context)
        except InvalidTag:
            raise StoreError("a sealed value does not open: its key or its bytes were changed") from None
        return value

    def _cipher(self, key_id: int) -> Any:
        if (cipher := self._ciphers.get(key_id)) is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            cipher = self._ciphers[key_id] = AESGCM(self._keys[key_id])
        return cipher


def load_sealer(path: Path, resources: frozenset[str], *, create: bool = True) -> AesGcmSealer:
    """The sealer of a key file, which is made when it is not there (and `create`). Raises `StoreError`."""
    if create and not path.exists():
        _write_key_file(path, {1: os.urandom(KEY_BYTES)})
    try:
        entries = json.loads(path.read_text())["keys"]
        keys = {int(entry["id"]): base64.b64decode(entry["key"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"cannot read the encryption key file {path}: {error}") from error
    if not keys or any(len(key) != KEY_BYTES for key in keys.values()):
        raise StoreError(f"the encryption key file {path} has no usable key")
    return AesGcmSealer(keys, resources)


def _write_key_file(path: Path, keys: dict[int, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"keys": [{"id": id_, "key": base64.b64encode(key).decode()} for id_, key in keys.items()]})
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
