"""The server's configuration: flags over environment over `/etc/edgekube/config.yaml` over defaults, checked as a whole.

One table (`OPTIONS`) describes every key once: flag, environment variable, configuration key, help. The command line is made
from it and a test compares the README with it. Flags carry k3s's names where the meaning is the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any

from edgekube.errors import UsageError
from edgekube.network.config import BACKENDS

DEFAULT_CONFIG_FILE = Path("/etc/edgekube/config.yaml")
DEFAULT_DATA_DIR = Path("/var/lib/edgekube")
CLUSTER_CIDR = IPv4Network("10.42.0.0/16")
SERVICE_CIDR = IPv4Network("10.43.0.0/16")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. `name` is the flag without dashes and the key in config.yaml; the environment has EDGEKUBE_<NAME>."""

    name: str
    help: str
    default: Any = ""
    kind: str = "text"  # text, number, switch, many
    metavar: str = ""
    aliases: tuple[str, ...] = ()  # names others know it by, flags only

    @property
    def attribute(self) -> str:
        """The field of `ServerConfig`."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "EDGEKUBE_" + self.name.upper().replace("-", "_")


OPTIONS = (
    Option("data-dir", "Where the database, keys, images and containers live.", str(DEFAULT_DATA_DIR), metavar="DIR"),
    Option("bind-address", "Address the API listens on.", "0.0.0.0", metavar="IP"),
    Option("https-listen-port", "Port the API listens on.", 6443, "number"),
    Option("advertise-address", "Address other machines and pods reach the API at (default: the node's).", metavar="IP"),
    Option("write-kubeconfig", "Where to write the administrator's kubeconfig (mode 0600).",
           "/etc/edgekube/kubeconfig.yaml", metavar="FILE"),
    Option("disable-agent", "Run the control plane alone: no containers, no network; needs neither root nor containerd.",
           False, "switch"),
    Option("node-name", "This machine's name in the cluster (default: its host name).", metavar="NAME"),
    Option("node-ip", "This machine's address (default: that of the default route).", metavar="IP"),
    Option("node-label", "Label for this node, key=value.", (), "many", "KEY=VALUE"),
    Option("node-taint", "Taint for this node, key=value:effect.", (), "many", "KEY=VALUE:EFFECT"),
    Option("cluster-cidr", "Range pods get their addresses from.", "10.42.0.0/16", metavar="CIDR"),
    Option("service-cidr", "Range services get their addresses from.", "10.43.0.0/16", metavar="CIDR"),
    Option("service-node-port-range", "Ports services of type NodePort may have.", "30000-32767", metavar="FROM-TO"),
    Option("cluster-dns", "Address of the cluster's DNS (default: the tenth of the service range).", metavar="IP"),
    Option("cluster-domain", "The cluster's DNS domain.", "cluster.local", metavar="DOMAIN"),
    Option("network-backend", "How pods reach those of other nodes: vxlan, host-gw, wireguard or none.", "vxlan",
           metavar="NAME", aliases=("flannel-backend",)),
    Option("node-monitor-grace-period", "How long a silent node stays Ready, as 50s or 2m.", "50s", metavar="TIME"),
    Option("agent-heartbeat", "How often an agent shows that it lives, as 10s; less often is less on its link.", "10s",
           metavar="TIME"),
    Option("container-runtime-endpoint", "Use this CRI socket instead of starting an own containerd.", metavar="SOCKET"),
    Option("pod-manifest-path", "Directory of static pod manifests.", metavar="DIR"),
    Option("resolv-conf", "The resolv.conf whose name servers are asked for names outside the cluster.",
           "/etc/resolv.conf", metavar="FILE"),
    Option("private-registry", "Mirrors, credentials and certificates of image registries.",
           "/etc/edgekube/registries.yaml", metavar="FILE"),
    Option("tls-san", "Further name or address in the API's certificate.", (), "many", "NAME"),
    Option("token", "A bearer token that is let in as administrator.", metavar="TOKEN"),
    Option("oidc-issuer-url", "Outside issuer whose OpenID Connect tokens are let in, https://...", metavar="URL"),
    Option("oidc-client-id", "Whom its tokens must be meant for.", metavar="ID"),
    Option("oidc-username-claim", "The claim that is the user's name.", "sub", metavar="CLAIM"),
    Option("oidc-username-prefix", "What stands before it (default: the issuer and #; - for nothing).", metavar="TEXT"),
    Option("oidc-groups-claim", "The claim that lists the user's groups.", metavar="CLAIM"),
    Option("oidc-groups-prefix", "What stands before each of them.", metavar="TEXT"),
    Option("oidc-ca-file", "The issuer's certificate authority (default: the system's).", metavar="FILE"),
    Option("oidc-required-claim", "A claim that tokens must have, key=value.", (), "many", "KEY=VALUE"),
    Option("oidc-signing-algs", "Signature algorithms that are accepted.", ("RS256",), "many", "NAME"),
    Option("audit-policy-file", "What is told in the audit log (an audit.k8s.io/v1 Policy).", metavar="FILE"),
    Option("audit-log-path", "Where the audit log is written, - for standard output.", metavar="FILE"),
    Option("audit-log-maxsize", "Megabytes after which its file is put aside.", 10, "number"),
    Option("audit-log-maxbackup", "How many of those files are kept (0: all).", 4, "number"),
    Option("audit-log-maxage", "After how many days they go (0: never).", 0, "number"),
    Option("log-format", "text or json.", "text", metavar="FORMAT"),
    Option("debug", "Log what only a developer wants to know.", False, "switch"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """A checked configuration. Derived values are properties; nothing here touches the network beyond reading routes."""

    data_dir: Path = DEFAULT_DATA_DIR
    bind_address: str = "0.0.0.0"
    https_listen_port: int = 6443
    advertise_address: str = ""
    write_kubeconfig: Path = Path("/etc/edgekube/kubeconfig.yaml")
    disable_agent: bool = False
    node_name: str = ""
    node_ip: str = ""
    node_label: tuple[str, ...] = ()
    node_taint: tuple[str, ...] = ()
    cluster_cidr: IPv4Network = CLUSTER_CIDR
    service_cidr: IPv4Network = SERVICE_CIDR
    service_node_port_range: tuple[int, int] = (30000, 32767)
    cluster_dns: str = ""
    cluster_domain: str = "cluster.local"
    network_backend: str = "vxlan"
    node_monitor_grace_period: float = 50.0  # seconds
    agent_heartbeat: float = 10.0  # seconds
    container_runtime_endpoint: str = ""
    pod_manifest_path: str = ""
    resolv_conf: Path = Path("/etc/resolv.conf")
    private_registry: Path = Path("/etc/edgekube/registries.yaml")
    tls_san: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    oidc_issuer_url: str = ""
    oidc_client_id: str = ""
    oidc_username_claim: str = "sub"
    oidc_username_prefix: str = ""
    oidc_groups_claim: str = ""
    oidc_groups_prefix: str = ""
    oidc_ca_file: Path | None = None
    oidc_required_claim: tuple[str, ...] = ()
    oidc_signing_algs: tuple[str, ...] = ("RS256",)
    audit_policy_file: Path | None = None
    audit_log_path: str = ""
    audit_log_maxsize: int = 10  # MiB
    audit_log_maxbackup: int = 4
    audit_log_maxage: int = 0  # days
    log_format: str = "text"
    debug: bool = False

    @property
    def dns_ip(self) -> str:
        """The cluster DNS's service address."""
        return self.cluster_dns or str(self.service_cidr.network_address + 10)

    @property
    def api_service_ip(self) -> str:
        """The address of the `kubernetes` service."""
        return str(self.service_cidr.network_address + 1)

    @property
    def instance(self) -> str:
        """ "" for the usual data directory; else a short tag that keeps several servers on one host apart."""
        return instance_of(self.data_dir)


