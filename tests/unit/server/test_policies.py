"""Admission policies: what they refuse, warn about, note and change, through which bindings and with which parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server_harness import MERGE, Api, config_map, pod

GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS, DEPLOYMENTS = "/api/v1/namespaces/default/configmaps", "/apis/apps/v1/namespaces/default/deployments"


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]}
    whole = {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": whole}


def rule(resource: str = "configmaps", group: str = "", *operations: str, **more: Any) -> dict[str, Any]:
    return {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": list(operations) or ["*"],
        "resources": [resource],
        **more,
    }


async def validating(api: Api, *validations: Any, name: str = "p", **spec: Any) -> dict[str, Any]:
    made = [{"expression": one} if isinstance(one, str) else one for one in validations]
    document = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [rule()]}, "validations": made, **spec},
    }
    answer: dict[str, Any] = await api.good("POST", f"{GROUP}/validatingadmissionpolicies", document)
    return answer


async def mutating(api: Api, *mutations: dict[str, Any], name: str = "m", bound: bool = True, **spec: Any) -> None:
    await api.good(
        "POST",
        f"{GROUP}/mutatingadmissionpolicies",
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule("configmaps", "", "CREATE", "UPDATE")]},
                "reinvocationPolicy": "Never",
                "mutations": list(mutations),
                **spec,
            },
        },
    )
    if bound:
        await bind(api, name, kind="Mutating")


async def bind(
    api: Api, policy: str = "p", *actions: str, name: str = "", kind: str = "Validating", **spec: Any
) -> None:
    own = {"validationActions": list(actions) or ["Deny"]} if kind == "Validating" else {}
    await api.good(
        "POST",
        f"{GROUP}/{kind.lower()}admissionpolicybindings",
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}AdmissionPolicyBinding",
            "metadata": {"name": name or f"{policy}-b"},
            "spec": {"policyName": policy, **own, **spec},
        },
    )


def applying(expression: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patching(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


DENIED = "ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: "


async def test_a_policy_without_a_binding_does_nothing(api: Api) -> None:
    await validating(api, "false")
    await api.good("POST", MAPS, config_map())


async def test_a_denial_says_who_and_why(api: Api) -> None:
    await validating(api, {"expression": "!('bad' in object.data)", "message": "no bad", "reason": "Forbidden"})
    await bind(api)
    refused = await api.ask("POST", MAPS, config_map("a", data={"bad": "1"}))
    assert refused.status == 403
    assert refused.document["reason"] == "Forbidden"
    assert refused.document["message"] == f'configmaps "a" is forbidden: {DENIED}no bad'
    assert refused.document["details"]["causes"] == [{"message": f"{DENIED}no bad"}]
    await api.good("POST", MAPS, config_map("a"))
    assert await api.refused("PATCH", f"{MAPS}/a", {"data": {"bad": "1"}}, MERGE) == (403, refused.document["message"])


async def test_messages(api: Api) -> None:
    await validating(
        api,
        {
            "expression": "object.data.x != '1'",
            "messageExpression": "'x is ' + object.data.x + ' in ' + namespaceObject.metadata.name",
        },
        {"expression": "object.data.x != '2'", "messageExpression": "string(object.data.none)", "message": "fallback"},
        {"expression": "object.data.x != '3'"},
    )
    await bind(api)
    for value, words in (
        ("1", "x is 1 in default"),
        ("2", "fallback"),
        ("3", "failed expression: object.data.x != '3'"),
    ):
        code, message = await api.refused("POST", MAPS, config_map(data={"x": value}))
        assert (code, message.removeprefix(f'configmaps "a" is forbidden: {DENIED}')) == (422, words)


async def test_what_cannot_be_evaluated_denies_unless_failures_are_ignored(api: Api) -> None:
    await validating(api, "object.data.none == 'x'")
    await bind(api)
    _, message = await api.refused("POST", MAPS, config_map())
    assert message.endswith("expression 'object.data.none == 'x'' resulted in error: no such key: none")
    await api.good("PATCH", f"{GROUP}/validatingadmissionpolicies/p", {"spec": {"failurePolicy": "Ignore"}}, MERGE)
    await api.good("POST", MAPS, config_map())


async def test_bindings_warn_and_note(api: Api) -> None:
    await validating(api, "false", auditAnnotations=[{"key": "who", "valueExpression": "request.userInfo.username"}])
    await bind(api, "p", "Warn", "Audit")
    made = await api.ask("POST", MAPS, config_map())
    words = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': failed expression: false"
    assert (made.status, made.header("warning")) == (201, f'299 - "{words}"')
    annotations: dict[str, str] = {}
    context = api.server.registry.admission
    assert context is not None
    original = api.server.resources.answer

    async def listening(*given: Any) -> Any:
        answer, context = await original(*given)
        annotations.update(context.annotations)
        return answer, context

    api.server.resources.answer = listening  # type: ignore[method-assign]
    await api.good("POST", MAPS, config_map("b"))
    assert annotations["p/who"] == "admin"
    (failure,) = json.loads(annotations["validation.policy.admission.k8s.io/validation_failure"])
    assert failure == {
        "message": "failed expression: false",
        "policy": "p",
        "binding": "p-b",
        "expressionIndex": 0,
        "validationActions": ["Warn", "Audit"],
    }


async def test_variables_are_found_once_and_only_when_asked_for(api: Api) -> None:
    await validating(
        api,
        "variables.count <= 2 || variables.fails == 1",
        variables=[
            {"name": "keys", "expression": "object.data.map(k, k)"},
            {"name": "count", "expression": "variables.keys.size()"},
            {"name": "fails", "expression": "1 / int(object.data.zero)"},
        ],
    )
    await bind(api)
    await api.good("POST", MAPS, config_map(data={"a": "1", "b": "2"}))
    _, message = await api.refused("POST", MAPS, config_map("b", data={"a": "1", "b": "2", "zero": "0"}))
    assert message.endswith('composited variable "fails" fails to evaluate: division by zero')


async def test_match_conditions_selectors_names_and_exclusions(api: Api) -> None:
    await validating(
        api,
        "false",
        matchConditions=[{"name": "c", "expression": "object.metadata.name != 'spared'"}],
        matchConstraints={
            "resourceRules": [rule("configmaps", "", "CREATE", resourceNames=[])],
            "excludeResourceRules": [rule("configmaps", resourceNames=["excluded"])],
            "objectSelector": {"matchLabels": {"watch": "me"}},
        },
    )
    await bind(api, matchResources={"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}})
    watched = {"labels": {"watch": "me"}}
    await api.good("POST", MAPS, config_map("free"))
    for name in ("spared", "excluded"):
        await api.good("POST", MAPS, config_map(metadata={"name": name, **watched}))
    await api.good("POST", MAPS.replace("default", "kube-public"), config_map(metadata={"name": "a", **watched}))
    assert (await api.refused("POST", MAPS, config_map(metadata={"name": "a", **watched})))[0] == 422
    await api.good("PATCH", f"{MAPS}/free", {"metadata": watched}, MERGE)  # updates are not meant


@pytest.mark.parametrize("action", ["Deny", "Allow"])
async def test_parameters_that_are_not_there(api: Api, action: str) -> None:
    await validating(
        api, "object.data.size() <= int(params.data.most)", paramKind={"apiVersion": "v1", "kind": "ConfigMap"}
    )
    await api.good("POST", MAPS.replace("default", "kube-public"), config_map("limits", data={"most": "1"}))
    reference = {"name": "limits", "namespace": "kube-system", "parameterNotFoundAction": action}
    await bind(api, paramRef=reference)
    if action == "Allow":
        await api.good("POST", MAPS, config_map(data={"a": "1", "b": "2"}))
        return
    _, message = await api.refused("POST", MAPS, config_map())
    assert message.endswith(
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    )


async def test_parameters_by_name_and_by_selector(api: Api) -> None:
    await validating(
        api, "object.data.size() <= int(params.data.most)", paramKind={"apiVersion": "v1", "kind": "ConfigMap"}
    )
    limits = MAPS.replace("default", "kube-public")
    for name, most in (("one", "1"), ("three", "3")):
        await api.good(
            "POST", limits, config_map(data={"most": most}, metadata={"name": name, "labels": {"use": "limit"}})
        )
    only = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}
    reference = {"namespace": "kube-public", "parameterNotFoundAction": "Deny"}
    await bind(api, paramRef={**reference, "name": "three"}, matchResources=only)
    await api.good("POST", MAPS, config_map("two", data={"a": "1", "b": "2"}))
    await bind(
        api, name="p-all", paramRef={**reference, "selector": {"matchLabels": {"use": "limit"}}}, matchResources=only
    )
    assert (await api.refused("POST", MAPS, config_map("again", data={"a": "1", "b": "2"})))[0] == 422


async def test_a_kind_of_parameter_nobody_knows(api: Api) -> None:
    await validating(api, "params.x == 1", paramKind={"apiVersion": "e.org/v1", "kind": "Nope"})
    await bind(api, paramRef={"name": "a", "parameterNotFoundAction": "Deny"})
    _, message = await api.refused("POST", MAPS, config_map())
    assert message.endswith(
        "failed to configure policy: failed to find resource referenced by paramKind: 'e.org/v1, Kind=Nope'"
    )


async def test_the_authorizer_is_asked_for_the_user(api: Api) -> None:
    await validating(
        api,
        "authorizer.group('e.org').resource('things').namespace('default').name('t').check('use').allowed()",
        "authorizer.requestResource.check('delete').allowed()",
    )
    await bind(api)
    asked: list[tuple[str, str, str, str]] = []

    def refused(attributes: Any) -> str | None:
        asked.append((attributes.verb, attributes.group, attributes.resource, attributes.name))
        return "no" if attributes.verb == "use" else None

    api.doorman.refused = refused
    assert (await api.refused("POST", MAPS, config_map()))[0] == 422
    assert ("use", "e.org", "things", "t") in asked
    assert ("delete", "", "configmaps", "a") in asked


async def test_deletions_and_scales(api: Api) -> None:
    await api.good("POST", MAPS, config_map("fixed", data={"locked": "1"}))
    await validating(
        api,
        "!('locked' in oldObject.data) || object != null",
        matchConstraints={"resourceRules": [rule("configmaps", "", "DELETE")]},
    )
    await bind(api)
    code, message = await api.refused("DELETE", f"{MAPS}/fixed")
    assert (code, message.startswith('configmaps "fixed" is forbidden')) == (422, True)
    _, message = await api.refused("DELETE", f"{MAPS}?fieldSelector=metadata.name=fixed")
    assert message.startswith('configmaps "Unknown" is forbidden')
    scale = rule("deployments/scale", "apps", "UPDATE")
    constraints = {"resourceRules": [scale]}
    await validating(api, "object.kind == 'Scale' && object.spec.replicas < 5", name="s", matchConstraints=constraints)
    await bind(api, "s")
    await api.good("POST", DEPLOYMENTS, deployment(replicas=9))
    await api.good("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 4}}, MERGE)
    assert (await api.refused("PATCH", f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 6}}, MERGE))[0] == 422


async def test_policies_are_none_of_their_own_business(api: Api) -> None:
    every = {"resourceRules": [{**rule("*"), "apiGroups": ["*"]}]}
    await validating(api, "false", matchConstraints=every)
    await bind(api)
    await validating(api, "true", name="q")
    await api.good("DELETE", f"{GROUP}/validatingadmissionpolicybindings/p-b")
    await api.good("POST", MAPS, config_map())


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"validations": [{"expression": "1"}]}, "spec.validations[0].expression", "must evaluate to bool but got int"),
        ({"validations": [{"expression": "params.x == 1"}]}, "spec.validations[0].expression", "undeclared reference to 'params'"),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, "spec.validations[0].messageExpression", "must evaluate to string but got int"),
        ({"validations": [{"expression": "true", "messageExpression": "string(authorizer)"}]}, "spec.validations[0].messageExpression", "undeclared reference to 'authorizer'"),
        ({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}, "spec.auditAnnotations[0].valueExpression", "must evaluate to one of [string null_type] but got int"),
        ({"variables": [{"name": "v", "expression": "nope"}]}, "spec.variables[0].expression", "undeclared reference to 'nope'"),
        ({"validations": [{"expression": "variables.later"}], "variables": [{"name": "v", "expression": "1"}]}, "spec.validations[0].expression", "undefined field 'later'"),
        ({"validations": [{"expression": "request.nope == 1"}]}, "spec.validations[0].expression", "undefined field 'nope'"),
    ],
)  # fmt: skip
async def test_expressions_are_checked_when_they_are_written(
    api: Api, spec: dict[str, Any], field: str, words: str
) -> None:
    whole = {"matchConstraints": {"resourceRules": [rule()]}, "validations": [{"expression": "true"}], **spec}
    document = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"},
        "spec": whole,
    }
    refused = await api.ask("POST", f"{GROUP}/validatingadmissionpolicies", document)
    (cause,) = refused.document["details"]["causes"]
    assert (refused.status, cause["field"]) == (422, field)
    assert words in cause["message"]


# ------------------------------------------------------------------------------------------------- mutations


async def test_an_applied_configuration_is_merged_and_defaulted(api: Api) -> None:
    side = "Object.spec.template.spec.containers{name: 'side', image: 'i:2'}"
    inner = "Object.spec.template{spec: Object.spec.template.spec{containers: [" + side + "]}}"
    constraints = {"resourceRules": [rule("deployments", "apps", "CREATE")]}
    await mutating(api, applying("Object{spec: Object.spec{template: " + inner + "}}"), matchConstraints=constraints)
    made = await api.good("POST", DEPLOYMENTS, deployment())
    assert [(one["name"], one["imagePullPolicy"]) for one in made["spec"]["template"]["spec"]["containers"]] == [
        ("c", "IfNotPresent"),
        ("side", "IfNotPresent"),
    ]


async def test_patches_go_one_after_the_other(api: Api) -> None:
    await mutating(
        api,
        patching("[JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 'b'}}]"),
        patching(
            "[JSONPatch{op: 'test', path: '/metadata/labels/a', value: 'x'}, JSONPatch{op: 'remove', path: '/data'}]"
        ),
        patching("[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('x~'), value: object.metadata.labels.a}]"),
    )
    code, message = await api.refused("POST", MAPS, config_map())
    assert (code, "data[x~]" in message) == (422, True)  # no key of a ConfigMap, said by its own rules
    await api.good("DELETE", f"{GROUP}/mutatingadmissionpolicies/m")
    await mutating(
        api, patching("[JSONPatch{op: 'replace', path: '/data/x', value: string(size(object.data))}]"), name="n"
    )
    assert (await api.good("POST", MAPS, config_map()))["data"] == {"x": "1"}


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (applying("Object{metadata: Object.spec{name: 'x'}}"), 'type mismatch: unexpected type name "Object.spec", expected "Object.metadata", which matches field name path from root Object type'),
        (applying("Object{nope: 1}"), "error applying patch: failed to convert patch object to typed object: .nope: field not declared in schema"),
        (applying("Object{data: {'a': string(object.none)}}"), "expression 'Object{data: {'a': string(object.none)}}' resulted in error: no such key: none"),
        (patching("[JSONPatch{op: 'remove', path: '/data/none'}]"), "JSON Patch: error in remove for path: '/data/none': Unable to remove nonexistent key: none: missing value"),
        (patching("[JSONPatch{op: 'replace', path: '/no/where', value: 1}]"), "JSON Patch: replace operation does not apply: doc is missing path: /no/where: missing value"),
    ],
)  # fmt: skip
async def test_mutations_that_cannot_be_carried_out(api: Api, mutation: dict[str, Any], words: str) -> None:
    await mutating(api, mutation)
    assert await api.refused("POST", MAPS, config_map()) == (
        403,
        f"policy 'm' with binding 'm-b' denied request: {words}",
    )


async def test_a_failure_may_be_ignored(api: Api) -> None:
    await mutating(api, patching("[JSONPatch{op: 'remove', path: '/data/none'}]"), failurePolicy="Ignore")
    await api.good("POST", MAPS, config_map())


async def test_those_who_wish_see_what_came_after_them(api: Api) -> None:
    count = "[JSONPatch{op: 'add', path: '/data/%s', value: string(size(object.data))}]"
    await mutating(api, patching(count % "first"), name="a", reinvocationPolicy="IfNeeded")
    await mutating(api, patching(count % "second"), name="b")
    made = await api.good("POST", MAPS, config_map())
    assert made["data"] == {"x": "y", "first": "3", "second": "2"}


async def test_variables_and_parameters_of_mutations(api: Api) -> None:
    limits = MAPS.replace("default", "kube-public")
    await api.good("POST", limits, config_map("team", data={"name": "blue"}))
    await mutating(
        api,
        applying("Object{metadata: Object.metadata{labels: {'team': variables.team}}}"),
        bound=False,
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        variables=[{"name": "team", "expression": "params.data.name"}],
        matchConditions=[{"name": "c", "expression": "!has(object.metadata.labels)"}],
    )
    reference = {"name": "team", "namespace": "kube-public", "parameterNotFoundAction": "Deny"}
    await bind(api, "m", kind="Mutating", paramRef=reference)
    assert (await api.good("POST", MAPS, config_map()))["metadata"]["labels"] == {"team": "blue"}
    own = config_map(metadata={"name": "b", "labels": {"team": "red"}})
    assert (await api.good("POST", MAPS, own))["metadata"]["labels"] == {"team": "red"}
