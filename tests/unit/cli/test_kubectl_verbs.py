"""The pure halves of kubectl's verbs: what words mean, what is said, what a change needs."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.cli.kubectl import rollouts
from edgekube.cli.kubectl.config import merged
from edgekube.cli.kubectl.drain import sort_out
from edgekube.cli.kubectl.generators import bare, deployment, image_name, ingress, rules_of
from edgekube.cli.kubectl.label import refuse_overwriting, said, words_and_pairs
from edgekube.cli.kubectl.session import CommandFailed, duration_s, globals_last
from edgekube.cli.kubectl.taint import changed, parse
from edgekube.cli.kubectl.waiting import goal_of


def test_options_before_the_verb_are_read_by_the_verb() -> None:
    assert globals_last(["-n", "shop", "get", "pods"]) == ["get", "-n", "shop", "pods"]
    assert globals_last(["--token=abc", "-nshop", "get"]) == ["get", "--token=abc", "-nshop"]
    assert globals_last(["--insecure-skip-tls-verify", "get", "pods"])[0] == "get"
    assert globals_last(["--help"]) == ["--help"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("-1s", -1)]
)
def test_durations_are_go_s(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


def test_a_duration_that_is_none_is_refused() -> None:
    with pytest.raises(CommandFailed, match="invalid duration"):
        duration_s("soon")


def test_names_pairs_and_removals_are_told_apart_by_their_shape() -> None:
    assert words_and_pairs(("pods", "web", "a=b", "c-")) == (("pods", "web"), {"a": "b"}, ["c"])


def test_a_label_with_another_value_is_overwritten_only_on_request() -> None:
    refuse_overwriting({"a": "b"}, {"a": "b"}, False, "label")
    refuse_overwriting({"a": "b"}, {"a": "c"}, True, "label")
    with pytest.raises(CommandFailed, match=r"'a' already has a value \(b\), and --overwrite is false"):
        refuse_overwriting({"a": "b"}, {"a": "c"}, False, "label")


def test_what_is_said_follows_the_change() -> None:
    assert said({"a": "b"}, {"a": "b"}, False) == "not labeled"
    assert said({"a": "b"}, {"a": "b", "c": "d"}, False) == "labeled"
    assert said({"a": "b", "c": "d"}, {"a": "b"}, False) == "unlabeled"


def test_taints_are_set_overwritten_and_removed() -> None:
    have = [{"key": "a", "value": "b", "effect": "NoSchedule"}]
    new = [{"key": "a", "value": "c", "effect": "NoSchedule"}]
    assert parse(("nodes", "n1", "a=c:NoSchedule", "z-")) == ("nodes", ("n1",), new, [{"key": "z", "effect": ""}])
    assert changed("n1", [], new, [], False) == (new, "tainted")
    assert changed("n1", have, new, [], True) == (new, "modified")
    assert changed("n1", have, [], [{"key": "a", "effect": ""}], False) == ([], "untainted")
    with pytest.raises(CommandFailed, match="already has a taint"):
        changed("n1", have, new, [], False)
    with pytest.raises(CommandFailed, match='taint "z" not found'):
        changed("n1", have, [], [{"key": "z", "effect": ""}], False)


def _deployment(**status: int) -> dict[str, Any]:
    head = {"kind": "Deployment", "metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 2}}
    return {**head, "status": {"observedGeneration": 2, **status}}


def test_a_rollout_is_done_when_every_new_replica_is_available() -> None:
    assert rollouts.progress(_deployment(updatedReplicas=1))[1] is False
    assert "old replicas are pending" in rollouts.progress(_deployment(updatedReplicas=2, replicas=3))[0]
    assert "are available" in rollouts.progress(_deployment(updatedReplicas=2, replicas=2, availableReplicas=1))[0]
    done = rollouts.progress(_deployment(updatedReplicas=2, replicas=2, availableReplicas=2))
    assert done == ('deployment "web" successfully rolled out\n', True)


def test_a_rollout_is_not_done_before_the_change_was_seen() -> None:
    item = _deployment(updatedReplicas=2, replicas=2, availableReplicas=2)
    item["metadata"]["generation"] = 3
    assert rollouts.progress(item)[1] is False


def test_draining_is_refused_for_what_would_be_lost() -> None:
    options = {"ignore_daemonsets": False, "delete_emptydir_data": False, "force": False}

    def pod(name: str, manager: str = "", **spec: Any) -> dict[str, Any]:
        owners = [{"kind": manager, "controller": True}] if manager else []
        return {"metadata": {"name": name, "namespace": "shop", "ownerReferences": owners}, "spec": spec}

    pods = [pod("a", "ReplicaSet"), pod("b"), pod("c", "DaemonSet"), pod("d", "ReplicaSet", volumes=[{"emptyDir": {}}])]
    refused = sort_out(pods, options)
    assert [one["metadata"]["name"] for one in refused.evicted] == ["a"]
    assert sorted(name for names in refused.refusals.values() for name in names) == ["shop/b", "shop/c", "shop/d"]
    forced = sort_out(pods, dict.fromkeys(options, True))
    assert not forced.refusals
    assert [one["metadata"]["name"] for one in forced.evicted] == ["a", "b", "d"]


def test_goals_of_wait() -> None:
    item = {
        "metadata": {"generation": 1},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert goal_of("condition=ready")(item)
    assert not goal_of("condition=Ready=false")(item)
    assert goal_of("jsonpath={.status.phase}=Running")(item)
    assert not goal_of("jsonpath={.status.phase}=Failed")(item)
    with pytest.raises(CommandFailed, match='unrecognized condition: ""'):
        goal_of("")


def test_what_is_sent_has_no_nulls() -> None:
    made = bare(deployment("web", ["nginx:1"], 1, None, ()))
    assert "creationTimestamp" not in made["metadata"]
    assert "status" not in made


def test_generated_names_and_rules() -> None:
    assert image_name("registry:5000/a/Web_App:1@sha256:0") == "web-app"
    rules = rules_of(["get"], [("apps", "deployments"), ("", "pods")], [], [])
    assert [rule["apiGroups"] for rule in rules] == [[""], ["apps"]]
    with pytest.raises(CommandFailed, match="is invalid and should be in format"):
        ingress("i", ["nonsense"], "", "", [])


def test_the_first_kubeconfig_with_a_name_counts() -> None:
    def file(server: str, current: str) -> dict[str, Any]:
        clusters = [{"name": "c", "cluster": {"server": server}}]
        return {"clusters": clusters, "contexts": None, "users": None, "current-context": current}

    whole = merged([file("one", ""), file("two", "x")])
    assert whole["clusters"] == [{"name": "c", "cluster": {"server": "one"}}]
    assert whole["current-context"] == "x"