def instance_of(data_dir: Path) -> str:
    """ "" for the usual data directory; else a short tag of it."""
    return "" if data_dir == DEFAULT_DATA_DIR else hashlib.sha256(str(data_dir).encode()).hexdigest()[:6]


def read_file(path: Path, *, required: bool) -> dict[str, Any]:
    """The configuration file as a mapping of keys. Raises UsageError naming the file and the key."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        if required:
            raise UsageError(f"{path}: no such file") from None
        return {}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UsageError(f"{path}: expected keys and values")
    known = {option.name for option in OPTIONS}
    for key in found:
        if key not in known:
            raise UsageError(f"{path}: unknown key {key!r}")
    return found


def combine(
    flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ, file: Mapping[str, Any] | None = None
) -> ServerConfig:
    """One checked configuration from flags (None = not given), environment and file. Raises UsageError."""
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = flags.get(option.attribute)
        if given is None or given == ():
            text = environment.get(option.variable)
            given = _from_text(option, text) if text else (file or {}).get(option.name)
        if given is None:
            given = option.default
        values[option.attribute] = _typed(option, given)
    return _checked(values)


def _from_text(option: Option, text: str) -> Any:
    if option.kind == "many":
        return [part for part in text.split(",") if part]
    if option.kind == "switch":
        return text.lower() in ("1", "true", "yes", "on")
    return text


def _typed(option: Option, given: Any) -> Any:
    if option.kind == "number":
        try:
            return int(given)
        except (TypeError, ValueError):
            raise UsageError(f"--{option.name}: {given!r} is not a number") from None
    if option.kind == "switch":
        if not isinstance(given, bool):
            raise UsageError(f"--{option.name}: expected true or false")
        return given
    if option.kind == "many":
        return tuple(str(item) for item in ([given] if isinstance(given, str) else given))
    if not isinstance(given, str | int | Path):
        raise UsageError(f"--{option.name}: expected text")
    return str(given)


def _checked(values: dict[str, Any]) -> ServerConfig:
    def network(name: str) -> IPv4Network:
        try:
            return IPv4Network(values[name])
        except ValueError as error:
            raise UsageError(f"--{name.replace('_', '-')}: {error}") from None

    values["cluster_cidr"], values["service_cidr"] = network("cluster_cidr"), network("service_cidr")
    if values["cluster_cidr"].overlaps(values["service_cidr"]):
        raise UsageError("--cluster-cidr and --service-cidr overlap")
    for name in ("bind_address", "advertise_address", "node_ip", "cluster_dns"):
        if values[name]:
            try:
                ip_address(values[name])
            except ValueError:
                raise UsageError(f"--{name.replace('_', '-')}: {values[name]!r} is not an IP address") from None
    if values["cluster_dns"] and ip_address(values["cluster_dns"]) not in values["service_cidr"]:
        raise UsageError("--cluster-dns: not inside --service-cidr")
    if not 0 <= values["https_listen_port"] <= 65535:
        raise UsageError(f"--https-listen-port: {values['https_listen_port']} is not a port")
    found = re.fullmatch(r"(\d+)-(\d+)", values["service_node_port_range"])
    if not found or not 0 < int(found[1]) <= int(found[2]) <= 65535:
        raise UsageError(f"--service-node-port-range: {values['service_node_port_range']!r} is not FROM-TO")
    values["service_node_port_range"] = (int(found[1]), int(found[2]))
    if values["network_backend"] not in BACKENDS:
        raise UsageError(f"--network-backend: {values['network_backend']!r} is none of {', '.join(BACKENDS)}")
    values["node_monitor_grace_period"] = _seconds("node-monitor-grace-period", values["node_monitor_grace_period"])
    values["agent_heartbeat"] = _seconds("agent-heartbeat", values["agent_heartbeat"])
    if not 1 <= values["agent_heartbeat"] <= values["node_monitor_grace_period"] / 2:
        raise UsageError(
            "--agent-heartbeat: from 1s to half of --node-monitor-grace-period, or nodes would seem to be gone"
        )
    for label in values["node_label"]:
        if "=" not in label:
            raise UsageError(f"--node-label: {label!r} is not key=value")
    for taint in values["node_taint"]:
        if not re.fullmatch(r"[^=:]+(=[^:]*)?:(NoSchedule|PreferNoSchedule|NoExecute)", taint):
            raise UsageError(f"--node-taint: {taint!r} is not key=value:effect")
    _check_oidc(values)
    if bool(values["audit_policy_file"]) != bool(values["audit_log_path"]):
        raise UsageError("--audit-policy-file and --audit-log-path belong together")
    for name in ("audit_log_maxsize", "audit_log_maxbackup", "audit_log_maxage"):
        if values[name] < 0:
            raise UsageError(f"--{name.replace('_', '-')}: {values[name]} is less than nothing")
    for name in ("oidc_ca_file", "audit_policy_file"):
        values[name] = Path(values[name]).expanduser().absolute() if values[name] else None
    if values["log_format"] not in ("text", "json"):
        raise UsageError(f"--log-format: {values['log_format']!r} is neither text nor json")
    for name in ("data_dir", "write_kubeconfig", "resolv_conf", "private_registry"):
        values[name] = Path(values[name]).expanduser().absolute()
    values["node_name"] = (values["node_name"] or socket.gethostname()).lower()
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", values["node_name"]):
        raise UsageError(f"--node-name: {values['node_name']!r} is not a valid node name")
    assert values.keys() == {item.name for item in fields(ServerConfig)}
    return ServerConfig(**values)


OIDC_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")


def _check_oidc(values: dict[str, Any]) -> None:
    if bool(values["oidc_issuer_url"]) != bool(values["oidc_client_id"]):
        raise UsageError("--oidc-issuer-url and --oidc-client-id belong together")
    if values["oidc_issuer_url"] and not values["oidc_issuer_url"].startswith("https://"):
        raise UsageError(f"--oidc-issuer-url: {values['oidc_issuer_url']!r} is no https URL")
    for claim in values["oidc_required_claim"]:
        if "=" not in claim:
            raise UsageError(f"--oidc-required-claim: {claim!r} is not key=value")
    algorithms = [part for text in values["oidc_signing_algs"] for part in text.split(",") if part]
    for algorithm in algorithms:
        if algorithm not in OIDC_ALGORITHMS:
            raise UsageError(f"--oidc-signing-algs: {algorithm!r} is none of {', '.join(OIDC_ALGORITHMS)}")
    values["oidc_signing_algs"] = tuple(algorithms)


def _seconds(name: str, text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", text)
    if not found or not float(found[1]):
        raise UsageError(f"--{name}: {text!r} is not a time such as 50s or 2m")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"]


def own_address() -> str:
    """The address this machine would use towards others; loopback when it has no route at all."""
    for probe in ("192.0.2.1", "10.0.0.1"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
            try:
                unsent.connect((probe, 9))  # a UDP connect sends nothing
            except OSError:
                continue
            return str(unsent.getsockname()[0])
    return "127.0.0.1"
