"""What may be wrong with a machine, what it means, and how it is repaired. `edgekube doctor` prints what is found here.

Every check is one function from a `Host` to a `Finding`, listed in `CHECKS`; it looks and changes nothing. A finding may carry a
repair, which only `--fix` carries out. The host is reached through `Host` alone, so that tests can show any machine.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

OK, WARN, FAIL = "ok", "warning", "problem"
CMDLINES = ("boot/firmware/cmdline.txt", "boot/cmdline.txt")  # Raspberry Pi OS since bookworm, and before
CMDLINE_FLAGS = ("cgroup_enable=memory", "cgroup_memory=1")
MODULES = {
    "overlay": "image layers are copied instead of laid over each other: slow, and several times the disk",
    "br_netfilter": "services do not answer between pods of the same node",
    "nf_conntrack": "services do not work at all",
    "vxlan": "pods do not reach pods of other machines (unless --network-backend host-gw)",
}
SYSCTLS = {
    "net.ipv4.ip_forward": (1, "packets of pods do not leave this machine"),
    "net.bridge.bridge-nf-call-iptables": (1, "services do not answer between pods of the same node"),
    "fs.inotify.max_user_instances": (
        512,
        "programs in pods fail with 'too many open files' once there are many of them",
    ),
}
PROGRAMS = {
    "containerd": "containerd", "runc": "runc", "nft": "nftables", "ip": "iproute2", "conntrack": "conntrack",
    "iptables": "iptables",
}  # fmt: skip
PLUGINS = ("bridge", "host-local", "loopback", "portmap")
PLUGIN_DIRS = ("usr/lib/cni", "opt/cni/bin")
OLDEST_CONTAINERD = (1, 6)
LEAST_FREE_BYTES = 1_000_000_000
LEAST_MEMORY_BYTES = 400_000_000
SLOW_SYNC_S = 0.1
EXPIRY_DAYS = 30
OLDEST_BELIEVABLE = datetime(2025, 1, 1, tzinfo=UTC)
VXLAN_PORT = 8472


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw. `means` says what comes of it, `advice` what a person can do, `repair` what `--fix` does."""

    name: str
    level: str
    seen: str
    means: str = ""
    advice: str = ""
    repair: Callable[[], str] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Host:
    """The machine. `root` is "/" but in tests."""

    data_dir: Path
    root: Path = Path("/")
    port: int = 6443
    run: Callable[[Sequence[str]], tuple[int, str]] = field(default_factory=lambda: run)
    now: Callable[[], datetime] = field(default_factory=lambda: lambda: datetime.now(UTC))

    def read(self, path: str) -> str:
        """A file's text, "" when it is not there."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return ""

    def has(self, program: str) -> bool:
        """Whether a program is where root finds it."""
        return any(
            os.access(self.root / directory / program, os.X_OK)
            for directory in ("usr/sbin", "usr/bin", "sbin", "bin", "usr/local/bin", "usr/local/sbin")
        )


def run(command: Sequence[str]) -> tuple[int, str]:
    """(exit status, both streams) of a program; 127 when it is not there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, env={**os.environ, "PATH": path}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout + done.stderr


def examine(host: Host) -> list[Finding]:
    """All checks, in order."""
    return [finding for check in CHECKS for finding in check(host)]


# -- kernel --------------------------------------------------------------------------------------------------------------


