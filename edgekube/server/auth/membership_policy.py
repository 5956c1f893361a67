"""The roles and bindings that joining needs beyond upstream's defaults, in the notation of `policy`.

A machine with a token may ask for a certificate and get it, a node may renew its own, and a node reads what its proxy, its DNS and its
pod network are made of (as kube-proxy and a network agent would).
"""

from __future__ import annotations

OWN_CLUSTER_ROLES = """
edgekube:node-network
  read : core : endpoints namespaces nodes services
  read : discovery.k8s.io : endpointslices
  read : networking.k8s.io : networkpolicies servicecidrs
  events
"""

# Anybody may read where the cluster is and what its CA is: the ConfigMap is signed with each bootstrap token.
OWN_ROLES = """
kube-public/edgekube:cluster-info
  get : core : configmaps : cluster-info
"""
OWN_BINDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "kube-public/edgekube:cluster-info": ("edgekube:cluster-info", ("User system:anonymous",)),
}

# binding: (cluster role, subjects)
OWN_CLUSTER_BINDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "edgekube:node-bootstrapper": ("system:node-bootstrapper", ("Group system:bootstrappers",)),
    "edgekube:node-autoapprove-bootstrap": (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        ("Group system:bootstrappers",),
    ),
    "edgekube:node-autoapprove-renewal": (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        ("Group system:nodes",),
    ),
    "edgekube:node-network": ("edgekube:node-network", ("Group system:nodes",)),
}
