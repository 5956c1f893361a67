"""What expressions of policies would get wrong about the kinds they are for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from edgekube.control.controllers import policytypes
from edgekube.control.controllers.policytypes import Named, Seen, reconcile
from edgekube.kinds.admissionregistration import validatingadmissionpolicy as policies
from edgekube.kinds.apps import deployment
from edgekube.kinds.core import configmap
from edgekube.reconcile.drive import Key
from edgekube.reconcile.plan import Update

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def policy(
    *expressions: str, group: str = "apps", version: str = "v1", resource: str = "deployments", **spec: Any
) -> Any:
    rule = {"apiGroups": [group], "apiVersions": [version], "operations": ["*"], "resources": [resource]}
    document = {
        "metadata": {"name": "p", "generation": 3},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": one} for one in expressions],
            **spec,
        },
    }
    return policies.KIND.from_dict(document)


class Caches:
    def __init__(self, item: Any) -> None:
        self.item = item

    def of(self, _: Any) -> Any:
        return self

    def has(self, _: Any) -> bool:
        return True

    def get(self, _: str, name: str) -> Any:
        return self.item if name == "p" else None


def written(seen: Seen) -> Any:
    (action,) = reconcile(seen).actions
    assert isinstance(action, Update)
    assert action.subresource == "status"
    return policies.KIND.to_dict(action.item)["status"]


def found(item: Any) -> Any:
    seen = policytypes.observe(Caches(item), Key("", "p"), NOW)
    assert seen is not None
    return written(seen)


def test_what_fits_is_noted_as_looked_at() -> None:
    good = policy("object.spec.replicas <= 3 && object.spec.template.spec.containers.all(c, c.image != '')")
    assert found(good) == {"observedGeneration": 3, "typeChecking": {}}
    assert policytypes.observe(Caches(None), Key("", "p"), NOW) is None


def test_what_does_not_fit_is_told_per_kind() -> None:
    status = found(policy("true", "object.spec.replicas == '3'"))
    (warning,) = status["typeChecking"]["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[1].expression"
    assert warning["warning"] == (
        "apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:22: found no matching overload for '_==_' applied to "
        "'(int, string)'\n | object.spec.replicas == '3'\n | .....................^\n"
    )


def test_a_status_of_this_generation_is_left_alone() -> None:
    item = policy("true")
    item.status.observed_generation = 3
    item.status.type_checking = policies.TypeChecking()
    assert policytypes.observe(Caches(item), Key("", "p"), NOW) is None


def test_rules_with_wildcards_name_no_kind() -> None:
    for group, version, resource in (
        ("*", "v1", "deployments"),
        ("apps", "*", "deployments"),
        ("apps", "v1", "*"),
        ("apps", "v1", "deployments/scale"),
    ):
        assert list(policytypes.named(policy("true", group=group, version=version, resource=resource))) == []
    seen = policytypes.observe(Caches(policy("true", group="e.org", resource="things")), Key("", "p"), NOW)
    assert seen is not None
    assert seen.lost == (("e.org", "v1", "things"),)


def test_variables_parameters_and_custom_kinds_have_types_too() -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
    item = policy(
        "variables.count == object.spec.n && params.data.x == 'y'",
        "variables.count == 'x'",
        "params.nope == 1",
        variables=[{"name": "count", "expression": "object.spec.n + 1"}],
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
    )
    thing = Named("e.org", "v1", "Thing", schema=schema)
    params = Named("", "v1", "ConfigMap", configmap.KIND)
    warned = written(Seen(item, (thing,), params))["typeChecking"]["expressionWarnings"]
    assert [one["fieldRef"] for one in warned] == ["spec.validations[1].expression", "spec.validations[2].expression"]
    assert warned[0]["warning"].startswith("e.org/v1, Kind=Thing: compilation failed: ")
    assert Named("apps", "v1", "Deployment", deployment.KIND) != thing
