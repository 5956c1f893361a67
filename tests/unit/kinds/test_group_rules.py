"""Rules of the smaller groups that the recorded cases do not touch: good objects pass, and each mistake has its own answer."""

import copy

import pytest

from edgekube.kinds.catalog import SUBRESOURCE_KINDS, built_in

KINDS = {(kind.api_version, kind.name): kind for kind in (*built_in(), *SUBRESOURCE_KINDS)}

PATH = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}
GOOD = {
    "ingress": {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "i"},
        "spec": {"rules": [{"host": "*.example.com", "http": {"paths": [PATH]}}], "tls": [{"secretName": "t"}]},
    },
    "class": {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "c"},
        "spec": {"controller": "example.com/c", "parameters": {"kind": "P", "name": "p"}},
    },
    "policy": {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "podSelector": {},
            "egress": [
                {"to": [{"ipBlock": {"cidr": "fd00::/8", "except": ["fd01::/16"]}}], "ports": [{"port": "dns"}]}
            ],
        },
    },
    "address": {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": "192.0.2.1"},
        "spec": {"parentRef": {"resource": "services", "name": "s"}},
    },
    "range": {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "r"},
        "spec": {"cidrs": ["10.0.0.0/24", "fd00::/64"]},
    },
    "slice": {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "s"},
        "addressType": "IPv6",
        "endpoints": [{"addresses": ["fd00::1"], "hostname": "h", "hints": {"forZones": [{"name": "z"}]}}],
        "ports": [{"name": "a", "port": 80, "appProtocol": "kubernetes.io/h2c"}],
    },
    "autoscaler": {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "behavior": {"scaleUp": {"stabilizationWindowSeconds": 5}},
            "metrics": [
                {
                    "type": "Object",
                    "object": {
                        "describedObject": {"kind": "Service", "name": "s"},
                        "metric": {"name": "m"},
                        "target": {"type": "Value", "value": "1"},
                    },
                }
            ],
        },
    },
    "autoscaler v1": {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}},
    },
    "budget": {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b"},
        "spec": {"maxUnavailable": "50%"},
    },
    "binding": {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "b"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
    },
    "request": {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "r"},
        "spec": {
            "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K",
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["client auth"],
        },
    },
    "event": {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "n"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "n"},
        "reason": "R",
        "type": "Normal",
        "action": "A",
        "reportingController": "example.com/c",
        "reportingInstance": "i",
        "eventTime": "2024-01-02T03:04:05.000000Z",
    },
    "webhook": {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "w"},
        "webhooks": [
            {
                "name": "a.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"url": "https://a.example.com/x"},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/*"]}
                ],
            }
        ],
    },
    "definition": {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                        }
                    },
                }
            ],
        },
    },
    "storage class": {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "s"},
        "provisioner": "Example.com/p",
    },
    "level": {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "l"},
        "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}},
    },
    "device class": {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": "d"},
        "spec": {
            "selectors": [{"cel": {"expression": "true"}}],
            "config": [{"opaque": {"driver": "d.example.com", "parameters": {}}}],
        },
    },
    "claim": {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "c"},
        "spec": {
            "devices": {
                "requests": [{"name": "a", "exactly": {"deviceClassName": "d"}}],
                "constraints": [{"requests": ["a"], "matchAttribute": "x/y"}],
            }
        },
    },
    "template": {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "t"},
        "spec": {"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "d"}}]}}},
    },
    "devices": {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "s"},
        "spec": {
            "driver": "d.example.com",
            "allNodes": True,
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "x"}],
        },
    },
    "scale": {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "s"},
        "spec": {"replicas": 1},
    },
}
SCHEMA = "spec.versions.0.schema.openAPIV3Schema"
SHOWN = "spec.validation.openAPIV3Schema"


def changed(name, **changes):
    """A good object with members replaced: `{"spec.rules.0.host": value}`."""
    document = copy.deepcopy(GOOD[name])
    for path, value in changes.items():
        *way, last = path.split(".")
        place = document
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = value
    return document


def problems(document):
    kind = KINDS[document["apiVersion"], document["kind"]]
    item = kind.from_dict(document)
    kind.default(item)
    kind.prepare_create(item)
    return [str(error) for error in kind.rules(item)]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_object_passes(name):
    assert problems(GOOD[name]) == []


