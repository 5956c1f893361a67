"""Container images made here: a root file tree packed as an OCI archive, and the pause program, assembled byte by byte.

Pure: bytes in, bytes out, the same bytes every time. A node so never needs a registry to start a sandbox.
Sources: OCI image-spec (image-layout.md, manifest.md, config.md); the ELF gABI; each architecture's system call table.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PAUSE_IMAGE = "edgekube.local/pause:1"
EPOCH = "1970-01-01T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "armv8l": "arm"}


@dataclass(frozen=True, slots=True)
class File:
    """A file of an image's root."""

    data: bytes = b""
    mode: int = 0o755
    link: str = ""  # a symbolic link to this, if set


def architecture(machine: str) -> str:
    """Go's name ("amd64") of what `uname -m` says."""
    return ARCHITECTURES.get(machine, machine)


def _tar(members: Mapping[str, File]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            member = members[name]
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode = member.mode
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            elif member.link:
                info.type, info.linkname = tarfile.SYMTYPE, member.link
            else:
                info.size = len(member.data)
            archive.addfile(info, io.BytesIO(member.data))
    return packed.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data), **more}


def pack_image(name: str, files: Mapping[str, File], *, machine: str, config: Mapping[str, Any]) -> bytes:
    """An OCI archive (tar) of one single-layer image. Directories are given as names ending in "/"; `config` is the
    image's run configuration (Entrypoint, Cmd, Env, User, WorkingDir, ...)."""
    layer = _tar(files)
    platform = {"architecture": architecture(machine), "os": "linux"}
    if platform["architecture"] == "arm":
        platform["variant"] = "v7" if machine != "armv6l" else "v6"
    settings = json.dumps(
        {
            "created": EPOCH,
            **platform,
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created": EPOCH, "created_by": "edgekube"}],
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", settings),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    entry = _descriptor(
        "application/vnd.oci.image.manifest.v1+json", manifest, platform=platform, annotations=annotations
    )
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    ).encode()
    members = {
        "oci-layout": File(b'{"imageLayoutVersion":"1.0.0"}', 0o644),
        "index.json": File(index, 0o644),
        "blobs/": File(),
        "blobs/sha256/": File(),
    }
    for blob in (layer, settings, manifest):
        members[f"blobs/sha256/{_digest(blob)[7:]}"] = File(blob, 0o644)
    return _tar(members)


# The pause program: the first process of a sandbox. It must outlive everything, reap what is orphaned to it when the pod
# shares one process namespace, and end at once on SIGTERM or SIGINT (as process 1 it has no default action for them).
# So: block all signals, then wait for one of them in a loop; SIGCHLD reaps, TERM and INT leave.
#
#     sigprocmask(BLOCK, all)
#     again: signal = sigtimedwait(TERM | INT | CHLD)
#            if signal == CHLD: while wait4(-1, WNOHANG) > 0: pass; goto again
#            if signal < 0: goto again
#            exit(0)
#
# After the code lies the signal set: bit (n - 1) for INT 2, TERM 15, CHLD 17.
_SET = struct.pack("<Q", 1 << 1 | 1 << 14 | 1 << 16)

_AMD64 = bytes.fromhex(
    "b80e000000 31ff 488d354b000000 31d2 6a08 415a 0f05"  # rt_sigprocmask (14)
    "b880000000 488d3d37000000 31f6 31d2 6a08 415a 0f05"  # again: rt_sigtimedwait (128)
    "83f811 740d 85c0 78e1"  # 17? reap; negative? again
    "b8e7000000 31ff 0f05"  # exit_group (231)
    "b83d000000 4883cfff 31f6 ba01000000 4531d2 0f05"  # reap: wait4 (61)
    "85c0 7fe7 ebbd"  # positive? reap; again
)


