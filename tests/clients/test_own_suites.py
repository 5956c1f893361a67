"""kr8s ships its own suite inside its package: it runs here against our control plane, as its authors wrote it.

Left out are tests that need containers to run, and those that look for what only a cluster made by kind has (pods in
kube-system, a user called kubernetes-admin). Tests that a release of kr8s does not have are no fault of ours.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.clients import installed
from tests.clients.scenarios_run import HERE, Outcome, run_pytest
from tests.clients.talk import post
from tests.support import Server, eventually

pytestmark = [pytest.mark.slow, pytest.mark.kubectl]

#: Of kr8s.tests.test_api, test_auth and test_objects, what needs an API server and nothing behind it.
ASKED = """
test_version test_concurrent_api_creation test_get_custom_resouces test_get_deployments test_api_versions
test_api_resources test_ns test_async_get_returns_async_objects test_sync_get_returns_sync_objects test_whoami
test_api_resources_cache test_api_timeout test_lookup_kind test_nonexisting_resource_type test_get_dynamic_plurals
test_create test_crd_caching test_get_raw_with_as_object test_get_raw_with_label_selector test_default_service_account
test_reauthenticate test_bad_auth test_service_account test_exec test_token test_configmap_data
test_create_existing_pod_fails test_custom_object_from_file test_field_selector test_generate_name
test_get_with_label_selector test_label_selector test_nonexistant test_patch_pod test_patch_pod_json test_pod_annotate
test_pod_force_delete test_pod_from_name test_pod_get test_pod_kind_api_raw test_pod_label test_pod_metadata
test_pod_refresh_sync test_pod_tolerate test_pod_watch test_recreate_pod test_scalable_dot_notation
test_secret_create_delete_not_changed test_secret_data test_all_v1_objects_represented
"""
#: What `-k` would take along because a name begins like an asked one.
NOT_HERE = ("test_service_account_token", "test_pod_wait", "test_pod_logs", "test_pod_exec", "test_create_and_delete")
FEWEST = 45


def test_what_kr8s_tests_of_an_api_server_holds(server: Server, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("the suite uses kubectl, which is not installed")
    try:
        installed.python()
    except installed.Missing as why:
        pytest.skip(str(why))
    waiting = {"containers": [{"name": "main", "image": "example.test/none:1"}]}
    eventually(lambda: server.get("/api/v1/namespaces/kube-system/serviceaccounts/default")[0] == 200, within_s=60)
    post(server, "/api/v1/namespaces/kube-system/pods", {"metadata": {"name": "waiting"}, "spec": waiting})

    def asked(names: str) -> dict[str, Outcome]:
        return run_pytest(
            ["--pyargs", "kr8s.tests.test_api", "kr8s.tests.test_auth", "kr8s.tests.test_objects",
             "-p", "kr8s_cluster", "-W", "ignore", "-k", names],
            server.kubeconfig, tmp_path, PYTHONPATH=str(HERE), KR8S_KUBECTL=kubectl,
        )  # fmt: skip

    outcomes = asked(f"({' or '.join(ASKED.split())}) and not ({' or '.join(NOT_HERE)})")
    failed = {name: outcome.text for name, outcome in outcomes.items() if outcome.result == "failed"}
    if failed:  # its authors' time limits are for an idle machine: what failed is asked once more, alone
        alone = asked(" or ".join(sorted({name.rpartition("::")[2].partition("[")[0] for name in failed})))
        failed = {name: text for name, text in failed.items() if name not in alone or alone[name].result == "failed"}
    assert failed == {}
    assert len([1 for outcome in outcomes.values() if outcome.result in ("passed", "failed")]) >= FEWEST
