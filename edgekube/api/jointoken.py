"""What a person carries from the server to a new machine: `EK1.<hash of the CA>.<id>.<secret>`, and the line it stands in.

The hash lets the machine know its server before it says the secret to anybody. Id and secret are a Kubernetes bootstrap token.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from dataclasses import dataclass, field

VERSION = "EK1"
_TOKEN = re.compile(rf"{VERSION}\.([0-9a-f]{{64}})\.([a-z0-9]{{6}})\.([a-z0-9]{{16}})")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """The three parts. `authority` is the SHA-256 of the CA certificate's DER, in hex."""

    authority: str
    id: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{VERSION}.{self.authority}.{self.id}.{self.secret}"

    @property
    def bearer(self) -> str:
        """What is sent to the server."""
        return f"{self.id}.{self.secret}"

    def trusts(self, authority: str) -> bool:
        """Whether this PEM certificate is the one the token was made for."""
        try:
            return authority_hash(authority) == self.authority
        except ValueError:
            return False


def parse(text: str) -> JoinToken:
    """Raises ValueError in words for the person who pasted it."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        begins = text.strip().startswith(f"{VERSION}.")
        raise ValueError(
            "the token is not whole: was all of the line pasted?"
            if begins
            else f"this is not a token (it begins with {VERSION}.): paste the line that `edgekube token create` printed"
        )
    return JoinToken(*found.groups())


def authority_hash(pem: str) -> str:
    """The hash of a PEM certificate as tokens carry it. Raises ValueError."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest()