def _arm64() -> bytes:
    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    def address(register: int, at: int, target: int) -> int:
        distance = (target - at) * 4
        return 0x10000000 | (distance >> 2) << 5 | register

    call, again, reap, end = 0xD4000001, 6, 17, 26
    words = [
        *(move(8, 135), move(0, 0), address(1, 2, end), move(2, 0), move(3, 8), call),  # rt_sigprocmask
        *(move(8, 137), address(0, 7, end), move(1, 0), move(2, 0), move(3, 8), call),  # again: rt_sigtimedwait
        0xF100441F,  # cmp x0, 17
        0x54000000 | (reap - 13) << 5,  # b.eq reap
        0xB7F80000 | ((again - 14) & 0x3FFF) << 5,  # tbnz x0, 63, again
        *(move(8, 94), call),  # exit_group; its status is the signal's number, which nobody reads
        *(move(8, 260), 0x92800000, move(1, 0), move(2, 1), move(3, 0), call),  # reap: wait4(-1, 0, WNOHANG, 0)
        0xF100001F,  # cmp x0, 0
        0x5400000C | ((reap - 24) & 0x7FFFF) << 5,  # b.gt reap
        0x14000000 | ((again - 25) & 0x3FFFFFF),  # b again
    ]
    assert len(words) == end
    return struct.pack(f"<{end}I", *words)


def _arm() -> bytes:
    def move(register: int, value: int) -> int:
        return 0xE3A00000 | register << 12 | value

    def address(register: int, at: int, target: int) -> int:
        return 0xE28F0000 | register << 12 | (target - at - 2) * 4

    def branch(condition: int, at: int, target: int) -> int:
        return condition << 28 | 0x0A000000 | ((target - at - 2) & 0xFFFFFF)

    call, again, reap, end = 0xEF000000, 6, 18, 28
    words = [
        *(move(7, 175), move(0, 0), address(1, 2, end), move(2, 0), move(3, 8), call),  # rt_sigprocmask
        *(move(7, 177), address(0, 7, end), move(1, 0), move(2, 0), move(3, 8), call),  # again: rt_sigtimedwait
        *(0xE3500011, branch(0x0, 13, reap)),  # cmp r0, 17; beq reap
        *(0xE3500000, branch(0xB, 15, again)),  # cmp r0, 0; blt again
        *(move(7, 248), call),  # exit_group
        *(move(7, 114), 0xE3E00000, move(1, 0), move(2, 1), move(3, 0), call),  # reap: wait4(-1, 0, WNOHANG, 0)
        *(0xE3500000, branch(0xC, 25, reap)),  # cmp r0, 0; bgt reap
        *(branch(0xE, 26, again), 0xE1A00000),  # b again; nop, so that the set is aligned
    ]
    assert len(words) == end
    return struct.pack(f"<{end}I", *words)


def pause_program(machine: str) -> bytes:
    """A static executable for `uname -m`. Raises ValueError for an architecture not known here."""
    name = architecture(machine)
    if name == "amd64":
        return _elf64(62, _AMD64 + _SET)
    if name == "arm64":
        return _elf64(183, _arm64() + _SET)
    if name == "arm":
        return _elf32(40, _arm() + _SET)
    raise ValueError(f"no pause program for {machine}")


def _elf64(machine: int, code: bytes) -> bytes:
    base, head = 0x400000, 64 + 56
    size = head + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, machine, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
    return header + load + code


def _elf32(machine: int, code: bytes) -> bytes:
    base, head = 0x10000, 52 + 32
    size = head + len(code)
    ident = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9)
    eabi5 = 0x05000000
    header = struct.pack("<16sHHIIIIIHHHHHH", ident, 2, machine, 1, base + head, 52, 0, eabi5, 52, 32, 1, 0, 0, 0)
    load = struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x10000)
    return header + load + code


def pause_image(machine: str, name: str = PAUSE_IMAGE) -> bytes:
    """The sandbox image as an OCI archive."""
    files = {"pause": File(pause_program(machine))}
    return pack_image(name, files, machine=machine, config={"Entrypoint": ["/pause"], "User": "65535:65535"})