def cgroups(host: Host) -> list[Finding]:
    """Memory limits need the memory controller, which Raspberry Pi OS leaves off."""
    name = "memory cgroup"
    controllers = host.read("sys/fs/cgroup/cgroup.controllers").split()
    rows = [line.split() for line in host.read("proc/cgroups").splitlines() if not line.startswith("#")]
    enabled = "memory" in controllers or any(row[0] == "memory" and row[-1] == "1" for row in rows if row)
    cmdline = next((host.root / path for path in CMDLINES if (host.root / path).is_file()), None)
    text = cmdline.read_text() if cmdline is not None else ""
    wanted = repaired_cmdline(text, add=() if enabled else CMDLINE_FLAGS)
    if enabled and (cmdline is None or wanted == text):
        return [Finding(name, OK, "the memory controller is on")]
    if enabled:
        assert cmdline is not None
        return [Finding(name, WARN, f"{cmdline} has more than one line",
                        "the boot loader reads the first line only: flags on the others do nothing after the next update",
                        "put everything on one line", lambda: _rewrite(cmdline, wanted))]  # fmt: skip
    means = "memory limits of containers do nothing, and a greedy pod takes the machine with it"
    if cmdline is None:
        advice = f"boot with {' '.join(CMDLINE_FLAGS)}"
        return [Finding(name, FAIL, "the memory controller is off", means, advice)]
    if wanted == text:
        return [Finding(name, FAIL, "the memory controller is off until the next boot", means, "reboot")]
    return [Finding(name, FAIL, f"the memory controller is off, and {cmdline} does not ask for it", means,
                    f"add {' '.join(CMDLINE_FLAGS)} to its one line and reboot",
                    lambda: _rewrite(cmdline, wanted) + "; reboot for it to count")]  # fmt: skip


def repaired_cmdline(text: str, add: Sequence[str]) -> str:
    """The kernel's command line on one line, with flags added that are missing; unchanged when nothing is to be done."""
    words = text.split()
    missing = [flag for flag in add if flag not in words]
    if not missing and len([line for line in text.splitlines() if line.strip()]) <= 1:
        return text
    kept = [word for word in words if not (add and word in ("cgroup_disable=memory",))]
    return " ".join([*kept, *missing]) + "\n"


def modules(host: Host) -> list[Finding]:
    """Kernel modules: loaded, built in, or there to be loaded when they are needed."""
    index = f"lib/modules/{os.uname().release}/modules"
    available = host.read(index + ".dep") + host.read(index + ".builtin")
    loaded = {line.split()[0] for line in host.read("proc/modules").splitlines() if line.strip()}
    missing = [
        module
        for module in MODULES
        if available
        and module not in loaded
        and not (host.root / "sys/module" / module).exists()
        and not re.search(rf"/{module}\.ko", available)
    ]
    if not missing:
        return [Finding("kernel modules", OK, ", ".join(MODULES) + " can be had")]
    advice = "install the kernel's full set of modules (or a kernel that has them) and reboot"
    return [
        Finding(
            f"kernel module {module}",
            WARN if module == "vxlan" else FAIL,
            "this kernel has none",
            MODULES[module],
            advice,
        )
        for module in missing
    ]


def sysctls(host: Host) -> list[Finding]:
    """Kernel settings."""
    found = []
    for name, (least, means) in SYSCTLS.items():
        text = host.read("proc/sys/" + name.replace(".", "/")).strip()
        if text.isdigit() and int(text) < least:
            repair = partial(_set, host, name, least)
            found.append(Finding(f"sysctl {name}", WARN, f"it is {text}", means, f"sysctl -w {name}={least}", repair))
    return found or [Finding("sysctls", OK, "as they should be")]


# -- programs ------------------------------------------------------------------------------------------------------------


def programs(host: Host) -> list[Finding]:
    """Everything the node calls, and containerd's version."""
    missing = [package for program, package in PROGRAMS.items() if not host.has(program)]
    if not any(all((host.root / place / plugin).exists() for plugin in PLUGINS) for place in PLUGIN_DIRS):
        missing.append("containernetworking-plugins")
    if missing:
        command = f"apt-get install -y {' '.join(missing)}"
        return [Finding("programs", FAIL, f"not installed: {', '.join(missing)}", "this machine cannot run pods", command,
                        lambda: _run(host, command.split()))]  # fmt: skip
    _, told = host.run(["containerd", "--version"])
    match = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)", told)
    if match and (int(match[1]), int(match[2])) < OLDEST_CONTAINERD:
        return [Finding("containerd", FAIL, f"version {match[0]}", "it is older than 1.6, the oldest that is tried",
                        "install a newer containerd")]  # fmt: skip
    return [Finding("programs", OK, f"all there, containerd {match[0] if match else 'of unknown version'}")]


