"""The audit log: what is told of which request, and where it goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from edgekube.errors import UsageError
from edgekube.server import audit_policy
from edgekube.server.audit import Auditor
from edgekube.server.audit_log import MIB, AuditFile
from edgekube.server.audit_policy import Policy
from edgekube.server.context import Attributes, User
from tests.server_harness import MERGE, Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    import msgspec

    document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}
    return msgspec.convert(document, Policy)


class Lines(AuditFile):
    """An audit log that is only remembered."""

    def __init__(self) -> None:
        super().__init__("-")
        self.told: list[dict[str, Any]] = []

    def append(self, line: bytes) -> None:
        self.told.append(json.loads(line))


@pytest.fixture
async def lines(api: Api) -> AsyncIterator[Lines]:
    log = Lines()
    rules = [
        {"level": "None", "nonResourceURLs": ["/healthz*"]},
        {"level": "RequestResponse", "resources": [{"group": "", "resources": ["configmaps"]}]},
        {"level": "Metadata"},
    ]
    api.server.routes.auditor = Auditor(policy(*rules, omitManagedFields=True), log, api.clock)
    return log


async def test_an_event_tells_who_did_what(api: Api, lines: Lines) -> None:
    made = await api.ask("POST", MAPS, config_map("a"))
    received, complete = lines.told
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert received["auditID"] == complete["auditID"] == made.header("audit-id")
    assert "responseStatus" not in received
    assert {key: complete[key] for key in ("kind", "apiVersion", "level", "requestURI", "verb", "userAgent")} == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "requestURI": MAPS,
        "verb": "create",
        "userAgent": "tester/1.0",
    }
    assert complete["user"] == {"username": "admin", "groups": ["system:masters", "system:authenticated"]}
    assert "name" not in received["objectRef"]
    assert complete["objectRef"] == {
        "resource": "configmaps",
        "namespace": "default",
        "name": "a",
        "apiVersion": "v1",
    }
    assert complete["responseStatus"] == {"metadata": {}, "code": 201}
    assert complete["requestObject"]["data"] == {"x": "y"}
    assert complete["responseObject"]["metadata"]["uid"]
    assert "managedFields" not in complete["responseObject"]["metadata"]
    assert complete["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert complete["requestReceivedTimestamp"] <= complete["stageTimestamp"]


async def test_a_refusal_is_told_with_its_status(api: Api, lines: Lines) -> None:
    api.doorman.refused = lambda _: "no"
    await api.ask("GET", "/api/v1/namespaces/default/secrets/s")
    told = lines.told[-1]
    assert (told["level"], told["responseStatus"]["code"], told["responseStatus"]["reason"]) == (
        "Metadata",
        403,
        "Forbidden",
    )
    assert told["annotations"] == {
        "authorization.k8s.io/decision": "forbid",
        "authorization.k8s.io/reason": "no",
    }
    assert "responseObject" not in told


async def test_who_is_not_let_in_is_told_too(api: Api, lines: Lines) -> None:
    made = api.exchange("GET", MAPS, authorization="Bearer wrong")
    await api.server.handle(made)
    (told,) = lines.told
    assert (told["user"], told["responseStatus"]["code"]) == ({}, 401)


async def test_what_the_policy_leaves_out(api: Api, lines: Lines) -> None:
    await api.ask("GET", "/healthz")
    assert lines.told == []
    assert api.server.routes.auditor is not None
    api.server.routes.auditor.policy = policy({"level": "Metadata", "omitStages": ["RequestReceived"]})
    await api.ask("GET", MAPS)
    assert [told["stage"] for told in lines.told] == ["ResponseComplete"]


async def test_watches_have_a_stage_of_their_own(api: Api, lines: Lines) -> None:
    await api.ask("GET", f"{MAPS}?watch=true&timeoutSeconds=1&resourceVersion=0")
    assert [told["stage"] for told in lines.told] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_in_whose_name(api: Api, lines: Lines) -> None:
    made = api.exchange("PATCH", f"{MAPS}/a", {}, MERGE, impersonate_user="jane")
    await api.server.handle(made)
    told = lines.told[-1]
    assert (told["user"]["username"], told["impersonatedUser"]["username"]) == ("admin", "jane")


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({"users": ["jane"]}, True),
        ({"users": ["joe"]}, False),
        ({"userGroups": ["staff"]}, True),
        ({"verbs": ["list"]}, False),
        ({"namespaces": ["kube-system"]}, False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, False),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, True),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, True),
        ({"resources": [{"group": "", "resources": ["*"], "resourceNames": ["other"]}]}, False),
        ({"resources": [{"group": "apps"}]}, False),
        ({"resources": [{"group": ""}]}, True),
        ({"nonResourceURLs": ["*"]}, False),
    ],
)
def test_rules(rule: dict[str, Any], matches: bool) -> None:
    user = User("jane", ("staff",))
    asked = Attributes(
        user=user, verb="get", version="v1", resource="pods", subresource="log", namespace="default", name="p"
    )
    wanted = audit_policy.decide(policy({"level": "Request", **rule}), asked)
    assert wanted.level == ("Request" if matches else "None")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rules: []", "missing required field"),
        ("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: []}", "it has no rules"),
        ("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: All}]}", "'All' is none of None, Metadata"),
        ("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, verb: [get]}]}", "unknown field"),
        ("{apiVersion: audit.k8s.io/v1beta1, kind: Policy, rules: [{level: None}]}", "expected audit.k8s.io/v1"),
    ],
)
def test_policies_that_cannot_be_used(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="--audit-policy-file") as caught:
        audit_policy.load(path)
    assert why in str(caught.value)


def test_a_full_file_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit" / "audit.log"
    log = AuditFile(str(path), megabytes=1, backups=2)
    line = b"x" * (MIB // 2 - 10)
    log.write([line] * 9)
    old = sorted(one for one in path.parent.iterdir() if one != path)
    assert path.read_bytes() == line + b"\n"
    assert [one.read_bytes().count(b"\n") for one in old] == [2, 2]
    assert all(one.name.startswith("audit-20") and one.suffix == ".log" for one in old)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_lines_are_written_beside_and_before_the_end(tmp_path: Path) -> None:
    log = AuditFile(str(tmp_path / "a.log"))
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        log.append(b"one")
        log.append(b"two")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        log.append(b"three")
    assert (tmp_path / "a.log").read_bytes().split() == [b"one", b"two", b"three"]
