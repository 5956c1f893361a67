"""What a URL asks for, and which form its answer takes."""

from __future__ import annotations

import pytest

from edgekube import errors
from edgekube.api.meta import DeleteOptions
from edgekube.clock import SeededClock
from edgekube.kinds.apps import deployment
from edgekube.kinds.core import pod
from edgekube.net.exchange import Request
from edgekube.server import bodies, options, paths
from edgekube.server.allocation import Taken
from edgekube.server.negotiation import Form, negotiate


def asked(method: str, path: str, *query: tuple[str, str]) -> tuple[str, ...]:
    found = paths.parse(Request(method, path, query))
    return found.verb, found.group, found.namespace, found.plural, found.name, found.subresource


@pytest.mark.parametrize(
    ("method", "path", "query", "wanted"),
    [
        ("GET", "/api/v1/pods", (), ("list", "", "", "pods", "", "")),
        ("GET", "/api/v1/pods", (("watch", "1"),), ("watch", "", "", "pods", "", "")),
        ("GET", "/api/v1/pods", (("watch", "false"),), ("list", "", "", "pods", "", "")),
        ("GET", "/api/v1/watch/namespaces/n/pods", (), ("watch", "", "n", "pods", "", "")),
        ("POST", "/apis/apps/v1/namespaces/n/deployments", (), ("create", "apps", "n", "deployments", "", "")),
        ("DELETE", "/api/v1/namespaces/n/pods", (), ("deletecollection", "", "n", "pods", "", "")),
        ("DELETE", "/api/v1/namespaces/n", (), ("delete", "", "n", "namespaces", "n", "")),
        ("PUT", "/api/v1/namespaces/n/finalize", (), ("update", "", "n", "namespaces", "n", "finalize")),
        ("PATCH", "/api/v1/nodes/a/status", (), ("patch", "", "", "nodes", "a", "status")),
        ("GET", "/api/v1/namespaces/", (), ("list", "", "", "namespaces", "", "")),
        ("GET", "/apis/apps/v1", (), ("get", "", "", "", "", "")),
    ],
)
def test_urls_become_verbs(method: str, path: str, query: tuple[tuple[str, str], ...], wanted: tuple[str, ...]) -> None:
    assert asked(method, path, *query) == wanted


def test_what_follows_a_proxy_is_its_own_business() -> None:
    found = paths.parse(Request("GET", "/api/v1/namespaces/n/services/s/proxy/a/b"))
    assert (found.subresource, found.tail) == ("proxy", "a/b")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form("application/json")),
        ("*/*", Form("application/json")),
        ("application/vnd.kubernetes.protobuf,application/json", Form("application/json")),
        ("application/vnd.kubernetes.protobuf", Form("application/vnd.kubernetes.protobuf")),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Form("application/json")),
        ("application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io", Form("application/json", "Table")),
    ],
)
def test_json_is_taken_where_the_client_lets_us_choose(accept: str, form: Form) -> None:
    assert negotiate(accept, pod.KIND, shapes=True) == form


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"kind": "Service", "apiVersion": "v1"}, "converting (v1.Service) to (core.Pod): unknown conversion"),
        ({"kind": "PodList", "apiVersion": "v1"}, "converting (v1.PodList) to (core.Pod): unknown conversion"),
        ({"kind": "Nope", "apiVersion": "v1"}, 'no kind "Nope" is registered for version "v1"'),
    ],
)
def test_bodies_of_other_kinds_are_refused(document: dict[str, str], words: str) -> None:
    with pytest.raises(errors.BadRequest) as refused:
        bodies.check_kind(pod.KIND, dict(document))
    assert words in refused.value.message


def test_bodies_of_retired_versions_are_recognised() -> None:
    with pytest.raises(errors.BadRequest, match="does not match the expected API version"):
        bodies.check_kind(deployment.KIND, {"kind": "Deployment", "apiVersion": "extensions/v1beta1"})


def test_a_body_may_leave_out_what_the_url_says() -> None:
    document: dict[str, str] = {}
    bodies.check_kind(pod.KIND, document)
    assert document == {"kind": "Pod", "apiVersion": "v1"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (DeleteOptions(propagation_policy="Nope"), "propagationPolicy"),
        (DeleteOptions(propagation_policy="Orphan", orphan_dependents=True), "propagationPolicy"),
        (DeleteOptions(dry_run=["Some"]), "dryRun"),
    ],
)
def test_deletions_are_asked_for_sensibly(wrong: DeleteOptions, field: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        options.check_delete_options(wrong)
    assert [cause.field for cause in refused.value.causes] == [field]


def test_free_numbers_come_from_the_upper_part_first_and_from_all_in_the_end() -> None:
    taken = Taken(1, 20, 5, SeededClock(7))
    used: set[int] = set()
    drawn = []
    while (number := taken.choose(used)) is not None:
        assert number not in used
        used.add(number)
        drawn.append(number)
    assert sorted(drawn[:15]) == list(range(6, 21))
    assert sorted(drawn[15:]) == list(range(1, 6))
