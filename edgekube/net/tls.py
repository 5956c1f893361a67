"""TLS contexts: what each side shows and asks for, and how certificates are replaced while a process runs.

OpenSSL never looks at the clock here, because the machine's may be years off: a client judges its server's certificate by a time
that has surely come, a server judges client certificates request by request (`server.auth`), so that it can answer 401.
Only the standard library's ssl. Whose certificates these are, and when they are due, is `app`'s business.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekube.errors import EnvironmentError_

NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME


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
        context.verify_flags |= NO_CHECK_TIME
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


class ClientTls:
    """One client's TLS. New connections see what was last given to `show`; those that are open keep what they have."""

    def __init__(self, authorities: bytes, certain: Callable[[], datetime]) -> None:
        """`authorities` is PEM; `certain` gives a time that has surely come. Raises EnvironmentError_."""
        try:
            context = ssl.create_default_context(cadata=authorities.decode())
        except (ssl.SSLError, ValueError) as error:
            raise EnvironmentError_(f"cannot use the server's CA: {error}") from None
        context.verify_flags |= NO_CHECK_TIME
        context.set_alpn_protocols(["http/1.1"])

        class Judged(ssl.SSLObject):
            """A connection whose certificate is judged by our time once the handshake is over."""

            def do_handshake(self) -> None:
                super().do_handshake()
                _judge(self.getpeercert() or {}, certain())

        context.sslobject_class = Judged
        self.context = context

    def show(self, certificate: bytes, key: bytes) -> None:
        """Be this from the next connection on (PEM). Raises EnvironmentError_."""
        # The ssl module reads key pairs from files only; this one never reaches a disk.
        descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, certificate + b"\n" + key)
            self.context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except (OSError, ssl.SSLError) as error:
            raise EnvironmentError_(f"cannot use the client certificate: {error}") from None
        finally:
            os.close(descriptor)


def _judge(certificate: dict[str, Any], certain: datetime) -> None:
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    if ends < certain:
        raise ssl.SSLCertVerificationError(f"the server's certificate expired on {ends:%Y-%m-%d}")
