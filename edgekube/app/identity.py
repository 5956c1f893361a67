"""Who an agent is, under `<data-dir>/agent`: its key, its certificates, its server, and what it was told to be.

    agent.json      server, node name, what `edgekube join` was given, the cluster's settings as last told
    ca.crt          the cluster's CA; everything else rests on it
    client.key/.crt this machine towards its server: the key stays for the machine's life, the certificate is renewed
    serving.key/.crt the machine towards who calls it
    time            a time that has surely come (see `clock.TrustedClock`)

Files are 0600 and written whole. Nothing here talks to anybody.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgekube.app.config import DEFAULT_DATA_DIR, instance_of
from edgekube.app.pki import write_whole
from edgekube.client.kubeconfig import Access
from edgekube.errors import EnvironmentError_

SERVER_NAME = "kubernetes"  # in every server's certificate, and in no node's: the address it is called by may change
DIRECTORY = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """What an agent is told at joining, and what its cluster told it. Has what `app.agent` asks of a `ServerConfig`."""

    server: str
    node_name: str
    data_dir: Path = DEFAULT_DATA_DIR
    node_ip: str = ""
    node_label: tuple[str, ...] = ()
    node_taint: tuple[str, ...] = ()
    container_runtime_endpoint: str = ""
    pod_manifest_path: str = ""
    resolv_conf: Path = Path("/etc/resolv.conf")
    private_registry: Path = Path("/etc/edgekube/registries.yaml")
    cluster: dict[str, str] = field(
        default_factory=dict
    )  # the cluster's settings, by the names of the server's options

    @property
    def cluster_cidr(self) -> IPv4Network:
        """Where pods get their addresses from."""
        return IPv4Network(self.cluster["cluster-cidr"])

    @property
    def service_cidr(self) -> IPv4Network:
        """Where services get their addresses from."""
        return IPv4Network(self.cluster["service-cidr"])

    @property
    def dns_ip(self) -> str:
        """The cluster DNS's service address."""
        return self.cluster["cluster-dns"]

    @property
    def cluster_domain(self) -> str:
        """The cluster's DNS domain."""
        return self.cluster["cluster-domain"]

    @property
    def network_backend(self) -> str:
        """How pods of different nodes reach each other."""
        return self.cluster.get("network-backend", "vxlan")

    @property
    def heartbeat_s(self) -> float:
        """How often we show that we live."""
        return float(self.cluster.get("agent-heartbeat", "10"))

    @property
    def instance(self) -> str:
        """As `ServerConfig.instance`."""
        return instance_of(self.data_dir)


@dataclass(frozen=True, slots=True)
class Identity:
    """The files of one agent. Made by `load` or by joining."""

    directory: Path

    @property
    def authority(self) -> Path:
        """PEM of the cluster's CA."""
        return self.directory / "ca.crt"

    def certificate(self, name: str = "client") -> Path:
        """PEM of a certificate: client or serving."""
        return self.directory / f"{name}.crt"

    def key(self, name: str = "client") -> Path:
        """PEM of a private key."""
        return self.directory / f"{name}.key"

    @property
    def complete(self) -> bool:
        """Whether this machine has joined."""
        return all(path.exists() for path in (self.authority, self.certificate(), self.key(), self._settings))

    @property
    def _settings(self) -> Path:
        return self.directory / "agent.json"

    def ensure_key(self, name: str = "client") -> bytes:
        """The private key (PEM), made when there is none."""
        path = self.key(name)
        if not path.exists():
            self.put(path, new_key())
        return path.read_bytes()

    def put(self, path: Path, content: bytes) -> None:
        """Write one of the files. Raises EnvironmentError_."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, content)
        except OSError as error:
            raise EnvironmentError_(f"cannot write {path}: {error.strerror}") from error

    def write_config(self, config: AgentConfig) -> None:
        """Remember what this agent is."""
        kept = {key: value for key, value in asdict(config).items() if key != "data_dir"}
        kept |= {name: str(kept[name]) for name in ("resolv_conf", "private_registry")}
        self.put(self._settings, json.dumps(kept, indent=1).encode())

    def read_config(self) -> AgentConfig:
        """What this agent is. Raises EnvironmentError_ when it has not joined, or the file is damaged."""
        if not self.complete:
            raise EnvironmentError_(
                f"this machine has not joined a cluster ({self.directory}): run `edgekube join` with a line "
                "from `edgekube token create`"
            )
        try:
            kept: dict[str, Any] = json.loads(self._settings.read_bytes())
            known = {item.name for item in fields(AgentConfig)}
            kept = {
                key: tuple(value) if isinstance(value, list) else value for key, value in kept.items() if key in known
            }
            config = AgentConfig(**kept, data_dir=self.directory.parent)
            return replace(config, resolv_conf=Path(config.resolv_conf), private_registry=Path(config.private_registry))
        except (OSError, ValueError, TypeError) as error:
            raise EnvironmentError_(f"{self._settings} cannot be read ({error}): leave and join again") from error

    def access(self, server: str) -> Access:
        """How to reach the server as this node."""
        return Access(
            server=server,
            ca=self.authority.read_bytes(),
            server_name=SERVER_NAME,
            certificate=self.certificate().read_bytes(),
            key=self.key().read_bytes(),
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held by the one process that is this agent. Raises EnvironmentError_ while another one is."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self._lock, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise EnvironmentError_(f"an agent is running with {self.directory.parent}") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def holder(self) -> int:
        """The process that holds `locked`, 0 when it cannot be told."""
        try:
            return int(self._lock.read_text())
        except (OSError, ValueError):
            return 0

    @property
    def _lock(self) -> Path:
        return self.directory / "lock"


def identity_of(data_dir: Path) -> Identity:
    """The identity in a data directory, whether it is complete or not."""
    return Identity(data_dir / DIRECTORY)


def new_key() -> bytes:
    """A fresh P-256 key as PEM."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_request(key: bytes, node: str, names: Sequence[str] = ()) -> bytes:
    """A PEM request of a node for itself; with `names` (DNS names and addresses) one to serve with."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
    from cryptography.x509.oid import NameOID

    def general(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    private: Any = load_pem_private_key(key, None)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([general(name) for name in names]), critical=False)
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)


def host_and_port(server: str) -> tuple[str, int]:
    """Where a server URL leads."""
    parts = urlsplit(server)
    return parts.hostname or "", parts.port or 443
