"""The agent as a service of systemd: its unit file, put in place by `edgekube join` and taken away by `edgekube leave`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from edgekube.errors import EnvironmentError_

NAME = "edgekube-agent.service"
PACKAGED = (Path("/usr/lib/systemd/system") / NAME, Path("/lib/systemd/system") / NAME)
WRITTEN = Path("/etc/systemd/system") / NAME
MARK = "# Written by `edgekube join`; `edgekube leave` removes it."

# Kept the same as systemd/edgekube-agent.service, which says why; a test compares them.
SETTINGS = """\
[Unit]
Description=edgekube agent: a node of an edgekube cluster
Wants=network-online.target
After=network-online.target time-sync.target

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=60
ExecStart={command}
EnvironmentFile=-/etc/default/edgekube-agent
KillMode=process
Delegate=yes
TimeoutStartSec=infinity
TimeoutStopSec=30
Restart=always
RestartSec=2
RestartPreventExitStatus=78
LimitNOFILE=1048576
LimitCORE=0
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
"""
USUAL_COMMAND = "/usr/bin/edgekube agent"


def is_systemd() -> bool:
    """Whether systemd runs this machine."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def agent_command(data_dir: Path, usual: Path) -> str:
    """The command line that runs this program's agent."""
    program = shutil.which("edgekube") or f"{sys.executable} -m edgekube"
    words = f"{Path(program).resolve() if program.startswith('/') and ' ' not in program else program} agent"
    return words if data_dir == usual else f"{words} --data-dir {data_dir}"


def install(data_dir: Path, usual: Path) -> None:
    """Enable and start the agent's service. Raises EnvironmentError_."""
    command = agent_command(data_dir, usual)
    packaged = any(path.exists() for path in PACKAGED)
    if not packaged or command != USUAL_COMMAND:
        try:
            WRITTEN.write_text(f"{MARK}\n{SETTINGS.format(command=command)}")
        except OSError as error:
            raise EnvironmentError_(f"cannot write {WRITTEN}: {error.strerror}") from error
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", "--no-block", NAME)


def remove() -> bool:
    """Stop and disable the service; whether there was one."""
    if not is_systemd() or not (WRITTEN.exists() or any(path.exists() for path in PACKAGED)):
        return False
    _systemctl("disable", "--now", NAME)
    if WRITTEN.exists() and WRITTEN.read_text().startswith(MARK):
        WRITTEN.unlink()
        _systemctl("daemon-reload")
    return True


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EnvironmentError_(f"systemctl {' '.join(words)}: {(done.stderr or done.stdout).strip()}")
