"""What a pod may ask for, and gets: environment, volumes, probes, hooks, limits, identities."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.conftest import IMAGE, Space
from tests.support import eventually


def test_a_pod_runs_and_its_status_says_everything(space: Space) -> None:
    space.pod("web", "echo hello; sleep 3600")
    pod = space.json("get", "pod", "web")
    status = pod["status"]
    assert status["phase"] == "Running"
    assert status["qosClass"] == "BestEffort"
    assert status["podIP"].startswith("10.142.")
    assert status["hostIP"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions["Ready"] == conditions["ContainersReady"] == conditions["Initialized"] == "True"
    assert conditions["PodScheduled"] == "True"
    (container,) = status["containerStatuses"]
    assert container["ready"] is True
    assert container["started"] is True
    assert container["restartCount"] == 0
    assert container["containerID"].startswith("containerd://")
    assert "running" in container["state"]
    assert space.logs("web") == "hello\n"
    reasons = {event["reason"] for event in space.json("get", "events")["items"]}
    assert {"Scheduled", "Pulled", "Created", "Started"} <= reasons


def test_a_pod_that_ends_well_has_succeeded_and_one_that_does_not_has_failed(space: Space) -> None:
    space.pod("good", "exit 0", spec="restartPolicy: Never", wait=False)
    space.pod("bad", "echo why > /dev/termination-log; exit 3", spec="restartPolicy: Never", wait=False)
    good = space.until_phase("good", "Succeeded")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (good["exitCode"], good["reason"]) == (0, "Completed")
    bad = space.until_phase("bad", "Failed")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (bad["exitCode"], bad["reason"], bad["message"]) == (3, "Error", "why\n")


def test_a_crashing_container_is_restarted_with_growing_pauses(space: Space) -> None:
    space.pod("crash", "echo again; exit 1", wait=False)

    def waiting() -> Any:
        (status,) = space.json("get", "pod", "crash")["status"].get("containerStatuses") or [{}]
        return (status.get("state") or {}).get("waiting", {}).get("reason") == "CrashLoopBackOff" and status

    status = eventually(waiting, within_s=60)
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert space.logs("crash", "--previous") == "again\n"


def test_init_containers_run_in_order_before_the_others_and_sidecars_stay(space: Space) -> None:
    space.apply(f"""
apiVersion: v1
kind: Pod
metadata: {{name: ordered}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{name: log, emptyDir: {{}}}}]
  initContainers:
  - {{name: first, image: {IMAGE}, command: [sh, -c, 'echo first >> /log/x'], volumeMounts: [{{name: log, mountPath: /log}}]}}
  - {{name: side, image: {IMAGE}, restartPolicy: Always, command: [sh, -c, 'echo side >> /log/x; sleep 3600'],
     volumeMounts: [{{name: log, mountPath: /log}}],
     startupProbe: {{exec: {{command: [grep, side, /log/x]}}, periodSeconds: 1}}}}
  - {{name: second, image: {IMAGE}, command: [sh, -c, 'echo second >> /log/x'], volumeMounts: [{{name: log, mountPath: /log}}]}}
  containers:
  - {{name: main, image: {IMAGE}, command: [sh, -c, 'echo main >> /log/x; sleep 3600'], volumeMounts: [{{name: log, mountPath: /log}}]}}
""")
    space.wait_ready("ordered")
    assert space.kubectl("exec", "ordered", "-c", "main", "--", "cat", "/log/x") == "first\nside\nsecond\nmain\n"
    statuses = {s["name"]: s for s in space.json("get", "pod", "ordered")["status"]["initContainerStatuses"]}
    assert statuses["first"]["state"]["terminated"]["reason"] == "Completed"
    assert "running" in statuses["side"]["state"]
    assert statuses["side"]["started"] is True


def test_environment_comes_from_everywhere_and_expands(space: Space) -> None:
    space.kubectl("create", "configmap", "settings", "--from-literal=COLOUR=red")
    space.kubectl("create", "secret", "generic", "hidden", "--from-literal=password=s3cret")
    space.pod(
        "env", "env; sleep 3600",
        container="""\
