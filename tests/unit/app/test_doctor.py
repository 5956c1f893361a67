"""What is found on machines of many kinds, and that repairs change what they say and keep what was there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgekube.app import doctor
from edgekube.app.doctor import FAIL, OK, WARN, Finding, Host
from edgekube.store.lockfile import Lock

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
V1 = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t90\t{on}\n"
CMDLINE = "console=serial0,115200 root=PARTUUID=1 rootwait"


class Machine:
    """A root directory with only what a test puts there, and programs that say what a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, tuple[int, str]] = {}
        self.ran: list[str] = []
        self.now = NOW

    def put(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        return target

    def _run(self, command: Sequence[str]) -> tuple[int, str]:
        self.ran.append(" ".join(command))
        return self.answers.get(" ".join(command), (127, "not here"))

    @property
    def host(self) -> Host:
        return Host(self.root / "var/lib/edgekube", root=self.root, run=self._run, now=lambda: self.now)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


def mended(finding: Finding) -> str:
    assert finding.repair is not None
    return finding.repair()


def test_the_memory_controller_is_seen_in_both_versions_of_cgroups(machine: Machine) -> None:
    machine.put("proc/cgroups", V1.format(on=1))
    assert only(doctor.cgroups(machine.host)).level == OK
    machine.put("proc/cgroups", V1.format(on=0))
    assert only(doctor.cgroups(machine.host)).level == FAIL
    machine.put("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n")
    assert only(doctor.cgroups(machine.host)).level == OK


@pytest.mark.parametrize("place", ["boot/firmware/cmdline.txt", "boot/cmdline.txt"])
def test_a_raspberry_pi_without_memory_cgroups_is_repaired_and_asked_to_reboot(machine: Machine, place: str) -> None:
    machine.put("proc/cgroups", V1.format(on=0))
    path = machine.put(place, CMDLINE + "\n")
    assert "reboot" in mended(only(doctor.cgroups(machine.host)))
    assert path.read_text() == CMDLINE + " cgroup_enable=memory cgroup_memory=1\n"
    assert path.with_name("cmdline.txt.before-edgekube").read_text() == CMDLINE + "\n"
    again = only(doctor.cgroups(machine.host))
    assert (again.level, again.advice, again.repair) == (FAIL, "reboot", None)


def test_a_stray_newline_before_the_flags_is_repaired(machine: Machine) -> None:
    machine.put("proc/cgroups", V1.format(on=0))
    path = machine.put("boot/cmdline.txt", CMDLINE + "\ncgroup_enable=memory cgroup_memory=1\n")
    mended(only(doctor.cgroups(machine.host)))
    assert path.read_text() == CMDLINE + " cgroup_enable=memory cgroup_memory=1\n"


def test_a_stray_newline_is_told_also_where_memory_cgroups_are_on(machine: Machine) -> None:
    machine.put("proc/cgroups", V1.format(on=1))
    path = machine.put("boot/cmdline.txt", CMDLINE + "\nquiet\n")
    found = only(doctor.cgroups(machine.host))
    assert found.level == WARN
    mended(found)
    assert path.read_text() == CMDLINE + " quiet\n"
    assert only(doctor.cgroups(machine.host)).level == OK


def test_missing_modules_are_told_only_where_it_can_be_known(machine: Machine) -> None:
    assert only(doctor.modules(machine.host)).level == OK
    index = f"lib/modules/{os.uname().release}/modules"
    machine.put(index + ".dep", "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/bridge/br_netfilter.ko:\n")
    machine.put(index + ".builtin", "kernel/net/netfilter/nf_conntrack.ko\n")
    found = only(doctor.modules(machine.host))
    assert (found.name, found.level) == ("kernel module vxlan", WARN)
    machine.put("proc/modules", "vxlan 1 0 - Live 0x0\n")
    assert only(doctor.modules(machine.host)).level == OK


def test_settings_are_changed_now_and_for_the_next_boot(machine: Machine) -> None:
    machine.put("proc/sys/net/ipv4/ip_forward", "0\n")
    machine.put("proc/sys/fs/inotify/max_user_instances", "8192\n")
    assert "ip_forward is 1" in mended(only(doctor.sysctls(machine.host)))
    assert (machine.root / "proc/sys/net/ipv4/ip_forward").read_text() == "1"
    assert "net.ipv4.ip_forward = 1" in (machine.root / "etc/sysctl.d/90-edgekube.conf").read_text()
    assert only(doctor.sysctls(machine.host)).level == OK


def installed(machine: Machine, without: str = "") -> None:
    for program in doctor.PROGRAMS:
        if program != without:
            machine.put(f"usr/sbin/{program}", mode=0o755)
    for plugin in doctor.PLUGINS:
        machine.put(f"opt/cni/bin/{plugin}", mode=0o755)


def test_missing_programs_are_named_by_their_packages(machine: Machine) -> None:
    installed(machine, without="nft")
    found = only(doctor.programs(machine.host))
    assert (found.level, found.advice) == (FAIL, "apt-get install -y nftables")
    machine.answers["apt-get install -y nftables"] = (0, "")
    assert mended(found) == "ran apt-get install -y nftables"
    machine.answers["apt-get install -y nftables"] = (100, "E: no\nE: cannot\n")
    with pytest.raises(OSError, match="E: cannot"):
        mended(found)


@pytest.mark.parametrize(
    ("told", "level"),
    [("containerd x 1.6.20~ds1 1.6", OK), ("containerd y v1.4.13 abc", FAIL), ("containerd z v2.1.0", OK)],
)
def test_an_old_containerd_is_told(machine: Machine, told: str, level: str) -> None:
    installed(machine)
    machine.answers["containerd --version"] = (0, told)
    assert only(doctor.programs(machine.host)).level == level


def test_a_firewall_that_drops_forwarded_packets_is_told_but_our_own_is_not(machine: Machine) -> None:
    ours = (
        "table ip edgekube {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n"
    )
    machine.answers["nft list chains"] = (0, ours)
    assert only(doctor.firewall(machine.host)).level == OK
    machine.answers["nft list chains"] = (0, ours.replace("ip edgekube", "ip filter"))
    assert only(doctor.firewall(machine.host)).seen.startswith("table ip filter drops")
    machine.answers = {"iptables-legacy -S": (0, "-P INPUT ACCEPT\n-A INPUT -j DROP\n")}
    assert only(doctor.firewall(machine.host)).name == "iptables"


def test_ports_of_other_programs_are_told_and_the_kernels_own_are_not(machine: Machine) -> None:
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: 00000000:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0\n"
    machine.answers["ip -o link show type vxlan"] = (0, "5: flannel.1: <UP>\n")
    machine.put("proc/net/udp", head + row.format(port="2118", state="07", inode="1"))
    machine.put("proc/net/tcp", head + row.format(port="192B", state="01", inode="99"))
    assert only(doctor.ports(machine.host)).level == OK
    machine.put("proc/net/tcp6", head + row.format(port="192B", state="0A", inode="99"))
    assert only(doctor.ports(machine.host)).name == "port 6443"
    machine.answers["ip -o link show type vxlan"] = (0, "")
    assert [finding.name for finding in doctor.ports(machine.host)] == ["port 6443", "port 8472"]
    machine.put("var/lib/edgekube/store.db.lock")
    lock = Lock(machine.root / "var/lib/edgekube/store.db.lock")
    try:
        assert only(doctor.ports(machine.host)).level == OK
    finally:
        lock.release()


def test_a_clock_in_1970_is_told(machine: Machine) -> None:
    machine.now = datetime(1970, 1, 1, tzinfo=UTC)
    assert only(doctor.clock(machine.host)).level == WARN
    machine.now = NOW
    assert only(doctor.clock(machine.host)).level == OK
    machine.answers["timedatectl show --property=NTPSynchronized --value"] = (0, "no\n")
    assert only(doctor.clock(machine.host)).level == WARN


def test_certificates_are_told_by_their_end(machine: Machine) -> None:
    from edgekube.app import pki
    from edgekube.clock import SeededClock

    assert doctor.certificates(machine.host) == []
    (machine.root / "var/lib/edgekube/pki").mkdir(parents=True)
    pki.open_pki(machine.root / "var/lib/edgekube/pki", SeededClock())
    machine.now = SeededClock().now() + timedelta(days=1)
    assert only(doctor.certificates(machine.host)).level == OK
    machine.now = SeededClock().now() + timedelta(days=366 * 200)
    assert {finding.level for finding in doctor.certificates(machine.host)} == {WARN}
    machine.put("var/lib/edgekube/pki/x.crt", "nonsense")
    assert FAIL in {finding.level for finding in doctor.certificates(machine.host)}


def test_disk_memory_and_names(machine: Machine) -> None:
    (machine.root / "var/lib/edgekube").mkdir(parents=True)
    assert {finding.name for finding in doctor.disk(machine.host)} == {"disk space", "disk speed"}
    assert not [name for name in os.listdir(machine.root / "var/lib/edgekube") if "doctor" in name]
    machine.put("proc/meminfo", "MemTotal:         262144 kB\n")
    assert only(doctor.memory(machine.host)).level == WARN
    assert only(doctor.names(machine.host)).level == WARN
    machine.put("etc/resolv.conf", "nameserver 192.0.2.1\n")
    assert only(doctor.names(machine.host)).seen == "outside names are asked of 192.0.2.1"


def test_every_problem_says_what_it_means_and_what_to_do(machine: Machine) -> None:
    machine.put("proc/cgroups", V1.format(on=0))
    found = doctor.examine(machine.host)
    assert {finding.name for finding in found} >= {"memory cgroup", "programs", "clock", "DNS"}
    assert all(finding.means and finding.advice for finding in found if finding.level != OK)
