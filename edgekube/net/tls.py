"""TLS contexts: what a server shows and asks for, and how its certificate is replaced while it runs.

Only the standard library's ssl. Whose certificates these are, and when they are due, is `app.pki`'s business.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from edgekube.errors import EnvironmentError_


class ServerTls:
    """One server's TLS. Give `context` to the listener; `reload` makes new connections see new files.

    A client may show a certificate of one of the `client_cas`; one of another CA ends the handshake. None at all is fine: such a
    client has a token, or is anonymous.
    """

    def __init__(self, certificate: Path, key: Path, client_cas: tuple[Path, ...] = ()) -> None:
        """Raises EnvironmentError_ when the files cannot be used."""
        self._certificate, self._key = certificate, key
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.num_tickets = 0  # clients of an API keep their connection; tickets would only lengthen the handshake
        self.context = context
        try:
            for ca in client_cas:
                context.load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            raise EnvironmentError_(f"cannot use the client CA: {error}") from None
        if client_cas:
            context.verify_mode = ssl.CERT_OPTIONAL
        self.reload()

    def reload(self) -> None:
        """Show what the files hold now; connections that are open keep what they have. Raises EnvironmentError_."""
        try:
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise EnvironmentError_(f"cannot use the certificate {self._certificate}: {error}") from None