def firewall(host: Host) -> list[Finding]:
    """Other rule sets on the way of pods' packets."""
    found = []
    status, rules = host.run(["nft", "list", "chains"])
    table = ""
    for line in rules.splitlines() if status == 0 else ():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif "hook forward" in line and "policy drop" in line and "edgekube" not in table:
            found.append(Finding("firewall", WARN, f"table {table} drops forwarded packets unless a rule lets them pass",
                                 "pods may not reach anything outside their node",
                                 "allow forwarding from and to the pod and service ranges (ufw: DEFAULT_FORWARD_POLICY=ACCEPT)"))  # fmt: skip
    legacy, old = host.run(["iptables-legacy", "-S"])
    if legacy == 0 and any(line.startswith("-A") for line in old.splitlines()):
        found.append(Finding("iptables", WARN, "there are rules in the old iptables as well as in nftables",
                             "both decide about every packet, and each sees only its own rules",
                             "find out who writes them (iptables-legacy -S), and move it to iptables-nft"))  # fmt: skip
    return found or [Finding("firewall", OK, "nothing in the way")]


def ports(host: Host) -> list[Finding]:
    """Ports that another program has; ours do not count while edgekube runs. VXLANs of the kernel can share theirs."""
    if _server_runs(host):
        return [Finding("ports", OK, "edgekube runs and has them")]
    found = []
    kernels = bool(host.run(["ip", "-o", "link", "show", "type", "vxlan"])[1].strip())
    for files, port, what in (
        (("proc/net/tcp", "proc/net/tcp6"), host.port, "the API"),
        (() if kernels else ("proc/net/udp", "proc/net/udp6"), VXLAN_PORT, "the network between machines"),
    ):
        rows = [line.split() for file in files for line in host.read(file).splitlines()[1:]]
        if any(row[1].endswith(f":{port:04X}") and row[3] in ("0A", "07") for row in rows):
            found.append(Finding(f"port {port}", FAIL, "another program has it", f"edgekube needs it for {what}",
                                 f"see who it is: ss -lpn 'sport = :{port}'"))  # fmt: skip
    return found or [Finding("ports", OK, "free")]


# -- disk, memory, time --------------------------------------------------------------------------------------------------


def disk(host: Host) -> list[Finding]:
    """Room, and how long a write takes to be safe."""
    place = next(path for path in (host.data_dir, *host.data_dir.parents) if path.is_dir())
    usage = shutil.disk_usage(place)
    found = []
    if usage.free < LEAST_FREE_BYTES or usage.free < usage.total * 0.1:
        found.append(Finding("disk space", WARN, f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free at {place}",
                             "images are collected and pods evicted when it gets tighter",
                             "make room, or use another disk (--data-dir)"))  # fmt: skip
    else:
        found.append(Finding("disk space", OK, f"{usage.free / 1e9:.1f} GB free"))
    took = sync_time_s(place) if os.access(place, os.W_OK) else None
    if took is not None and took > SLOW_SYNC_S:
        found.append(Finding("disk speed", WARN, f"a safe write takes {took * 1000:.0f} ms",
                             "every change through kubectl takes at least that long",
                             "use a better card or an SSD; look for programs that write all the time"))  # fmt: skip
    elif took is not None:
        found.append(Finding("disk speed", OK, f"a safe write takes {took * 1000:.1f} ms"))
    return found


def sync_time_s(place: Path) -> float:
    """Median seconds of a 4 KiB write with fsync."""
    trial = place / f".edgekube-doctor-{os.getpid()}"
    times = []
    try:
        with trial.open("wb") as file:
            for _ in range(11):
                begun = time.perf_counter()
                file.write(os.urandom(4096))
                file.flush()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - begun)
    except OSError:
        return 0.0
    finally:
        trial.unlink(missing_ok=True)
    return statistics.median(times)


def memory(host: Host) -> list[Finding]:
    """Enough for the server and something to run."""
    match = re.search(r"MemTotal:\s+(\d+) kB", host.read("proc/meminfo"))
    total = int(match[1]) * 1024 if match else 0
    if match and total < LEAST_MEMORY_BYTES:
        return [Finding("memory", WARN, f"{total / 1e6:.0f} MB", "the server takes about 80 MB of it, containerd 40",
                        "make it an agent of a bigger machine")]  # fmt: skip
    return [Finding("memory", OK, f"{total / 1e9:.1f} GB")]


