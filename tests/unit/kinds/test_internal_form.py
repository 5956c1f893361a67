"""How specs look as upstream's own types print them, and what a refused change says of the difference."""

from edgekube.kinds.core import persistentvolume, pod
from edgekube.kinds.core.internal_form import difference, internal

SPEC = {
    "containers": [{"name": "a", "image": "i", "tty": True}],
    "hostNetwork": True,
    "securityContext": {"fsGroup": 5},
}


def a_pod(**changes: object) -> pod.Pod:
    item = pod.KIND.from_dict({"metadata": {"name": "p"}, "spec": SPEC | changes})
    pod.KIND.default(item)
    return item


def test_members_have_go_s_names_and_zeros() -> None:
    made = internal(a_pod().spec)
    container = made["Containers"][0]
    assert (container["TTY"], container["Stdin"], container["Command"]) == (True, False, None)
    assert container["Resources"] == {"Limits": None, "Requests": None, "Claims": None}
    assert (made["SecurityContext"]["HostNetwork"], made["SecurityContext"]["FSGroup"]) == (True, 5)
    assert "ServiceAccount" not in made
    assert list(made)[:3] == ["Volumes", "InitContainers", "Containers"]


def test_a_refused_change_of_a_pod_shows_the_lines_that_differ() -> None:
    old, new = a_pod(), a_pod(nodeSelector={"a": "b"})
    (found,) = [error for error in pod.KIND.update_rules(new, old) if error.field == "spec"]
    assert '\n- "NodeSelector": null,\n+ "NodeSelector": {\n+  "a": "b"\n+ },\n' in found.message


def test_a_refused_change_of_a_volume_shows_its_source() -> None:
    def volume(path: str) -> persistentvolume.PersistentVolume:
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": path}}
        return persistentvolume.KIND.from_dict({"metadata": {"name": "v"}, "spec": spec})

    (found,) = persistentvolume.KIND.update_rules(volume("/y"), volume("/x"))
    assert '\n-  "Path": "/x",\n+  "Path": "/y",\n' in found.message


def test_what_is_the_same_has_no_difference() -> None:
    assert difference({"a": 1}, {"a": 1}) == ""
