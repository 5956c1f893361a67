"""Taking a server off its machine: service, pods, network, data, and what quickstart put beside them. Nothing reboots.

What lies in the data directory is ours by name; a name that is not ours stays, and is said. Packages are apt's to remove.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import trio

from edgekube.app import service
from edgekube.app.config import DEFAULT_CONFIG_FILE, ServerConfig
from edgekube.app.leaving import OURS, remove_from_kernel, take_pods_down
from edgekube.errors import EnvironmentError_, StoreLocked
from edgekube.store.lockfile import Lock

SERVICE = "edgekube.service"
UNIT = Path("/etc/systemd/system") / SERVICE
UNIT_SETTINGS = UNIT.with_name(SERVICE + ".d")
SERVER_S = 60.0
#: Further entries of a server's data directory; a trailing * stands for the rest of a name.
DATA = ("pki", "store.db*", "openapi", "manifests", "before-restore-*", "time", "agent", "audit*", "time-floor*")
KEPT = ("agent", "volumes")  # with the cluster's data: what its pods wrote
#: What packaging/quickstart.sh put here.
QUICKSTART = ("/usr/local/lib/edgekube", "/usr/local/bin/edgekube", "/run/edgekube.pid", "/var/log/edgekube.log")
Say = Callable[[str], None]


async def uninstall(config: ServerConfig, say: Say, *, keep_data: bool) -> list[str]:
    """Take everything away (with `keep_data` all but the cluster's data); what is still there afterwards, in words."""
    installed = _is_installed(config)
    if installed and _stop_service():
        say("the service was stopped and disabled")
    await _stop_server(config.data_dir)
    if not config.disable_agent:
        await take_pods_down(config)
        say("pods were stopped")
        await remove_from_kernel(config)
        say("network, mounts and processes were removed")
    left = _forget(config, keep_data=keep_data)
    if not keep_data:
        say("data and configuration were removed")
    if installed:
        _remove_program(say)
    return left


def _is_installed(config: ServerConfig) -> bool:
    """Whether the service and program on this machine are this server's, and not those of another beside it."""
    unit = UNIT.read_text() if UNIT.exists() else ""
    return not config.instance or f"--data-dir {config.data_dir}\n" in unit


def _stop_service() -> bool:
    if not service.is_systemd():
        return False
    done = subprocess.run(["systemctl", "disable", "--now", SERVICE], capture_output=True, text=True, check=False)
    return done.returncode == 0


async def _stop_server(data_dir: Path) -> None:
    """End a server that was started by hand. Raises EnvironmentError_ when it does not end."""
    lock_file = data_dir / "store.db.lock"
    deadline = time.monotonic() + SERVER_S
    while lock_file.exists():
        try:
            Lock(lock_file).release()
            return
        except StoreLocked:
            text = lock_file.read_text().strip()
            if time.monotonic() > deadline or not text.isdigit():
                raise EnvironmentError_(f"the server (process {text}) does not end: stop it, then go on") from None
            try:
                os.kill(int(text), signal.SIGTERM)
            except ProcessLookupError:
                pass
        await trio.sleep(0.5)


def _forget(config: ServerConfig, *, keep_data: bool) -> list[str]:
    """Remove our files; what is left in the data directory, and what could not be removed."""
    stuck: list[str] = []
    data = config.data_dir
    patterns = tuple(name for name in OURS if name not in KEPT) if keep_data else (*OURS, *DATA)
    for path in [found for pattern in patterns for found in data.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, onerror=lambda _, name, __: stuck.append(name))
        else:
            path.unlink(missing_ok=True)
    if keep_data:
        return [path for path in stuck if os.path.lexists(path)]
    usual = () if config.instance else (DEFAULT_CONFIG_FILE, config.private_registry)
    for path in (config.write_kubeconfig, *usual):
        path.unlink(missing_ok=True)
    for directory in {data, config.write_kubeconfig.parent, *(path.parent for path in usual)}:
        try:
            directory.rmdir()
        except OSError:
            continue  # not there, or somebody keeps other things there
    strangers = [str(path) for path in data.iterdir()] if data.is_dir() else []
    return [*(path for path in stuck if os.path.lexists(path)), *strangers]


def _remove_program(say: Say) -> None:
    """The program, where quickstart put it; a package is left to apt."""
    if UNIT.exists():
        UNIT.unlink()
        shutil.rmtree(UNIT_SETTINGS, ignore_errors=True)
        if service.is_systemd():
            subprocess.run(["systemctl", "daemon-reload"], check=False)
    for name in QUICKSTART:
        path = Path(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_symlink() or path.exists():
            path.unlink()
    if Path("/usr/lib/edgekube/edgekube").is_dir():
        say("the package stays: apt-get purge edgekube removes it")
