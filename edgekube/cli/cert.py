"""`edgekube cert`: what certificates this machine has, and new ones at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from edgekube.cli.options import data_dir_option
from edgekube.errors import EnvironmentError_


@click.group("cert")
def COMMAND() -> None:
    """Show and rotate certificates. Both servers and agents renew theirs by themselves, long before they end.

    \b
    edgekube cert show
    edgekube cert rotate
    """


@COMMAND.command("show")
@data_dir_option()
def show(data_dir: Path) -> int:
    """List certificates: whom they name, who signed them, when they end."""
    from cryptography import x509

    from edgekube.cli.kubectl.printing import columns

    rows = [["CERTIFICATE", "NAMES", "SIGNED BY", "ENDS", "DAYS LEFT"]]
    paths = [path for place in ("pki", "agent") for path in sorted((data_dir / place).glob("*.crt"))]
    if not paths:
        raise EnvironmentError_(f"there are no certificates in {data_dir} (--data-dir names another place)")
    for path in paths:
        try:
            made = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise EnvironmentError_(f"{path} cannot be read: {error}") from error
        end = made.not_valid_after_utc
        names = [str(part.value) for part in made.subject if part.oid == x509.NameOID.COMMON_NAME]
        try:
            extension = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names += [str(name.value) for name in extension]
        except x509.ExtensionNotFound:
            pass
        signed = [str(part.value) for part in made.issuer if part.oid == x509.NameOID.COMMON_NAME]
        shown = ",".join(names[:4]) + (f",+{len(names) - 4}" if len(names) > 4 else "")
        left = (end - datetime.now(UTC)).days
        rows.append([path.stem, shown, ",".join(signed), f"{end:%Y-%m-%d}", str(left)])
    click.echo(columns(rows), nl=False)
    return 0


@COMMAND.command("rotate")
@data_dir_option()
def rotate(data_dir: Path) -> int:
    """Issue the server's certificates again, with new keys. The authorities stay, so every client and node goes on.

    A running server takes them up within seconds and writes the administrator's kubeconfig anew; the former one works until its
    certificate ends.
    """
    from edgekube.app import pki
    from edgekube.clock import SystemClock

    if not (data_dir / "pki" / "issued.json").exists():
        agent = (data_dir / "agent").is_dir()
        words = "is an agent's: it renews its certificate by itself" if agent else "holds no server's certificates"
        raise EnvironmentError_(f"{data_dir} {words}")
    for name in pki.rotate(pki.open_pki(data_dir / "pki", SystemClock())):
        click.echo(f"{name} rotated")
    return 0
