"""A kernel that understands the `ip`, `bridge` and `wg` commands the network between nodes is made with. Shows what iproute2 would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from edgekube.errors import EnvironmentError_


class FakeKernel:
    """State by link. `lacks` are kinds of links it does not know, `refuses` the beginnings of lines it fails."""

    def __init__(self, address: str = "192.0.2.1", mtu: int = 1500) -> None:
        self.links: dict[str, dict[str, Any]] = {
            "lo": {"ifname": "lo", "mtu": 65536, "flags": ["UP"], "addresses": ["127.0.0.1/8"]},
            "eth0": {"ifname": "eth0", "mtu": mtu, "flags": ["UP"], "addresses": [f"{address}/24"]},
        }
        self.routes: dict[str, dict[str, Any]] = {}
        self.neighbours: dict[str, str] = {}
        self.forwarding: dict[str, str] = {}
        self.wireguard = ""
        self.tables: set[str] = set()
        self.sysctls: dict[str, str] = {}
        self.programs = {"wg"}
        self.lacks: set[str] = set()
        self.refuses: list[str] = []
        self.lines: list[str] = []

    async def run(self, arguments: Sequence[str], text: str = "", *, check: bool = True) -> tuple[int, str]:
        line = " ".join(arguments)
        if line == "ip -json -4 addr show":
            return 0, json.dumps([_shown(link) for link in self.links.values() if link["addresses"]])
        if line == "ip -json -4 route show default":
            return 0, '[{"dst":"default","dev":"eth0"}]'
        if line == "ip -json -4 route show proto 178":
            return 0, json.dumps(list(self.routes.values()))
        if line.startswith("ip -json -4 addr show dev "):
            link = self.links.get(arguments[-1])
            return (0, json.dumps([_shown(link)] if link["addresses"] else [])) if link else (1, "no such device")
        if line.startswith("ip -json -d link show dev "):
            link = self.links.get(arguments[-1])
            return (0, json.dumps([_shown(link)])) if link else (1, "no such device")
        if line.startswith("ip -json -4 neigh show"):
            shown = [{"dst": at, "lladdr": mac, "state": ["PERMANENT"]} for at, mac in self.neighbours.items()]
            return 0, json.dumps(shown)
        if line.startswith("bridge -json fdb show"):
            return 0, json.dumps([{"mac": mac, "dst": node} for mac, node in self.forwarding.items()])
        if line.startswith("ip link add") and line.endswith("wireguard"):
            try:
                self._link(arguments[2:])
            except EnvironmentError_:
                return 2, "Error: Unknown device type."
            return 0, ""
        if line.startswith("nft delete table ip "):
            if arguments[-1] not in self.tables:
                return 1, "Error: No such file or directory"
            self.tables.remove(arguments[-1])
            return 0, ""
        if line.startswith("wg syncconf"):
            self.wireguard = text
            return 0, ""
        raise AssertionError(f"unexpected command: {line}")

    async def ip(self, *lines: str, force: bool = False) -> None:
        for line in lines:
            self._attempt(line, force)

    async def bridge(self, *lines: str, force: bool = False) -> None:
        for line in lines:
            self._attempt(line, force)

    def set_sysctl(self, name: str, value: str) -> bool:
        self.sysctls[name] = value
        return True

    def installed(self, program: str) -> bool:
        return program in self.programs

    def drop_link(self, name: str) -> None:
        """As `ip link del` by anybody: what was on it goes with it."""
        del self.links[name]
        self.routes = {cidr: route for cidr, route in self.routes.items() if route["dev"] != name}
        self.neighbours, self.forwarding = {}, {}

    def _attempt(self, line: str, force: bool) -> None:
        self.lines.append(line)
        try:
            if any(line.startswith(start) for start in self.refuses):
                raise EnvironmentError_("ip -batch - failed: RTNETLINK answers: Operation not permitted")
            self._do(line.split())
        except (EnvironmentError_, KeyError, ValueError):
            if not force:
                raise

    def _do(self, words: list[str]) -> None:
        said = dict(pairwise(words))
        match words[:2]:
            case ["link", "del"]:
                self.drop_link(words[-1])
            case ["link", "add"]:
                self._link(words[1:])
            case ["link", "set"]:
                link = self.links[said["dev"]]
                if words[-1] == "up":
                    link["flags"] = ["UP"]
                link["mtu"] = int(said.get("mtu", link["mtu"]))
            case ["addr", "replace"]:
                addresses = self.links[said["dev"]]["addresses"]
                addresses += [words[2]] if words[2] not in addresses else []
            case ["addr", "del"]:
                self.links[said["dev"]]["addresses"].remove(words[2])
            case ["route", "replace"]:
                assert said["dev"] in self.links
                flags = ["onlink"] if words[-1] == "onlink" else []
                self.routes[words[2]] = {"dst": words[2], "dev": said["dev"], "flags": flags}
                if "via" in said:
                    self.routes[words[2]]["gateway"] = said["via"]
            case ["route", "del"]:
                del self.routes[words[2]]
            case ["neigh", "replace"]:
                self.neighbours[words[2]] = said["lladdr"]
            case ["neigh", "del"]:
                del self.neighbours[words[2]]
            case ["fdb", "replace"]:
                self.forwarding[words[2]] = said["dst"]
            case ["fdb", "del"]:
                del self.forwarding[words[2]]
            case other:
                raise AssertionError(f"unexpected line: {other}")

    def _link(self, words: Sequence[str]) -> None:
        said = dict(pairwise(words))
        kind = said["type"]
        if kind in self.lacks:
            raise EnvironmentError_("ip -batch - failed: Error: Unknown device type.")
        data: dict[str, Any] = {}
        if kind == "vxlan":
            data = {"id": int(said["id"]), "port": int(said["dstport"]), "learning": "nolearning" not in words}
            if any(link.get("linkinfo", {}).get("info_data") == data for link in self.links.values()):
                raise EnvironmentError_(
                    "ip -batch - failed: Error: A VXLAN device with the specified VNI already exists."
                )
        name = said["add"]
        self.links[name] = {
            "ifname": name, "mtu": 1500, "flags": [], "addresses": [], "address": said.get("address", ""),
            "linkinfo": {"info_kind": kind, "info_data": data},
        }  # fmt: skip


def _shown(link: dict[str, Any]) -> dict[str, Any]:
    info = []
    for each in link["addresses"]:
        address, _, length = each.partition("/")
        info.append({"family": "inet", "local": address, "prefixlen": int(length)})
    return {**{key: value for key, value in link.items() if key != "addresses"}, "addr_info": info}
