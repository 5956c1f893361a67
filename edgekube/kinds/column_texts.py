"""What the server says about each table column of the smaller API groups, word for word as clients receive it.

Data only, by resource and column; Name and Age are the same everywhere (`edgekube.api.table`). Recorded from a real API
server: clients print these, and answers are compared with them.
"""

from __future__ import annotations

COLUMN_TEXTS: dict[str, dict[str, str]] = {
    "apiservices": {
        "Service": "The reference to the service that hosts this API endpoint.",
        "Available": "Whether this service is available.",
    },
    "clusterrolebindings": {
        "Role": (
            "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved,"
            " the Authorizer must return an error."
        ),
        "Users": "Users in the clusterRoleBinding",
        "Groups": "Groups in the clusterRoleBinding",
        "ServiceAccounts": "ServiceAccounts in the clusterRoleBinding",
    },
    "csidrivers": {
        "AttachRequired": (
            "attachRequired indicates this CSI volume driver requires an attach operation (because it implements "
            "the CSI ControllerPublishVolume() method), and that the Kubernetes attach detach controller should "
            "call the attach volume interface which checks the volumeattachment status and waits until the volume"
            " is attached before proceeding to mounting. The CSI external-attacher coordinates with CSI volume "
            "driver and updates the volumeattachment status when the attach operation is complete. If the value "
            "is specified to false, the attach operation will be skipped. Otherwise the attach operation will be "
            "called.\n\nThis field is immutable."
        ),
        "PodInfoOnMount": (
            "podInfoOnMount indicates this CSI volume driver requires additional pod information (like podName, "
            "podUID, etc.) during mount operations, if set to true. If set to false, pod information will not be "
            "passed on mount. Default is false.\n\nThe CSI driver specifies podInfoOnMount as part of driver "
            "deployment. If true, Kubelet will pass pod information as VolumeContext in the CSI "
            "NodePublishVolume() calls. The CSI driver is responsible for parsing and validating the information "
            "passed in as VolumeContext.\n\nThe following VolumeContext will be passed if podInfoOnMount is set to "
            'true. This list might grow, but the prefix will be used. "csi.storage.k8s.io/pod.name": pod.Name '
            '"csi.storage.k8s.io/pod.namespace": pod.Namespace "csi.storage.k8s.io/pod.uid": string(pod.UID) '
            '"csi.storage.k8s.io/ephemeral": "true" if the volume is an ephemeral inline volume'
            '\n                                defined by a CSIVolumeSource, otherwise "false"\n\n'
            '"csi.storage.k8s.io/ephemeral" is a new feature in Kubernetes 1.16. It is only required for drivers '
            'which support both the "Persistent" and "Ephemeral" VolumeLifecycleMode. Other drivers can leave pod'
            " info disabled and/or ignore this field. As Kubernetes 1.15 doesn't support this field, drivers can "
            "only support one mode when deployed on such a cluster and the deployment determines which mode that "
            "is, for example via a command line parameter of the driver.\n\nThis field was immutable in Kubernetes "
            "< 1.29 and now is mutable."
        ),
        "StorageCapacity": (
            "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage "
            "capacity that the driver deployment will report by creating CSIStorageCapacity objects with capacity"
            " information, if set to true.\n\nThe check can be enabled immediately when deploying a driver. In that"
            " case, provisioning new volumes with late binding will pause until the driver deployment has "
            "published some suitable CSIStorageCapacity object.\n\nAlternatively, the driver can be deployed with "
            "the field unset or false and it can be flipped later when storage capacity information has been "
            "published.\n\nThis field was immutable in Kubernetes <= 1.22 and now is mutable."
        ),
        "TokenRequests": (
            "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for "
            "to do necessary authentication. Kubelet will pass the tokens in VolumeContext in the CSI "
            "NodePublishVolume calls. The CSI driver should parse and validate the following VolumeContext: "
            '"csi.storage.k8s.io/serviceAccount.tokens": {\n  "<audience>": {\n    "token": <token>,\n    '
            '"expirationTimestamp": <expiration timestamp in RFC3339>,\n  },\n  ...\n}\n\nNote: Audience in each '
            "TokenRequest should be different and at most one token is empty string. To receive a new token after"
            " expiry, RequiresRepublish can be used to trigger NodePublishVolume periodically."
        ),
        "RequiresRepublish": (
            "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to "
            "reflect any possible change in the mounted volume. This field defaults to false.\n\nNote: After a "
            "successful initial NodePublishVolume call, subsequent calls to NodePublishVolume should only update "
            "the contents of the volume. New mount points will not be seen by a running container."
        ),
        "Modes": (
            "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports. The default if "
            'the list is empty is "Persistent", which is the usage defined by the CSI specification and '
            'implemented in Kubernetes via the usual PV/PVC mechanism.\n\nThe other mode is "Ephemeral". In this '
            "mode, volumes are defined inline inside the pod spec with CSIVolumeSource and their lifecycle is "
            "tied to the lifecycle of that pod. A driver has to be aware of this because it is only going to get "
            "a NodePublishVolume call for such a volume.\n\nFor more information about implementing this mode, see "
            "https://kubernetes-csi.github.io/docs/ephemeral-local-volumes.html A driver can support one or more "
            "of these modes and more modes may be added in the future.\n\nThis field is beta. This field is "
            "immutable."
        ),
    },
    "certificatesigningrequests": {
        "SignerName": (
            "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If "
            "empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    "
            '"kubernetes.io/kube-apiserver-client-kubelet".\n 2. If it\'s a kubelet serving certificate, it is '
            'assigned\n    "kubernetes.io/kubelet-serving".\n 3. Otherwise, it is assigned "kubernetes.io/legacy-'
            'unknown".\nDistribution of trust for signers happens out of band. You can select on this field using '
            "`spec.signerName`."
        ),
        "Requestor": "Base64-encoded PKCS#10 CSR data",
        "RequestedDuration": (
            "expirationSeconds is the requested duration of validity of the issued certificate. The certificate "
            "signer may issue a certificate with a different validity duration so a client must check the delta "
            "between the notBefore and and notAfter fields in the issued certificate to determine the actual "
            "duration.\n\nThe v1.22+ in-tree implementations of the well-known Kubernetes signers will honor this "
            "field as long as the requested duration is not greater than the maximum duration they will honor per"
            " the --cluster-signing-duration CLI flag to the Kubernetes controller manager.\n\nCertificate signers "
            "may not honor this field for various reasons:\n\n  1. Old signer that is unaware of the field (such as"
            " the in-tree\n     implementations prior to v1.22)\n  2. Signer whose configured maximum is shorter "
            "than the requested duration\n  3. Signer whose configured minimum is longer than the requested "
            "duration\n\nThe minimum valid value for expirationSeconds is 600, i.e. 10 minutes."
        ),
        "Condition": "Conditions applied to the request, such as approval or denial.",
    },
    "endpointslices": {
        "AddressType": (
            "addressType specifies the type of address carried by this EndpointSlice. All addresses in this slice"
            " must be the same type. This field is immutable after creation. The following address types are "
            "currently supported: * IPv4: Represents an IPv4 Address. * IPv6: Represents an IPv6 Address. * FQDN:"
            " Represents a Fully Qualified Domain Name. (Deprecated) The EndpointSlice controller only generates,"
            ' and kube-proxy only processes, slices of addressType "IPv4" and "IPv6". No semantics are defined '
            'for the "FQDN" type.'
        ),
        "Ports": (
            "ports specifies the list of network ports exposed by each endpoint in this slice. Each port must "
            "have a unique name. Each slice may include a maximum of 100 ports. Services always have at least 1 "
            "port, so EndpointSlices generated by the EndpointSlice controller will likewise always have at least"
            " 1 port. EndpointSlices used for other purposes may have an empty ports list."
        ),
        "Endpoints": (
            "endpoints is a list of unique endpoints in this slice. Each slice may include a maximum of 1000 endpoints."
        ),
    },
    "events": {
        "Last Seen": "The time at which the most recent occurrence of this event was recorded.",
        "Type": "Type of this event (Normal, Warning), new types could be added in the future",
        "Reason": (
            "This should be a short, machine understandable string that gives the reason for the transition into "
            "the object's current status."
        ),
        "Object": "The object that this event is about.",
        "Subobject": (
            "If referring to a piece of an object instead of an entire object, this string should contain a valid"
            " JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the "
            "object reference is to a container within a pod, this would take on a value like: "
            '"spec.containers{name}" (where "name" refers to the name of the container that triggered the event) '
            'or if no container name is specified "spec.containers[2]" (container with index 2 in this pod). This'
            " syntax is chosen only to have some well-defined way of referencing a part of an object."
        ),
        "Source": "The component reporting this event. Should be a short machine understandable string.",
        "Message": "A human-readable description of the status of this operation.",
        "First Seen": "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
        "Count": "The number of times this event has occurred.",
    },
    "flowschemas": {
        "PriorityLevel": "`name` is the name of the priority level configuration being referenced Required.",
        "MatchingPrecedence": (
            "`matchingPrecedence` is used to choose among the FlowSchemas that match a given request. The chosen "
            "FlowSchema is among those with the numerically lowest (which we take to be logically highest) "
            "MatchingPrecedence.  Each MatchingPrecedence value must be ranged in [1,10000]. Note that if the "
            "precedence is not specified, it will be set to 1000 as default."
        ),
        "DistinguisherMethod": (
            "`distinguisherMethod` defines how to compute the flow distinguisher for requests that match this "
            "schema. `nil` specifies that the distinguisher is disabled and thus will always be the empty string."
        ),
        "MissingPL": "references a broken or non-existent PriorityLevelConfiguration",
    },
    "horizontalpodautoscalers": {
        "Reference": (
            "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics "
            "should be collected, as well as to actually change the replica count."
        ),
        "Targets": (
            "metrics contains the specifications for which to use to calculate the desired replica count (the "
            "maximum replica count across all metrics will be used).  The desired replica count is calculated "
            "multiplying the ratio between the target value and the current value by the current number of pods."
            "  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the "
            "individual metric source types for more information about how each type of metric must respond. If "
            "not set, the default metric will be set to 80% average CPU utilization."
        ),
        "MinPods": (
            "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  "
            "It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is "
            "enabled and at least one Object or External metric is configured.  Scaling is active as long as at "
            "least one metric value is available."
        ),
        "MaxPods": (
            "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It "
            "cannot be less that minReplicas."
        ),
        "Replicas": (
            "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by "
            "the autoscaler."
        ),
    },
    "ingressclasses": {
        "Controller": "Controller that is responsible for handling this class",
        "Parameters": "A reference to a resource with additional parameters",
    },
    "leases": {
        "Holder": (
            "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader "
            "Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name "
            "field."
        ),
    },
    "mutatingadmissionpolicybindings": {
        "PolicyName": "PolicyName indicates the policy definition which the policy binding binded to",
        "ParamRef": "ParamRef indicates the param resource which sets the configuration param",
    },
    "networkpolicies": {
        "Pod-Selector": (
            "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is "
            "applied to any pods selected by this field. An empty selector matches all pods in the policy's "
            "namespace. Multiple network policies can select the same set of pods. In this case, the ingress "
            "rules for each are combined additively. This field is optional. If it is not specified, it defaults "
            "to an empty selector."
        ),
    },
    "priorityclasses": {
        "Value": (
            "value represents the integer value of this priority class. This is the actual priority that pods "
            "receive when they have the name of this class in their pod spec."
        ),
        "Global-Default": (
            "globalDefault specifies whether this PriorityClass should be considered as the default priority for "
            "pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. "
            "However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the "
            "smallest value of such global default PriorityClasses will be used as the default priority."
        ),
        "PreemptionPolicy": (
            "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, "
            "PreemptLowerPriority. Defaults to PreemptLowerPriority if unset."
        ),
    },
    "prioritylevelconfigurations": {
        "Type": (
            "`type` indicates whether this priority level is subject to limitation on request execution.  A value"
            ' of `"Exempt"` means that requests of this priority level are not subject to a limit (and thus are '
            "never queued) and do not detract from the capacity made available to other priority levels.  A value"
            ' of `"Limited"` means that (a) requests of this priority level _are_ subject to limits and (b) some '
            "of the server's limited capacity is made available exclusively to this priority level. Required."
        ),
        "NominalConcurrencyShares": (
            "`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit "
            "(NominalCL) of this level. This is the number of execution seats available at this priority level. "
            "This is used both for requests dispatched from this priority level as well as requests dispatched "
            "from other priority levels borrowing seats from this level. The server's concurrency limit "
            "(ServerCL) is divided among the Limited priority levels in proportion to their NCS values:\n\n"
            "NominalCL(i)  = ceil( ServerCL * NCS(i) / sum_ncs ) sum_ncs = sum[priority level k] NCS(k)\n\nBigger "
            "numbers mean a larger nominal concurrency limit, at the expense of every other priority level.\n\nIf "
            "not specified, this field defaults to a value of 30.\n\nSetting this field to zero supports the "
            'construction of a "jail" for this priority level that is used to hold some request(s)'
        ),
        "Queues": (
            "`queues` is the number of queues for this priority level. The queues exist independently at each "
            "apiserver. The value must be positive.  Setting it to 1 effectively precludes shufflesharding and "
            "thus makes the distinguisher method of associated flow schemas irrelevant.  This field has a default"
            " value of 64."
        ),
        "HandSize": (
            "`handSize` is a small positive number that configures the shuffle sharding of requests into queues."
            "  When enqueuing a request at this priority level the request's flow identifier (a string pair) is "
            "hashed and the hash value is used to shuffle the list of queues and deal a hand of the size "
            "specified here.  The request is put into one of the shortest queues in that hand. `handSize` must be"
            " no larger than `queues`, and should be significantly smaller (so that a few heavy flows do not "
            "saturate most of the queues).  See the user-facing documentation for more extensive guidance on "
            "setting this field.  This field has a default value of 8."
        ),
        "QueueLengthLimit": (
            "`queueLengthLimit` is the maximum number of requests allowed to be waiting in a given queue of this "
            "priority level at a time; excess requests are rejected.  This value must be positive.  If not "
            "specified, it will be defaulted to 50."
        ),
    },
    "rolebindings": {
        "Role": (
            "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If "
            "the RoleRef cannot be resolved, the Authorizer must return an error."
        ),
        "Users": "Users in the roleBinding",
        "Groups": "Groups in the roleBinding",
        "ServiceAccounts": "ServiceAccounts in the roleBinding",
    },
    "runtimeclasses": {
        "Handler": "",
    },
    "storageclasses": {
        "Provisioner": "provisioner indicates the type of the provisioner.",
        "ReclaimPolicy": (
            "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this "
            "storage class. Defaults to Delete."
        ),
        "VolumeBindingMode": (
            "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset,"
            " VolumeBindingImmediate is used. This field is only honored by servers that enable the "
            "VolumeScheduling feature."
        ),
        "AllowVolumeExpansion": "allowVolumeExpansion shows whether the storage class allow volume expand.",
    },
    "validatingadmissionpolicies": {
        "Validations": "Validations indicates the number of validation rules defined in this configuration",
        "ParamKind": "ParamKind specifies the kind of resources used to parameterize this policy",
    },
    "validatingwebhookconfigurations": {
        "Webhooks": "Webhooks indicates the number of webhooks registered in this configuration",
    },
    "volumeattachments": {
        "Attacher": (
            "attacher indicates the name of the volume driver that MUST handle this request. This is the name "
            "returned by GetPluginName()."
        ),
        "PV": "persistentVolumeName represents the name of the persistent volume to attach.",
        "Node": "nodeName represents the node that the volume should be attached to.",
        "Attached": (
            "attached indicates the volume is successfully attached. This field must only be set by the entity "
            "completing the attach operation, i.e. the external-attacher."
        ),
    },
    "volumeattributesclasses": {
        "DriverName": "Name of the CSI driver This field is immutable.",
    },
}