@pytest.mark.parametrize(
    ("name", "path", "value", "expected"),
    [
        ("ingress", "spec.rules.0.http.paths.0.path", "a", ['.path: Invalid value: "a": must be an absolute path']),
        ("ingress", "spec.rules.0.http.paths.0.path", "/a//", ["must not contain '//'"]),
        ("ingress", "spec.rules.0.http.paths.0.backend", {"resource": {"kind": "", "name": "x"}}, ["resource.kind: Required value"]),
        ("class", "spec.parameters.namespace", "n", ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"]),
        ("class", "spec.parameters.scope", "Namespace", ["`parameters.scope` is set to 'Namespace'"]),
        ("policy", "spec.egress.0.to.0.podSelector", {}, ["may not specify both ipBlock and another peer"]),
        ("policy", "spec.egress.0.to.0.ipBlock.except", ["10.0.0.0/8"], ["must be a strict subset of `cidr`"]),
        ("address", "metadata.name", "192.0.2.1", []),
        ("range", "spec.cidrs", ["10.0.0.0/24", "10.1.0.0/24"], ["no more than one IP for each IP family"]),
        ("range", "spec.cidrs", [], ["spec.cidrs: Required value"]),
        ("slice", "endpoints.0.addresses", ["fe80::1"], ["may not be in the link-local range"]),
        ("slice", "endpoints.0.addresses", ["x"], ["endpoints[0].addresses: Invalid value: \"x\": must be an IPv6 address"]),
        ("autoscaler", "spec.scaleTargetRef.kind", "", ["spec.scaleTargetRef.kind: Required value"]),
        ("autoscaler", "spec.metrics.0.object.target", {"type": "Value"}, ["must set either a target value or averageValue"]),
        ("autoscaler", "spec.metrics.0.pods", {}, ["pods: Forbidden: must populate the given metric source only"]),
        ("autoscaler", "spec.minReplicas", 0, ["must be greater than or equal to 1"]),
        ("autoscaler v1", "spec.minReplicas", 5, ["must be greater than or equal to `minReplicas`"]),
        ("budget", "spec.minAvailable", 1, ["minAvailable and maxUnavailable cannot be both set"]),
        ("budget", "spec.maxUnavailable", "101%", ["must not be greater than 100%"]),
        ("binding", "subjects.0.namespace", "", ["subjects[0].namespace: Required value"]),
        ("request", "spec.signerName", "nope", ["must be a fully qualified domain and path"]),
        ("request", "spec.expirationSeconds", 599, ["may not specify a duration less than 600 seconds (10 minutes)"]),
        ("event", "eventTime", None, ["eventTime: Required value"]),
        ("event", "deprecatedCount", 2, ['count: Invalid value: "": needs to be unset']),
        ("webhook", "webhooks.0.timeoutSeconds", 31, ["the timeout value must be between 1 and 30 seconds"]),
        ("webhook", "webhooks.0.clientConfig", {}, ["exactly one of url or service is required"]),
        ("webhook", "webhooks.0.rules.0.operations", ["*", "CREATE"], ["must not specify other operations"]),
        ("definition", f"{SCHEMA}.properties.spec", {"type": "array"}, [f"{SHOWN}.properties[spec].items: Required value"]),
        ("definition", f"{SCHEMA}.type", "string", [f"{SHOWN}.type"]),
        ("definition", "spec.group", "x.k8s.io", ["metadata.name", "protected groups must have approval annotation"]),
        ("definition", "spec.names.listKind", "Foo", ["kind and listKind may not be the same"]),
        ("storage class", "volumeBindingMode", "Later", ['volumeBindingMode: Unsupported value: "Later"']),
        ("level", "spec.limited.limitResponse.queuing", {"queues": 2, "handSize": 3}, ["should not be greater than queues (2)"]),
        ("level", "spec.limited.limitResponse.type", "Reject", ["queuing: Forbidden"]),
        ("device class", "spec.config.0.opaque", None, ["spec.config[0].opaque: Required value"]),
        ("claim", "spec.devices.requests.0.exactly", None, ["exactly one of `exactly` or `firstAvailable` is required"]),
        ("claim", "spec.devices.constraints.0.requests", ["b"], ["must be the name of a request in the claim"]),
        ("template", "spec.spec.devices.requests.0.exactly.deviceClassName", "", ["spec.spec.devices.requests[0].exactly.deviceClassName: Required value"]),
        ("devices", "spec.nodeName", "n", ["but multiple fields are set"]),
        ("devices", "spec.devices", [{"name": "x"}, {"name": "x"}], ["spec.devices[1].name: Duplicate value"]),
        ("scale", "spec.replicas", -1, ["must be greater than or equal to 0"]),
    ],
)  # fmt: skip
def test_one_mistake_has_one_answer(name, path, value, expected):
    found = problems(changed(name, **{path: value}))
    assert len(found) == len(expected), found
    for text, part in zip(found, expected, strict=True):
        assert part in text


def test_an_address_is_named_in_the_one_way_it_is_written():
    rule = KINDS["networking.k8s.io/v1", "IPAddress"].name_rule
    assert rule("2001:db8::1") == []
    assert rule("2001:DB8::1") == ['not a valid address in canonical format, expected "2001:db8::1"']
    assert rule("x") != []


@pytest.mark.parametrize(
    ("name", "path", "value", "expected"),
    [
        ("class", "spec.controller", "example.com/d", ["spec.controller"]),
        ("address", "spec.parentRef.name", "t", ["spec.parentRef"]),
        ("range", "spec.cidrs", ["10.0.0.0/24"], ["spec.cidrs[1]"]),
        ("slice", "addressType", "IPv4", ["addressType"]),
        ("binding", "roleRef.name", "edit", ["roleRef"]),
        ("event", "note", "other", ["message"]),
        ("storage class", "parameters", {"a": "b"}, ["parameters"]),
        ("definition", "spec.names.plural", "bars", ["spec.names.plural"]),
        ("claim", "spec.devices.constraints", [], ["spec"]),
        ("devices", "spec.driver", "e.example.com", ["spec.driver"]),
        ("budget", "spec.maxUnavailable", 1, []),
    ],
)
def test_what_may_not_change_is_named(name, path, value, expected):
    kind = KINDS[GOOD[name]["apiVersion"], GOOD[name]["kind"]]
    old, new = kind.from_dict(GOOD[name]), kind.from_dict(changed(name, **{path: value}))
    kind.default(old)
    kind.default(new)
    assert [error.field for error in kind.update_rules(new, old)] == expected


def test_a_range_may_gain_its_second_family():
    kind = KINDS["networking.k8s.io/v1", "ServiceCIDR"]
    old = kind.from_dict(changed("range", **{"spec.cidrs": ["10.0.0.0/24"]}))
    assert kind.update_rules(kind.from_dict(GOOD["range"]), old) == []


def test_a_signing_request_keeps_what_was_asked():
    kind = KINDS["certificates.k8s.io/v1", "CertificateSigningRequest"]
    old, new = kind.from_dict(GOOD["request"]), kind.from_dict(changed("request", **{"spec.signerName": "x.y/z"}))
    kind.prepare_update(new, old)
    assert new.spec == old.spec


def test_a_definition_remembers_every_version_it_stored():
    kind = KINDS["apiextensions.k8s.io/v1", "CustomResourceDefinition"]
    old = kind.from_dict(GOOD["definition"])
    kind.prepare_create(old)
    assert old.status.stored_versions == ["v1"]
    second = {**GOOD["definition"]["spec"]["versions"][0], "name": "v2"}
    first = {**second, "name": "v1", "storage": False}
    new = kind.from_dict(changed("definition", **{"spec.versions": [first, second]}))
    kind.prepare_update(new, old)
    assert new.status.stored_versions == ["v1", "v2"]
    assert old.status.stored_versions == ["v1"]
    gone = kind.from_dict(changed("definition", **{"spec.versions": [second]}))
    kind.prepare_update(gone, new)
    kind.default(gone)
    assert [error.field for error in kind.rules(gone)] == ["status.storedVersions[0]"]


def test_warnings_are_given_for_what_is_going_away():
    ingress = KINDS["networking.k8s.io/v1", "Ingress"]
    annotated = ingress.from_dict(changed("ingress", **{"metadata.annotations": {"kubernetes.io/ingress.class": "x"}}))
    assert "deprecated" in ingress.warnings(annotated, None)[0]
    assert ingress.warnings(annotated, annotated) == []
    driver = KINDS["storage.k8s.io/v1", "CSIDriver"]
    assert driver.warnings(driver.from_dict({"spec": {"tokenRequests": [{"audience": "a"}]}}), None)
    assert driver.warnings(driver.from_dict({"spec": {}}), None) == []
