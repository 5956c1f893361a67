"""The few host commands the network room needs: `ip -batch`, `bridge -batch`, `nft -f`, `conntrack -D`, sysctl files.

Only here are they started. Each raises `EnvironmentError_` with the program's own words.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgekube.errors import EnvironmentError_
from edgekube.net import process


async def run(arguments: Sequence[str], text: str = "", *, check: bool = True) -> tuple[int, str]:
    """Run a program with `text` on its standard input; its exit status and output (its complaints when it failed)."""
    try:
        done = await process.run(arguments, stdin=text.encode())
    except FileNotFoundError as error:
        raise EnvironmentError_(f"{arguments[0]} is not installed") from error
    except process.ProgramFailed as failed:
        words = failed.output.strip()
        if check:
            first = words.splitlines()[0] if words else "?"
            raise EnvironmentError_(f"{' '.join(arguments[:3])} failed: {first}") from failed
        return failed.status, words
    return 0, done.decode(errors="replace").strip()


async def ip(*lines: str, force: bool = False) -> None:
    """Run `ip` commands as one batch; with `force`, go on past those that fail."""
    arguments = ["ip", "-force", "-batch", "-"] if force else ["ip", "-batch", "-"]
    await run(arguments, "".join(f"{line}\n" for line in lines), check=not force)


async def bridge(*lines: str, force: bool = False) -> None:
    """Run `bridge` commands (forwarding entries) as one batch; with `force`, go on past those that fail."""
    arguments = ["bridge", "-force", "-batch", "-"] if force else ["bridge", "-batch", "-"]
    await run(arguments, "".join(f"{line}\n" for line in lines), check=not force)


async def nft(script: str) -> None:
    """Apply an nftables script, all of it or nothing."""
    await run(["nft", "-f", "-"], script)


def set_sysctl(name: str, value: str) -> bool:
    """Write a sysctl unless it already has the value. False where the kernel does not know it or refuses."""
    path = Path("/proc/sys") / name.replace(".", "/") if "/" not in name else Path("/proc/sys") / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError:
        return False
    return True


def installed(program: str) -> bool:
    """Whether a program is on the PATH."""
    return shutil.which(program) is not None