resources: {requests: {memory: 16Mi, cpu: 50m}, limits: {memory: 64Mi, cpu: 500m}}
envFrom:
- {configMapRef: {name: settings}}
- {secretRef: {name: hidden}, prefix: S_}
env:
- {name: PLAIN, value: one}
- {name: JOINED, value: "$(PLAIN)-$(COLOUR)-$(NOPE)-$$(PLAIN)"}
- {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
- {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
- {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
- {name: KEY, valueFrom: {secretKeyRef: {name: hidden, key: password}}}
- {name: MAYBE, valueFrom: {configMapKeyRef: {name: none, key: none, optional: true}}}""",
    )  # fmt: skip
    found = dict(line.split("=", 1) for line in space.logs("env").splitlines() if "=" in line)
    assert found["COLOUR"] == "red"
    assert found["S_password"] == found["KEY"] == "s3cret"
    assert found["JOINED"] == "one-red-$(NOPE)-$(PLAIN)"
    assert (found["NODE"], found["LABEL"], found["MEMORY"], found["CPU"]) == ("edge-1", "env", "64", "500")
    assert found["IP"] == space.json("get", "pod", "env")["status"]["podIP"]
    assert found["KUBERNETES_SERVICE_HOST"] == "10.143.0.1"
    assert found["HOSTNAME"] == "env"
    assert "MAYBE" not in found
    assert space.json("get", "pod", "env")["status"]["qosClass"] == "Burstable"


def test_volumes_hold_what_they_name(space: Space) -> None:
    space.kubectl("create", "configmap", "files", "--from-literal=a.txt=alpha", "--from-literal=b.txt=beta")
    space.kubectl("create", "secret", "generic", "keys", "--from-literal=k=v")
    space.pod(
        "vol", "sleep 3600",
        spec="""\
volumes:
- {name: cm, configMap: {name: files, items: [{key: a.txt, path: sub/a, mode: 0400}]}}
- {name: all, configMap: {name: files}}
- {name: sec, secret: {secretName: keys, defaultMode: 0440}}
- {name: mem, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
- {name: host, hostPath: {path: /etc/hostname, type: File}}
- {name: down, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
- name: mix
  projected:
    sources:
    - {configMap: {name: files, items: [{key: b.txt, path: b}]}}
    - {secret: {name: keys}}
    - {serviceAccountToken: {path: token, audience: somebody, expirationSeconds: 600}}""",
        container="""\
volumeMounts:
- {name: cm, mountPath: /cm}
- {name: all, mountPath: /one/file, subPath: b.txt}
- {name: sec, mountPath: /sec, readOnly: true}
- {name: mem, mountPath: /mem}
- {name: host, mountPath: /host-name}
- {name: down, mountPath: /down}
- {name: mix, mountPath: /mix}""",
    )  # fmt: skip
    assert space.exec("vol", "cat", "/cm/sub/a", "/one/file", "/sec/k", "/mix/b", "/mix/k") == "alphabetavbetav"
    assert space.exec("vol", "cat", "/down/labels") == 'app="vol"'
    assert "tmpfs" in space.exec("vol", "sh", "-c", "mount | grep ' /mem '")
    assert space.exec("vol", "sh", "-c", "stat -L -c %a /cm/sub/a /sec/k").split() == ["400", "440"]
    assert space.exec("vol", "cat", "/mix/token").count(".") == 2
    assert space.raw("exec", "vol", "--", "touch", "/sec/x").returncode != 0


def test_a_changed_config_map_reaches_a_running_pod(space: Space) -> None:
    space.kubectl("create", "configmap", "live", "--from-literal=k=old")
    space.pod("live", spec="volumes: [{name: c, configMap: {name: live}}]",
              container="volumeMounts: [{name: c, mountPath: /c}]")  # fmt: skip
    assert space.exec("live", "cat", "/c/k") == "old"
    space.kubectl("patch", "configmap", "live", "-p", json.dumps({"data": {"k": "new"}}))
    eventually(lambda: space.exec("live", "cat", "/c/k") == "new", within_s=90)


def test_readiness_decides_whether_traffic_comes_and_liveness_restarts(space: Space) -> None:
    space.pod(
        "probed", "touch /tmp/alive; sleep 3600", wait=False,
        container="""\
readinessProbe: {exec: {command: [cat, /tmp/ready]}, periodSeconds: 1}
livenessProbe: {exec: {command: [cat, /tmp/alive]}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 1}""",
    )  # fmt: skip
    space.until_phase("probed", "Running")
    assert space.json("get", "pod", "probed")["status"]["containerStatuses"][0]["ready"] is False
    space.exec("probed", "touch", "/tmp/ready")
    space.wait_ready("probed")
    space.exec("probed", "rm", "/tmp/alive")
    eventually(
        lambda: space.json("get", "pod", "probed")["status"]["containerStatuses"][0]["restartCount"] == 1, within_s=60
    )
    reasons = [event["reason"] for event in space.json("get", "events")["items"]]
    assert "Unhealthy" in reasons
    assert "Killing" in reasons


def test_http_and_tcp_probes_reach_the_pod(space: Space) -> None:
    space.pod(
        "served", "mkdir /w; echo ok > /w/index.html; httpd -f -p 8080 -h /w",
        container="""\
ports: [{name: http, containerPort: 8080}]
startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 30}
readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
livenessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}""",
    )  # fmt: skip
    assert space.json("get", "pod", "served")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_hooks_run_after_start_and_before_stop(space: Space) -> None:
    space.pod(
        "hooked", "trap 'exit 0' TERM; while true; do sleep 0.1; done",
        spec="volumes: [{name: out, hostPath: {path: /tmp/edgekube-e2e-hooks, type: DirectoryOrCreate}}]",
        container="""\
volumeMounts: [{name: out, mountPath: /out}]
lifecycle:
  postStart: {exec: {command: [sh, -c, "rm -f /out/*; echo yes > /tmp/started"]}}
  preStop: {exec: {command: [sh, -c, "echo bye > /out/stopped"]}}""",
    )  # fmt: skip
    assert space.exec("hooked", "cat", "/tmp/started") == "yes\n"
    space.kubectl("delete", "pod", "hooked", "--grace-period=5")
    space.pod("reader", "cat /out/stopped", wait=False, spec=(
        "restartPolicy: Never\nvolumes: [{name: out, hostPath: {path: /tmp/edgekube-e2e-hooks}}]"
    ), container="volumeMounts: [{name: out, mountPath: /out}]")  # fmt: skip
    space.until_phase("reader", "Succeeded")
    assert space.logs("reader") == "bye\n"


def test_security_context_is_what_the_process_gets(space: Space) -> None:
    space.pod(
        "plain", "sleep 3600",
        spec="securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, runAsNonRoot: true}\n"
             "volumes: [{name: d, emptyDir: {}}]",
        container="securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, "
                  "capabilities: {drop: [ALL]}}\nvolumeMounts: [{name: d, mountPath: /d}]",
    )  # fmt: skip
    identity = space.exec("plain", "id")
    assert "uid=1000" in identity
    assert "gid=3000" in identity
    assert "2000" in identity.partition("groups=")[2]
    assert space.raw("exec", "plain", "--", "touch", "/x").returncode != 0
    assert space.exec("plain", "sh", "-c", "touch /d/x && stat -c %g /d/x").strip() == "2000"
    assert "CapEff:\t0000000000000000" in space.exec("plain", "grep", "CapEff", "/proc/self/status")


def test_root_is_refused_where_the_pod_forbids_it(space: Space) -> None:
    space.pod("root", spec="securityContext: {runAsNonRoot: true}", wait=False)

    def refused() -> bool:
        statuses = space.json("get", "pod", "root")["status"].get("containerStatuses") or [{}]
        return (statuses[0].get("state") or {}).get("waiting", {}).get("reason") == "CreateContainerConfigError"

    eventually(refused, within_s=30)


def test_a_missing_image_is_said_so(space: Space) -> None:
    space.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: none}\nspec:\n  containers:\n"
        "  - {name: main, image: 'edgekube.local/none:1', imagePullPolicy: Never}\n"
    )

    def reason() -> str:
        statuses = space.json("get", "pod", "none")["status"].get("containerStatuses") or [{}]
        return str((statuses[0].get("state") or {}).get("waiting", {}).get("reason", ""))

    eventually(lambda: reason() == "ErrImageNeverPull", within_s=30)


def test_memory_over_the_limit_is_killed_as_out_of_memory(space: Space) -> None:
    space.pod(
        "greedy", "sleep 1; dd if=/dev/zero of=/m/x bs=1M count=64", wait=False,
        spec="restartPolicy: Never\nvolumes: [{name: m, emptyDir: {medium: Memory}}]",
        container="resources: {limits: {memory: 16Mi}}\nvolumeMounts: [{name: m, mountPath: /m}]",
    )  # fmt: skip
    pod = space.until_phase("greedy", "Failed")
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert state["reason"] == "OOMKilled"
    assert state["exitCode"] == 137


def test_a_deleted_pod_gets_its_grace_and_no_more(space: Space) -> None:
    space.pod("stubborn", "trap '' TERM; sleep 3600 & wait; sleep 3600")
    space.kubectl("delete", "pod", "stubborn", "--grace-period=2", "--timeout=30s")
    assert space.raw("get", "pod", "stubborn").returncode == 1


def test_an_active_deadline_fails_the_pod(space: Space) -> None:
    space.pod("late", spec="activeDeadlineSeconds: 2", wait=False)
    assert space.until_phase("late", "Failed")["status"]["reason"] == "DeadlineExceeded"


def test_host_network_host_aliases_and_shared_processes(space: Space) -> None:
    space.pod("onhost", spec="hostNetwork: true")
    pod = space.json("get", "pod", "onhost")["status"]
    assert pod["podIP"] == pod["hostIP"]
    space.pod(
        "alias", spec="shareProcessNamespace: true\nhostname: called\nhostAliases: [{ip: 9.9.9.9, hostnames: [nine]}]"
    )
    assert "9.9.9.9\tnine" in space.exec("alias", "cat", "/etc/hosts")
    assert space.exec("alias", "hostname").strip() == "called"
    assert "pause" in space.exec("alias", "ps")


def test_dns_policy_none_gives_exactly_what_is_asked(space: Space) -> None:
    space.pod(
        "dns",
        spec="dnsPolicy: None\ndnsConfig: {nameservers: [9.9.9.9], searches: [a.b], options: [{name: ndots, value: '2'}]}",
    )
    assert space.exec("dns", "cat", "/etc/resolv.conf").split() == [
        "search", "a.b", "nameserver", "9.9.9.9", "options", "ndots:2",
    ]  # fmt: skip
