"""The same words through kubectl and through edgekube, against one server: output, complaints and exit status agree.

Every scenario runs in a namespace of its own per program, so that both see the same beginnings. What differs by nature (ages,
uids, revisions, the two namespaces' names) is made equal before comparing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.support import Server, api_server, has

pytestmark = [pytest.mark.kubectl, pytest.mark.skipif(not has("kubectl"), reason="no kubectl on the PATH")]

REPOSITORY = Path(__file__).parents[2]

SCENARIOS: dict[str, str] = {
    "labels": """
        create configmap a --from-literal=x=1
        label configmap a colour=blue
        label configmap a colour=blue
        label configmap a colour=red
        label configmap a colour=red --overwrite -o yaml
        label configmap a colour-
        label configmap a colour-
        label configmap a q=r q-
        label configmap nope q=r
    """,
    "annotations": """
        create configmap a --from-literal=x=1
        annotate configmap a note=one
        annotate configmap a note=two --overwrite
        annotate configmap a note-
    """,
    "scale": """
        create deployment web --image=nginx
        scale deployment web --replicas=3 --current-replicas=9
        scale deployment web --replicas=3
        scale deployment web --replicas=2 --dry-run=client
        scale deployment nope --replicas=3
    """,
    "patch": """
        create configmap a --from-literal=x=1
        patch configmap a -p '{"data":{"y":"2"}}'
        patch configmap a -p '{"data":{"y":"2"}}'
        patch configmap a --type=json -p '[{"op":"add","path":"/data/z","value":"1"}]'
        patch configmap a --type=merge -p '{"data":{"z":null}}' -o yaml
        patch configmap a
    """,
    "rollout": """
        create configmap a --from-literal=x=1
        create deployment web --image=nginx
        wait --for=condition=Progressing deployment/web
        rollout history deployment web
        rollout undo deployment web --to-revision=9
        rollout pause deployment web
        rollout pause deployment web
        rollout restart deployment web
        rollout resume deployment web
        rollout restart deployment web
        rollout status configmap a
        rollout history configmap a
    """,
    "wait": """
        create configmap a --from-literal=x=1
        wait --for=jsonpath='{.data.x}'=1 configmap/a
        wait --for=condition=Ready configmap/a --timeout=0
        wait --for=condition=Ready configmap/nope
    """,
    "discovery": """
        api-resources
        api-resources -o wide --api-group=apps
    """,
    "generators": """
        create configmap c --from-literal=a=b --dry-run=client -o yaml
        create secret generic s --from-literal=a=b --dry-run=client -o yaml
        create secret docker-registry s --docker-username=u --docker-password=p --dry-run=client -o yaml
        create deployment d --image=a/b:c --image=x --dry-run=client -o yaml
        create cronjob j --image=x --schedule='* * * * *' --dry-run=client -o yaml -- a b
        create service nodeport s --tcp=80:8080 --node-port=30001 --dry-run=client -o yaml
        create role r --verb=get,list --resource=pods,deployments.apps,pods/log --dry-run=client -o yaml
        create rolebinding r --role=x --user=u --group=g --serviceaccount=a:b --dry-run=client -o yaml
        create clusterrolebinding r --clusterrole=x --serviceaccount=a:b --dry-run=client -o yaml
        create poddisruptionbudget p --selector=a=b --min-available=50% --dry-run=client -o yaml
        create priorityclass p --value=5 --description=d --dry-run=client -o yaml
        create ingress i --rule=a.b/*=s:80,tls=t --dry-run=client -o yaml
        create namespace default
        create configmap
        create foo
    """,
    "run and expose": """
        run p --image=nginx
        run q --image=nginx --port=80 --env=A=b --labels=q=r --restart=Never --dry-run=client -o yaml -- a b
        expose pod p --port=80
        expose pod p --port=80
        create deployment web --image=nginx
        expose deployment web --port=80 --name=w --dry-run=client -o yaml
        autoscale deployment web --max=3 --dry-run=client -o yaml
        autoscale deployment web --max=3
    """,
    "set": """
        create deployment web --image=nginx
        set image deployment/web nginx=nginx:2
        set image deployment/web nope=nginx:2
        set env deployment/web COLOUR=blue
        set env deployment/web --list
        set resources deployment/web --limits=cpu=200m
        set serviceaccount deployment/web default
        create service clusterip s --tcp=80
        set selector service/s a=b
    """,
    "auth": """
        auth can-i get pods
        auth can-i '*' '*'
        auth can-i get pods --as=bob
        auth can-i get nodes
        auth whoami
    """,
    "nodes": """
        cordon nope
        taint nodes nope a=b:NoSchedule
        taint nodes nope a=b:Foo
    """,
}


@dataclass(frozen=True)
class Program:
    """One of the two, with the namespace it works in."""

    words: tuple[str, ...]
    namespace: str

    def say(self, server: Server, line: str) -> tuple[str, str, int]:
        """Standard output, standard error and exit status, made comparable."""
        environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            [*self.words, "-n", self.namespace, *shlex.split(line)],
            env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30, check=False,
        )  # fmt: skip
        return self._plain(done.stdout), self._plain(done.stderr), done.returncode

    def _plain(self, text: str) -> str:
        text = text.replace(self.namespace, "NAMESPACE")
        text = re.sub(r'resourceVersion: "\d+"', "resourceVersion: REVISION", text)
        text = re.sub(r"uid: [0-9a-f-]{36}", "uid: UID", text)
        return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)


def _namespace(whose: str, scenario: str) -> str:
    return f"{whose}-{scenario.replace(' ', '-')}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with api_server(tmp_path_factory.mktemp("server")) as running:
        names = [_namespace(whose, name) for whose in ("theirs", "ours") for name in SCENARIOS]
        items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
        running.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        yield running


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_words_get_the_same_answers(server: Server, name: str) -> None:
    theirs = Program(("kubectl",), _namespace("theirs", name))
    ours = Program((sys.executable, "-m", "edgekube"), _namespace("ours", name))
    different = []
    with ThreadPoolExecutor(2) as both:
        for line in filter(None, map(str.strip, SCENARIOS[name].splitlines())):
            wanted, got = both.map(partial(_say, server, line), (theirs, ours))
            if wanted != got:
                different.append(f"$ {line}\nkubectl:  {wanted}\nedgekube: {got}")
    assert not different, "\n\n".join(different)


def _say(server: Server, line: str, program: Program) -> tuple[str, str, int]:
    return program.say(server, line)
