"""A containerd of our own: its configuration, its life, and finding it again after we were restarted.

It has its own root, state, socket and configuration under the data directory, because a distribution's or Docker's instance
has CRI disabled or shared. What survives what:
  * we stop cleanly: containerd is ended; shims and containers go on, for they are no children of it (the service unit says
    KillMode=process for the same reason), and the next containerd finds them in its state directory;
  * we are killed: containerd goes on too, and is adopted by the next start when its configuration is still the wanted one;
  * containerd dies: it is started again; running containers do not notice.
"""

# ruff: noqa: ASYNC240 - the files read and written here are a few kilobytes on the local disk

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from edgekube.errors import EnvironmentError_
from edgekube.net import process
from edgekube.net.grpc import RpcFailed
from edgekube.node.runtime.cri import Runtime
from edgekube.node.runtime.packing import PAUSE_IMAGE, pause_image

START_LIMIT_S = 60.0
LOG_LIMIT_BYTES = 1024 * 1024  # looked at on each start; at level "warn" it grows by a few lines a day
CAP_SYS_RESOURCE = 24
SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes; containerd appends ".ttrpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerdConfig:
    """Where our containerd keeps its things, and where CNI is found."""

    root: Path  # persistent: images, snapshots, metadata
    state: Path  # of this boot: sockets, running containers
    cni_conf_dir: str
    cni_bin_dir: str
    binary: str = "containerd"
    registry_hosts_dir: str = ""  # per-registry mirrors and certificates, as containerd's hosts.toml describes
    registry_credentials: str = field(default="", repr=False)  # tables of the CRI plugin's `registry.configs`

    @property
    def socket(self) -> Path:
        """The socket CRI is served on."""
        return self.state / "containerd.sock"


def restricted_oom_scores(status: str) -> bool:
    """Whether this process (by the text of /proc/self/status) may not lower oom scores, as in some virtual machines and
    all unprivileged containers: containerd must then be told not to try, or no sandbox starts."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return not int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1
    return False


def render(config: ContainerdConfig, *, snapshotter: str, restrict_oom: bool) -> str:
    """The configuration file, version 2 (read by containerd 1.3 up to 2.x)."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    certs = f'\n[{cri}.registry]\n  config_path = "{config.registry_hosts_dir}"\n' if config.registry_hosts_dir else ""
    return f"""\
# Written by edgekube at every start; changes are lost.
version = 2
root = "{config.root}"
state = "{config.state}"
oom_score = {0 if restrict_oom else -999}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri",
]

[debug]
  level = "warn"
[grpc]
  address = "{config.socket}"
[ttrpc]
  address = "{config.socket}.ttrpc"

[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = {str(restrict_oom).lower()}
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  enable_selinux = false
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = true
  ignore_image_defined_volumes = false
  max_container_log_line_size = 16384
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  image_pull_progress_timeout = "5m0s"
[{cri}.cni]
  bin_dir = "{config.cni_bin_dir}"
  conf_dir = "{config.cni_conf_dir}"
[{cri}.containerd]
  snapshotter = "{snapshotter}"
  discard_unpacked_layers = true
  default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
  SystemdCgroup = false
{certs}{config.registry_credentials}"""


async def choose_snapshotter(root: Path) -> str:
    """ "overlayfs" where the kernel and the file system under `root` can do it, else "native" (copies)."""
    trial = root / ".overlay-trial"
    lower, upper, work, merged = (trial / name for name in ("lower", "upper", "work", "merged"))
    for directory in (lower, upper, work, merged):
        directory.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    try:
        await process.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)])
        await process.run(["umount", str(merged)])
    except (process.ProgramFailed, FileNotFoundError):
        return "native"
    finally:
        await trio.to_thread.run_sync(shutil.rmtree, trial, True)
    return "overlayfs"