def clock(host: Host) -> list[Finding]:
    """A machine without a battery begins in 1970."""
    now = host.now()
    if now < OLDEST_BELIEVABLE:
        return [Finding("clock", WARN, f"it says {now:%Y-%m-%d}",
                        "edgekube copes; other programs refuse certificates, and logs carry wrong times",
                        "let it be set over the network (systemd-timesyncd) or fit a battery")]  # fmt: skip
    status, told = host.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    if status == 0 and told.strip() == "no":
        return [Finding("clock", WARN, f"{now:%Y-%m-%d %H:%M} UTC, not set over the network", "it may drift",
                        "timedatectl set-ntp true", lambda: _run(host, ["timedatectl", "set-ntp", "true"]))]  # fmt: skip
    return [Finding("clock", OK, f"{now:%Y-%m-%d %H:%M} UTC")]


def certificates(host: Host) -> list[Finding]:
    """Those of the server and of the agent, by their end."""
    paths = [*sorted((host.data_dir / "pki").glob("*.crt")), *sorted((host.data_dir / "agent").glob("*.crt"))]
    if not paths:
        return []
    from edgekube.api.certificates import ends_at

    found, soonest = [], None
    for path in paths:
        try:
            end = ends_at(path.read_bytes())
        except (OSError, ValueError) as error:
            found.append(Finding(f"certificate {path.name}", FAIL, f"it cannot be read: {error}",
                                 "edgekube does not start with it", "edgekube cert rotate, or restore a backup"))  # fmt: skip
            continue
        left = (end - host.now()).days
        soonest = left if soonest is None else min(soonest, left)
        if left < EXPIRY_DAYS and not _server_runs(host):
            words = f"it ended {-left} days ago" if left < 0 else f"it ends in {left} days"
            found.append(Finding(f"certificate {path.name}", WARN, words, "it is renewed when edgekube starts",
                                 "start edgekube"))  # fmt: skip
    return found or [Finding("certificates", OK, f"the first one ends in {soonest} days")]


def names(host: Host) -> list[Finding]:
    """Where pods' questions about outside names go."""
    servers = [line.split()[1] for line in host.read("etc/resolv.conf").splitlines()
               if line.startswith("nameserver") and len(line.split()) > 1]  # fmt: skip
    if not servers:
        return [Finding("DNS", WARN, "/etc/resolv.conf names no server", "pods resolve names of the cluster only",
                        "name one, or pass --resolv-conf")]  # fmt: skip
    return [Finding("DNS", OK, f"outside names are asked of {', '.join(servers)}")]


CHECKS: tuple[Callable[[Host], list[Finding]], ...] = (
    cgroups, modules, sysctls, programs, firewall, ports, disk, memory, clock, certificates, names,
)  # fmt: skip


# -- repairs -------------------------------------------------------------------------------------------------------------


def _rewrite(path: Path, text: str) -> str:
    """Replace a file, keeping a copy of what was there."""
    backup = path.with_name(path.name + ".before-edgekube")
    if not backup.exists():
        shutil.copyfile(path, backup)
    partial = path.with_name(path.name + ".new")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return f"rewrote {path} (the former one is {backup.name})"


def _set(host: Host, name: str, value: int) -> str:
    (host.root / "proc/sys" / name.replace(".", "/")).write_text(str(value))
    _add_lines(host.root / "etc/sysctl.d/90-edgekube.conf", [f"{name} = {value}"])
    return f"{name} is {value} now and after a reboot"


def _add_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text().splitlines() if path.exists() else ["# written by edgekube doctor --fix"]
    path.write_text("\n".join([*before, *(line for line in lines if line not in before)]) + "\n")


def _run(host: Host, command: Sequence[str]) -> str:
    status, told = host.run(command)
    if status:
        raise OSError(f"{' '.join(command)}: {(told.strip().splitlines() or ['failed'])[-1]}")
    return f"ran {' '.join(command)}"


def _server_runs(host: Host) -> bool:
    """Whether a server or agent of this data directory is alive, by the lock it holds."""
    import fcntl

    for path in (host.data_dir / "store.db.lock", host.data_dir / "agent" / "replica.db.lock"):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False
