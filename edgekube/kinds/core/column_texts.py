"""What the server says about each table column, word for word as clients receive it.

Data only, by resource and column; Name and Age are the same everywhere (`edgekube.api.table`). Recorded from a real API
server: clients print these, and answers are compared with them.
"""

from __future__ import annotations

from edgekube.kinds import column_texts

COLUMN_TEXTS: dict[str, dict[str, str]] = {
    "pods": {
        "Ready": "The aggregate readiness state of this pod for accepting traffic.",
        "Status": "The aggregate status of the containers in this pod.",
        "Restarts": (
            "The number of times the containers in this pod have been restarted and when the last container in "
            "this pod has restarted."
        ),
        "IP": ("podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated."),
        "Node": (
            "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for "
            "scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this "
            "node becomes responsible for the lifecycle of this pod. This field should not be used to express a "
            "desire for the pod to be scheduled on a specific node. "
            "https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename"
        ),
        "Nominated Node": (
            "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be "
            "scheduled right away as preemption victims receive their graceful termination periods. This field "
            "does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the "
            "pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the "
            "resources on this node to a higher priority pod that is created after preemption. As a result, this "
            "field may be different than PodSpec.nodeName when the pod is scheduled."
        ),
        "Readiness Gates": (
            "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its "
            'containers are ready AND all conditions specified in the readiness gates have status equal to "True"'
            " More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates"
        ),
    },
    "podtemplates": {
        "Containers": "Names of each container in the template.",
        "Images": "Images referenced by each container in the template.",
        "Pod Labels": "The labels for the pod template.",
    },
    "replicationcontrollers": {
        "Desired": (
            "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero "
            "and unspecified. Defaults to 1. More info: "
            "https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-"
            "replicationcontroller"
        ),
        "Current": (
            "Replicas is the most recently observed number of replicas. More info: "
            "https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-"
            "replicationcontroller"
        ),
        "Ready": "The number of ready replicas for this replication controller.",
        "Containers": "Names of each container in the template.",
        "Images": "Images referenced by each container in the template.",
        "Selector": (
            "Selector is a label query over pods that should match the Replicas count. If Selector is empty, it "
            "is defaulted to the labels present on the Pod template. Label keys and values that must match in "
            "order to be controlled by this replication controller, if empty defaulted to labels on Pod template."
            " More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-"
            "selectors"
        ),
    },
    "services": {
        "Type": (
            "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, "
            'ClusterIP, NodePort, and LoadBalancer. "ClusterIP" allocates a cluster-internal IP address for load-'
            "balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by "
            'manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is "None", no '
            "virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual "
            'IP. "NodePort" builds on ClusterIP and allocates a port on every node which routes to the same '
            'endpoints as the clusterIP. "LoadBalancer" builds on NodePort and creates an external load-balancer '
            "(if supported in the current cloud) which routes to the same endpoints as the clusterIP. "
            '"ExternalName" aliases this service to the specified externalName. Several other fields do not apply'
            " to ExternalName services. More info: https://kubernetes.io/docs/concepts/services-"
            "networking/service/#publishing-services-service-types"
        ),
        "Cluster-IP": (
            "clusterIP is the IP address of the service and is usually assigned randomly. If an address is "
            "specified manually, is in-range (as per system configuration), and is not in use, it will be "
            "allocated to the service; otherwise creation of the service will fail. This field may not be changed"
            " through updates unless the type field is also being changed to ExternalName (which requires this "
            "field to be blank) or the type field is being changed from ExternalName (in which case this field "
            'may optionally be specified, as describe above).  Valid values are "None", empty string (""), or a '
            'valid IP address. Setting this to "None" makes a "headless service" (no virtual IP), which is useful'
            " when direct endpoint connections are preferred and proxying is not required.  Only applies to types"
            " ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type "
            "ExternalName, creation will fail. This field will be wiped when updating a Service to type "
            "ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-"
            "ips-and-service-proxies"
        ),
        "External-IP": (
            "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for "
            "this service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that "
            "traffic arrives at a node with this IP.  A common example is external load-balancers that are not "
            "part of the Kubernetes system."
        ),
        "Port(s)": (
            "The list of ports that are exposed by this service. More info: "
            "https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies"
        ),
        "Selector": (
            "Route service traffic to pods with label keys and values matching this selector. If empty or not "
            "present, the service is assumed to have an external process managing its endpoints, which Kubernetes"
            " will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is "
            "ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/"
        ),
    },
    "endpoints": {
        "Endpoints": (
            "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to"
            " the IPs they share. A single address with multiple ports, some of which are ready and some of which"
            " are not (because they come from different containers) will result in the address being displayed in"
            " different subsets for the different ports. No address will appear in both Addresses and "
            "NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service."
        ),
    },
    "nodes": {
        "Status": "The status of the node",
        "Roles": "The roles of the node",
        "Version": "Kubelet Version reported by the node.",
        "Internal-IP": (
            "List of addresses reachable to the node. Queried from cloud provider, if available. More info: "
            "https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as "
            "mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is "
            "merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an "
            "example. Consumers should assume that addresses can change during the lifetime of a Node. However, "
            "there are some exceptions where this may not be possible, such as Pods that inherit a Node's address"
            " in its own status or consumers of the downward API (status.hostIP)."
        ),
        "External-IP": (
            "List of addresses reachable to the node. Queried from cloud provider, if available. More info: "
            "https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as "
            "mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is "
            "merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an "
            "example. Consumers should assume that addresses can change during the lifetime of a Node. However, "
            "there are some exceptions where this may not be possible, such as Pods that inherit a Node's address"
            " in its own status or consumers of the downward API (status.hostIP)."
        ),
        "OS-Image": "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).",
        "Kernel-Version": "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).",
        "Container-Runtime": "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
    },
    "namespaces": {
        "Status": "The status of the namespace",
    },
    "persistentvolumes": {
        "Capacity": (
            "capacity is the description of the persistent volume's resources and capacity. More info: "
            "https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity"
        ),
        "Access Modes": (
            "accessModes contains all ways the volume can be mounted. More info: "
            "https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes"
        ),
        "Reclaim Policy": (
            "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its "
            "claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default "
            "for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported "
            "by the volume plugin underlying this PersistentVolume. More info: "
            "https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming"
        ),
        "Status": (
            "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: "
            "https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase"
        ),
        "Claim": (
            "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. "
            "Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. "
            "More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding"
        ),
        "StorageClass": "StorageClass of the pv",
        "VolumeAttributesClass": "VolumeAttributesClass of the pv",
        "Reason": (
            "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and "
            "tidy display in the CLI."
        ),
        "VolumeMode": (
            "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in "
            "raw block state. Value of Filesystem is implied when not included in spec."
        ),
    },
    "persistentvolumeclaims": {
        "Status": "phase represents the current phase of PersistentVolumeClaim.",
        "Volume": "volumeName is the binding reference to the PersistentVolume backing this claim.",
        "Capacity": "capacity represents the actual resources of the underlying volume.",
        "Access Modes": (
            "accessModes contains the actual access modes the volume backing the PVC has. More info: "
            "https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1"
        ),
        "StorageClass": "StorageClass of the pvc",
        "VolumeAttributesClass": "VolumeAttributesClass of the pvc",
        "VolumeMode": (
            "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when"
            " not included in claim spec."
        ),
    },
    "resourcequotas": {
        "Request": "Request represents a minimum amount of cpu/memory that a container may consume.",
        "Limit": (
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention "
            "on the node."
        ),
    },
    "secrets": {
        "Type": (
            "Used to facilitate programmatic handling of secret data. More info: "
            "https://kubernetes.io/docs/concepts/configuration/secret/#secret-types"
        ),
        "Data": (
            "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. "
            "The serialized form of the secret data is a base64 encoded string, representing the arbitrary "
            "(possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4"
        ),
    },
    "configmaps": {
        "Data": (
            "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or "
            "'.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data "
            "must not overlap with the keys in the BinaryData field, this is enforced during validation process."
        ),
    },
    "events": column_texts.COLUMN_TEXTS["events"],
    "controllerrevisions": {
        "Controller": "Controller of the object",
        "Revision": "Revision indicates the revision of the state represented by Data.",
    },
    "daemonsets": {
        "Desired": (
            "The total number of nodes that should be running the daemon pod (including nodes correctly running "
            "the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"
        ),
        "Current": (
            "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. "
            "More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"
        ),
        "Ready": (
            "numberReady is the number of nodes that should be running the daemon pod and have one or more of the"
            " daemon pod running with a Ready Condition."
        ),
        "Up-to-date": "The total number of nodes that are running updated daemon pod",
        "Available": (
            "The number of nodes that should be running the daemon pod and have one or more of the daemon pod "
            "running and available (ready for at least spec.minReadySeconds)"
        ),
        "Node Selector": (
            "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must "
            "match a node's labels for the pod to be scheduled on that node. More info: "
            "https://kubernetes.io/docs/concepts/configuration/assign-pod-node/"
        ),
        "Containers": "Names of each container in the template.",
        "Images": "Images referenced by each container in the template.",
        "Selector": (
            "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It"
            " must match the pod template's labels. More info: "
            "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"
        ),
    },
    "deployments": {
        "Ready": "Number of the pod with ready state",
        "Up-to-date": (
            "Total number of non-terminating pods targeted by this deployment that have the desired template spec."
        ),
        "Available": (
            "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this"
            " deployment."
        ),
        "Containers": "Names of each container in the template.",
        "Images": "Images referenced by each container in the template.",
        "Selector": (
            "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones "
            "affected by this deployment. It must match the pod template's labels."
        ),
    },
    "statefulsets": {
        "Ready": "Number of the pod with ready state",
        "Containers": "Names of each container in the template.",
        "Images": "Images referenced by each container in the template.",
    },
    "jobs": {
        "Status": "Status of the job.",
        "Completions": (
            "The number of pods which reached phase Succeeded. The value increases monotonically for a given "
            "spec. However, it may decrease in reaction to scale down of elastic indexed jobs."
        ),
        "Duration": "Time required to complete the job.",
        "Containers": "Names of each container in the template.",
        "Images": "Images referenced by each container in the template.",
        "Selector": (
            "A label query over pods that should match the pod count. Normally, the system sets this field for "
            "you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-"
            "selectors"
        ),
    },
}