def _running_pid(pid_file: Path, config_path: Path) -> int:
    """The pid of the containerd an earlier life of ours left running with this very configuration file, or 0."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if os.fsencode(config_path) in command else 0


async def keep_containerd(
    config: ContainerdConfig, *, task_status: trio.TaskStatus[Runtime] = trio.TASK_STATUS_IGNORED
) -> None:
    """Keep our containerd running until cancelled; hands back a client once CRI answers and the pause image is in.

    Raises EnvironmentError_ when there is no containerd, or it does not come up.
    """
    binary = shutil.which(config.binary)
    if binary is None:
        raise EnvironmentError_(
            f"{config.binary} is not installed; install containerd or name a running one with --container-runtime-endpoint"
        )
    if len(str(config.socket)) > SOCKET_PATH_LIMIT:
        raise EnvironmentError_(f"the path of containerd's socket is too long: {config.socket}")
    config.root.mkdir(parents=True, exist_ok=True)
    config.state.mkdir(parents=True, exist_ok=True)
    settings, pid_file = config.root / "config.toml", config.state / "containerd.pid"
    kept = config.root / "snapshotter"  # must not change while images unpacked with it are here
    snapshotter = kept.read_text() if kept.exists() else await choose_snapshotter(config.root)
    kept.write_text(snapshotter)
    wanted = render(
        config, snapshotter=snapshotter, restrict_oom=restricted_oom_scores(Path("/proc/self/status").read_text())
    )
    left_running = _running_pid(pid_file, settings)
    if left_running and (not settings.exists() or settings.read_text() != wanted):
        if old := process.Adopted.of(left_running):
            await process.end(old)
            old.release()
        left_running = 0
    settings.touch(mode=0o600)  # it may hold credentials of registries
    settings.write_text(wanted)

    def started(pid: int) -> None:
        pid_file.write_text(str(pid))

    command = [binary, "--config", str(settings)]
    log = config.root / "containerd.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: process.keep(command, log=str(log), adopt=left_running, started=started))
        runtime = Runtime(str(config.socket))
        try:
            await _answering(runtime, log)
            await ensure_pause_image(runtime, str(config.socket))
            task_status.started(runtime)
            await trio.sleep_forever()
        finally:
            runtime.close()


async def _answering(runtime: Runtime, log: Path) -> None:
    """Until CRI answers. Raises EnvironmentError_ with containerd's last words when it does not."""
    with trio.move_on_after(START_LIMIT_S):
        while True:
            try:
                await runtime.conditions()
                return
            except RpcFailed as failed:
                why = failed.message
            await trio.sleep(0.05)
    words = log.read_text(errors="replace")[-1500:] if log.exists() else ""
    raise EnvironmentError_(f"containerd does not answer: {why}\n{words}")


async def ensure_pause_image(runtime: Runtime, socket: str, name: str = PAUSE_IMAGE) -> None:
    """The sandbox image is made here and imported under the name the runtime wants, unless it is in already."""
    if await runtime.image(name) is None:
        await import_archive(runtime, socket, pause_image(platform.machine(), name), [name])


async def import_archive(
    runtime: Runtime, socket: str, archive: bytes | Path, expected: Sequence[str] = ()
) -> list[str]:
    """Import an image archive (OCI or `docker save`, as bytes or a file) and pin its images against collection.

    Waits until CRI knows the `expected` names. Gives back the imported names.
    """
    before = set(await runtime.stored_images())
    command = ["ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", "--no-unpack"]
    if isinstance(archive, bytes):
        output = await process.run([*command, "-"], stdin=archive)
    else:
        output = await process.run([*command, str(archive)])
    told = {word for line in output.decode(errors="replace").splitlines() for word in line.split()[1:2]}
    names = sorted((set(await runtime.stored_images()) - before) | told)
    imported = []
    for name in names:
        if name.startswith("sha256:"):
            continue
        try:
            await runtime.label_image(name, {"io.cri-containerd.pinned": "pinned"})
            imported.append(name)
        except RpcFailed as failed:
            if failed.code != "NOT_FOUND":
                raise
    with trio.move_on_after(10):
        for name in (*expected, *imported):
            while await runtime.image(name) is None:  # noqa: ASYNC110 - the other side is another process
                await trio.sleep(0.02)  # CRI hears of new images through containerd's events
    return imported
