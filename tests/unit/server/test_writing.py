"""Creating and updating through the whole server."""

from __future__ import annotations

from tests.server_harness import MERGE, Api, config_map, pod

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def deployment(name: str = "d") -> dict[str, object]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


async def test_a_new_object_gets_what_only_the_server_knows(api: Api) -> None:
    made = await api.good("POST", MAPS, config_map(metadata={"name": "a", "uid": "mine", "selfLink": "/x"}))
    meta = made["metadata"]
    assert meta["uid"] != "mine"
    assert "selfLink" not in meta
    assert meta["creationTimestamp"].endswith("Z")
    assert meta["namespace"] == "default"
    assert int(meta["resourceVersion"]) == api.store.revision
    assert meta["managedFields"][0]["manager"] == "tester"


async def test_a_taken_name_is_told_as_such(api: Api) -> None:
    await api.good("POST", MAPS, config_map())
    assert await api.refused("POST", MAPS, config_map()) == (409, 'configmaps "a" already exists')


async def test_generated_names_get_five_letters_and_are_cut_to_fit(api: Api) -> None:
    made = await api.good("POST", MAPS, config_map(metadata={"generateName": "x" * 70}))
    assert len(made["metadata"]["name"]) == 63


async def test_an_object_of_another_namespace_is_refused(api: Api) -> None:
    code, words = await api.refused("POST", MAPS, config_map(metadata={"name": "a", "namespace": "other"}))
    assert (code, words) == (
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    )


async def test_status_is_not_for_creators(api: Api) -> None:
    made = await api.good("POST", DEPLOYMENTS, deployment() | {"status": {"replicas": 7}})
    assert made["status"] == {}


async def test_generation_follows_intent_only(api: Api) -> None:
    assert (await api.good("POST", DEPLOYMENTS, deployment()))["metadata"]["generation"] == 1
    labelled = await api.good("PATCH", f"{DEPLOYMENTS}/d", {"metadata": {"labels": {"x": "y"}}}, MERGE)
    assert labelled["metadata"]["generation"] == 1
    paused = await api.good("PATCH", f"{DEPLOYMENTS}/d", {"spec": {"paused": True}}, MERGE)
    assert paused["metadata"]["generation"] == 2
    reported = await api.good("PATCH", f"{DEPLOYMENTS}/d/status", {"status": {"replicas": 1}}, MERGE)
    assert reported["metadata"]["generation"] == 2


async def test_a_write_without_effect_is_none(api: Api) -> None:
    made = await api.good("POST", MAPS, config_map())
    await_same = await api.good("PUT", f"{MAPS}/a", config_map())
    assert await_same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_a_stale_revision_is_a_conflict(api: Api) -> None:
    made = await api.good("POST", MAPS, config_map())
    await api.good("PATCH", f"{MAPS}/a", {"data": {"x": "z"}}, MERGE)
    stale = config_map(metadata={"name": "a", "resourceVersion": made["metadata"]["resourceVersion"]})
    code, words = await api.refused("PUT", f"{MAPS}/a", stale)
    assert code == 409
    assert words.endswith("the object has been modified; please apply your changes to the latest version and try again")


async def test_kinds_that_are_shared_must_be_updated_conditionally(api: Api) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    await api.good("PUT", f"{path}/l", lease)
    code, words = await api.refused("PUT", f"{path}/l", lease | {"spec": {"holderIdentity": "b"}})
    assert code == 422
    assert words == (
        'leases.coordination.k8s.io "l" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update'
    )


async def test_the_status_subresource_changes_status_only(api: Api) -> None:
    await api.good("POST", DEPLOYMENTS, deployment())
    changed = deployment() | {"status": {"replicas": 3}}
    changed["spec"] = {**changed["spec"], "replicas": 9}  # type: ignore[dict-item]
    made = await api.good("PUT", f"{DEPLOYMENTS}/d/status", changed)
    assert made["status"]["replicas"] == 3
    assert made["spec"]["replicas"] == 1


async def test_a_dry_run_answers_and_keeps_nothing(api: Api) -> None:
    before = api.store.revision
    made = await api.good("POST", f"{MAPS}?dryRun=All", config_map())
    assert made["data"] == {"x": "y"}
    assert "resourceVersion" not in made["metadata"]
    assert api.store.revision == before


async def test_unknown_fields_are_refused_strictly_and_told_by_default(api: Api) -> None:
    wrong = config_map(foo="x")
    assert await api.refused("POST", f"{MAPS}?fieldValidation=Strict", wrong) == (
        400,
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo"',
    )
    made = await api.ask("POST", MAPS, wrong)
    assert made.headers["warning"] == ['299 - "unknown field \\"foo\\""']
    assert "foo" not in made.document


async def test_pods_run_as_the_default_account_with_its_token(api: Api) -> None:
    await api.good("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    wanted = pod()
    del wanted["spec"]["automountServiceAccountToken"]
    made = await api.good("POST", PODS, wanted)
    volume = made["spec"]["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    assert made["spec"]["containers"][0]["volumeMounts"][0]["name"] == volume["name"]
    assert made["spec"]["serviceAccountName"] == "default"
    assert made["spec"]["priority"] == 0
    assert {one["key"] for one in made["spec"]["tolerations"]} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }


async def test_nothing_is_created_in_a_namespace_that_is_going(api: Api) -> None:
    namespace = {"metadata": {"name": "n", "finalizers": ["example.com/hold"]}}
    await api.good("POST", "/api/v1/namespaces", namespace)
    going = await api.good("DELETE", "/api/v1/namespaces/n")
    assert going["status"]["phase"] == "Terminating"
    code, words = await api.refused("POST", "/api/v1/namespaces/n/configmaps", config_map())
    assert code == 403
    assert words == (
        'configmaps "a" is forbidden: unable to create new content in namespace n because it is being terminated'
    )


async def test_a_full_disk_is_told_and_loses_nothing(api: Api) -> None:
    await api.good("POST", MAPS, config_map())
    api.store.fail_next()
    code, words = await api.refused("PUT", f"{MAPS}/a", config_map(data={"x": "new"}))
    assert (code, words) == (500, "the store refused the write: no space left on device")
    assert (await api.good("GET", f"{MAPS}/a"))["data"] == {"x": "y"}
    await api.good("PUT", f"{MAPS}/a", config_map(data={"x": "new"}))
