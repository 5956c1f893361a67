"""`edgekube token`: the lines that let other machines join. Tokens are ordinary bootstrap token Secrets in kube-system."""

from __future__ import annotations

import base64
import re
import secrets
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import click

from edgekube.api import jointoken
from edgekube.api.durations import human
from edgekube.api.meta import format_time, parse_time
from edgekube.cli.kubectl.session import Session, connection_options
from edgekube.errors import EnvironmentError_, NotFound, UsageError

SECRETS = "/api/v1/namespaces/kube-system/secrets"
TYPE, PREFIX = "bootstrap.kubernetes.io/token", "bootstrap-token-"
SINGLE_USE, USED_BY = "edgekube.io/single-use", "edgekube.io/used-by"
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group("token")
def COMMAND() -> None:
    """Make and revoke the tokens other machines join with.

    \b
    edgekube token create            # prints one line to paste on the other machine
    edgekube token list
    edgekube token revoke abc123
    """


@COMMAND.command("create")
@click.option(
    "--ttl", default="1h", show_default=True, metavar="TIME", help="How long it may be used (30m, 24h, 7d; 0 for ever)."
)
@click.option("--reusable", is_flag=True, help="Let any number of machines join with it.")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@click.option(
    "--address",
    default="",
    metavar="HOST[:PORT]",
    help="How the other machine reaches this server [default: as the kubernetes service tells].",
)
@connection_options
def create(ttl: str, reusable: bool, description: str, address: str, **where: Any) -> int:
    """Make a token and print the line that joins a machine with it.

    \b
    edgekube token create
    edgekube token create --ttl 24h --reusable --description "hall 3"
    """
    life = parse_ttl(ttl)
    session = Session(**where)
    answer = session.send("GET", "/cacerts")
    authority, now = answer.read().decode(), server_time(answer.headers.get("Date"))
    id_, secret = _random(6), _random(16)
    data = {
        "token-id": id_,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": "system:bootstrappers:edgekube:node",
        "description": description,
        "expiration": format_time(now + life) if life else "",
    }
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": TYPE,
        "metadata": {
            "name": f"{PREFIX}{id_}",
            "namespace": "kube-system",
            "annotations": {} if reusable else {SINGLE_USE: "true"},
        },
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items() if text},
    }
    url = f"https://{_whole_address(address)}" if address else _advertised(session)
    session.request("POST", SECRETS, body=body)
    token = jointoken.JoinToken(jointoken.authority_hash(authority), id_, secret)
    click.echo(f"edgekube join {url} {token}")
    return 0


@COMMAND.command("list")
@connection_options
def list_(**where: Any) -> int:
    """Show the tokens there are, without their secrets.

    \b
    edgekube token list
    """
    session = Session(**where)
    answer = session.send("GET", SECRETS, query={"fieldSelector": f"type={TYPE}"})
    now = server_time(answer.headers.get("Date"))
    import json

    rows = [("ID", "EXPIRES", "USES", "DESCRIPTION")]
    for item in json.loads(answer.read())["items"]:
        annotations = item["metadata"].get("annotations") or {}
        data = {name: base64.b64decode(value).decode(errors="replace") for name, value in item.get("data", {}).items()}
        uses = "many" if annotations.get(SINGLE_USE) != "true" else "one"
        if annotations.get(USED_BY):
            uses = f"used by {annotations[USED_BY]}"
        rows.append(
            (data.get("token-id", "?"), _left(data.get("expiration", ""), now), uses, data.get("description", ""))
        )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        click.echo("   ".join([*(row[column].ljust(widths[column]) for column in range(3)), row[3]]).rstrip())
    return 0


def _revoke(tokens: tuple[str, ...], **where: Any) -> int:
    """Make tokens useless from now on: by id, or the whole token.

    \b
    edgekube token revoke abc123
    """
    session = Session(**where)
    for text in tokens:
        id_ = _id_of(text)
        try:
            session.request("DELETE", f"{SECRETS}/{PREFIX}{id_}")
        except NotFound:
            raise EnvironmentError_(f"there is no token {id_}") from None
        click.echo(f"token {id_} revoked")
    return 0


for _name in ("revoke", "delete"):
    COMMAND.add_command(
        click.command(_name, help=_revoke.__doc__)(
            click.argument("tokens", nargs=-1, required=True, metavar="ID...")(connection_options(_revoke))
        )
    )


def parse_ttl(text: str) -> timedelta | None:
    """A time to live, None for ever. Raises UsageError."""
    if text in ("0", "0s"):
        return None
    parts = re.findall(r"(\d+)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"--ttl: {text!r} is not a time like 30m, 24h or 7d")
    return timedelta(seconds=sum(int(number) * UNITS_S[unit] for number, unit in parts))


def server_time(date: str | None) -> datetime:
    """The server's time, whatever this machine's clock says."""
    return parsedate_to_datetime(date) if date else datetime.now(UTC)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _whole_address(address: str) -> str:
    return address if re.search(r"(^[^:]+|\]):\d+$", address) else f"{address}:6443"


def _advertised(session: Session) -> str:
    """Where other machines reach the server: the endpoints of the `kubernetes` service."""
    found = session.request("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
    addresses = [one for endpoint in found.get("endpoints") or () for one in endpoint.get("addresses") or ()]
    ports = [port.get("port") for port in found.get("ports") or ()]
    if not addresses or not ports:
        return session.server
    host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    return f"https://{host}:{ports[0]}"


def _left(expiration: str, now: datetime) -> str:
    if not expiration:
        return "never"
    left_s = (parse_time(expiration) - now).total_seconds()
    return f"in {human(left_s)}" if left_s > 0 else "expired"


def _id_of(text: str) -> str:
    parts = text.split(".")
    id_ = parts[2] if len(parts) == 4 else parts[0]
    if not re.fullmatch(r"[a-z0-9]{6}", id_):
        raise UsageError(f"{text!r} is not a token's id; `edgekube token list` shows them")
    return id_
