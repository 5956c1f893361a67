"""Files applied and pruned, against the API in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from edgekube.client.local import LocalClient
from edgekube.control.controllers import manifests
from edgekube.control.controllers.manifests import Reference, Unreadable, look, parse, surplus
from edgekube.reconcile.caches import SharedCaches
from edgekube.reconcile.drive import Surroundings
from edgekube.reconcile.events import Recorder
from tests.server_harness import ADMIN, Api

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{x: '{x}'}}\n"


class Quiet:
    """Nobody listens to troubles here."""

    def report(self, part: str, trouble: str | None) -> None:
        raise AssertionError(f"{part}: {trouble}")


class Site:
    """A server, a directory of manifests, and looks at it as time passes."""

    def __init__(self, directory: Path) -> None:
        self.api, self.directory = Api(), directory
        directory.mkdir(exist_ok=True)
        client = LocalClient(self.api.server.verbs, ADMIN, manager=manifests.MANAGER)
        recorder = Recorder(client, self.api.clock)
        caches: Any = SharedCaches
        self.restart: Callable[[], None] = lambda: setattr(
            self,
            "keeper",
            manifests._Keeper(directory, Surroundings(client, caches, self.api.clock, recorder, Quiet())),
        )
        self.keeper: Any = None
        self.restart()

    def write(self, name: str, *documents: str) -> None:
        (self.directory / name).write_text("---\n".join(documents))

    async def settle(self) -> None:
        """Long enough for files to be seen twice and failures to be tried again."""
        for _ in range(3):
            await self.keeper.step()
            self.keeper._state.due.clear()  # the pause of a failed file is over

    async def names(self) -> list[str]:
        """The ConfigMaps of the namespace `default`, ours only."""
        items = (await self.api.good("GET", "/api/v1/namespaces/default/configmaps"))["items"]
        return [item["metadata"]["name"] for item in items]


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "manifests")
    for name in ("default", "kube-system"):
        await made.api.ask(
            "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
    return made


async def test_a_file_is_applied_once_it_rests_and_again_when_it_changes(site: Site) -> None:
    site.write("a.yaml", CONFIG.format(name="one", x="1"), CONFIG.format(name="two", x="1"))
    await site.keeper.step()
    assert await site.names() == []
    await site.settle()
    assert await site.names() == ["one", "two"]
    site.write("a.yaml", CONFIG.format(name="one", x="changed"), CONFIG.format(name="two", x="1"))
    await site.settle()
    found = await site.api.good("GET", "/api/v1/namespaces/default/configmaps/one")
    assert found["data"] == {"x": "changed"}
    assert [entry["manager"] for entry in found["metadata"]["managedFields"]] == ["edgekube-manifests"]


async def test_what_a_file_no_longer_says_goes(site: Site) -> None:
    site.write("a.yaml", CONFIG.format(name="one", x="1"), CONFIG.format(name="two", x="1"))
    await site.settle()
    site.write("a.yaml", CONFIG.format(name="two", x="1"))
    await site.settle()
    assert await site.names() == ["two"]


async def test_all_of_a_file_goes_with_it_also_when_nobody_was_looking(site: Site) -> None:
    site.write("a.yaml", CONFIG.format(name="one", x="1"))
    site.write("b.yaml", CONFIG.format(name="two", x="1"))
    await site.settle()
    (site.directory / "a.yaml").unlink()
    site.restart()
    await site.settle()
    assert await site.names() == ["two"]


async def test_a_frozen_file_is_neither_applied_nor_pruned(site: Site) -> None:
    site.write("a.yaml", CONFIG.format(name="one", x="1"))
    await site.settle()
    site.write("a.yaml.skip", "")
    site.write("a.yaml", CONFIG.format(name="other", x="1"))
    await site.settle()
    (site.directory / "a.yaml").unlink()
    await site.settle()
    assert await site.names() == ["one"]


async def test_a_missing_directory_prunes_nothing(site: Site) -> None:
    site.write("a.yaml", CONFIG.format(name="one", x="1"))
    await site.settle()
    site.directory.rename(site.directory.with_name("away"))
    await site.settle()
    assert await site.names() == ["one"]


@pytest.mark.parametrize(
    "broken", ["kind: [", "kind: ConfigMap\n", "just words", CONFIG.format(name="x", x="1") + "---\n- a\n"]
)
async def test_a_broken_file_changes_nothing(site: Site, broken: str) -> None:
    site.write("a.yaml", CONFIG.format(name="one", x="1"))
    await site.settle()
    site.write("a.yaml", broken)
    await site.settle()
    assert await site.names() == ["one"]


async def test_nothing_is_pruned_while_part_of_a_file_is_refused(site: Site) -> None:
    site.write("a.yaml", CONFIG.format(name="one", x="1"))
    await site.settle()
    thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"
    site.write("a.yaml", thing, CONFIG.format(name="two", x="1"))
    await site.settle()
    assert await site.names() == ["one", "two"]
    record = await site.api.good("GET", "/api/v1/namespaces/kube-system/configmaps/edgekube-manifests")
    assert sorted(entry[3] for entry in json.loads(record["data"]["a.yaml"])) == ["one", "two"]


async def test_a_definition_and_its_objects_may_come_in_one_file_in_any_order(site: Site) -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "names": {"kind": "Thing", "plural": "things"}, "scope": "Cluster", "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    }  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(site.api.server.custom.run)
        thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n"
        site.write("a.yaml", thing, json.dumps(definition) + "\n")
        for _ in range(3):
            await site.settle()
            await trio.testing.wait_all_tasks_blocked()  # the definition is taken up
        assert (await site.api.ask("GET", "/apis/example.com/v1/things/t")).status == 200
        nursery.cancel_scope.cancel()


def test_lists_are_unfolded_and_namespaces_come_first() -> None:
    text = b'{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}]}'
    more = b"\n---\n# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: space}\n"
    assert [item["kind"] for item in parse(text + more)] == ["Namespace", "Secret"]
    with pytest.raises(Unreadable, match=r"document 1 has no metadata\.name"):
        parse(b"apiVersion: v1\nkind: Secret\n")


def test_surplus_goes_in_reverse_order() -> None:
    one, two, three = (Reference("v1", "ConfigMap", "default", name) for name in ("1", "2", "3"))
    assert surplus([one, two, three], [two]) == [three, one]


def test_other_files_do_not_count(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", "c.json", "d.txt", ".e.yaml", "f.yaml.skip"):
        (tmp_path / name).write_text("")
    seen = look(tmp_path)
    assert seen is not None
    assert (sorted(seen.files), seen.skipped) == (["a.yaml", "b.yml", "c.json"], {"f.yaml"})
    assert look(tmp_path / "none") is None
