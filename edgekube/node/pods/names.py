"""Names a pod goes by: host name, managed /etc/hosts, resolv.conf. Pure.

Source: kubelet kubelet_pods.go (hosts files, GeneratePodHostNameAndDomain), network/dns/dns.go (behaviour).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import PodDNSConfig

HOSTS_HEAD = "# Kubernetes-managed hosts file.\n"
HOST_NETWORK_HEAD = "# Kubernetes-managed hosts file (host network).\n"
NAMESERVERS_AT_MOST = 3
SEARCHES_AT_MOST = 32
SEARCH_LENGTH_AT_MOST = 2048


@dataclass(frozen=True, slots=True)
class Dns:
    """resolv.conf, in parts."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def host_and_domain(pod: Pod, cluster_domain: str) -> tuple[str, str]:
    """(host name, domain or "")."""
    if pod.spec.hostname_override:
        return pod.spec.hostname_override, ""
    name = pod.spec.hostname or pod.metadata.name
    name = name[:63].rstrip("-.") if len(name) > 63 else name
    if not pod.spec.subdomain:
        return name, ""
    return name, f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


def kernel_hostname(pod: Pod, cluster_domain: str) -> str:
    """What uname tells in the pod."""
    name, domain = host_and_domain(pod, cluster_domain)
    if pod.spec.set_hostname_as_fqdn and domain:
        return f"{name}.{domain}"
    return name


def hosts_file(pod: Pod, ips: Sequence[str], cluster_domain: str, host_file: str) -> str:
    """The text of /etc/hosts; `host_file` is the node's own, for pods on the host's network."""
    if pod.spec.host_network:
        made = HOST_NETWORK_HEAD + host_file
    else:
        made = HOSTS_HEAD + (
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\n"
            "fe00::0\tip6-mcastprefix\n"
            "fe00::1\tip6-allnodes\n"
            "fe00::2\tip6-allrouters\n"
        )
        name, domain = host_and_domain(pod, cluster_domain)
        for ip in ips:
            made += f"{ip}\t{name}.{domain}\t{name}\n" if domain else f"{ip}\t{name}\n"
    if pod.spec.host_aliases:
        made += "\n# Entries added by HostAliases.\n"
        for alias in pod.spec.host_aliases:
            made += f"{alias.ip}\t" + "\t".join(alias.hostnames) + "\n"
    return made


def parse_resolv_conf(text: str) -> Dns:
    """The node's own resolv.conf."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if not words:
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] == "search":
            searches = [word.rstrip(".") if word != "." else word for word in words[1:]]
        elif words[0] == "options":
            options = words[1:]
    return Dns(tuple(servers), tuple(searches), tuple(options))


def dns_for(pod: Pod, *, host: Dns, cluster_servers: Sequence[str], cluster_domain: str) -> Dns:
    """What the pod's resolv.conf says, by dnsPolicy and dnsConfig."""
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and not cluster_servers:
        policy = "Default"
    if policy == "None":
        base = Dns()
    elif policy == "Default":
        base = host
    else:
        namespace = pod.metadata.namespace
        ours = (f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain)
        base = Dns(tuple(cluster_servers), tuple(dict.fromkeys((*ours, *host.searches))), ("ndots:5",))
    merged = _merge(base, pod.spec.dns_config) if pod.spec.dns_config is not None else base
    return _bounded(merged)


def _merge(base: Dns, wanted: PodDNSConfig) -> Dns:
    options = {option.split(":", 1)[0]: option for option in base.options}
    for option in wanted.options:
        options[option.name] = option.name if option.value is None else f"{option.name}:{option.value}"
    return Dns(
        tuple(dict.fromkeys((*base.servers, *wanted.nameservers))),
        tuple(dict.fromkeys((*base.searches, *wanted.searches))),
        tuple(options.values()),
    )


def _bounded(dns: Dns) -> Dns:
    searches: list[str] = []
    length = 0
    for search in dns.searches[:SEARCHES_AT_MOST]:
        length += len(search) + 1
        if length > SEARCH_LENGTH_AT_MOST:
            break
        searches.append(search)
    return Dns(dns.servers[:NAMESERVERS_AT_MOST], tuple(searches), dns.options)
