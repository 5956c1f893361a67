#!/usr/bin/env python3
"""Build what edgekube is shipped as: a Debian package and a single file per architecture, with checksums and a list of contents.

    packaging/build.py [--arch amd64|arm64|armhf]... [--out dist] [--only deb|file] [--update-locks]

Everything is cross-built: wheels are fetched for the other machine, nothing of it is run here. One package serves Python 3.11
(Debian 12) and 3.13 (Debian 13): compiled modules carry the interpreter's tag in their names and lie side by side. armhf has no
wheel of msgspec; it is compiled with Debian's cross compiler, for 3.11 only.

The same commit gives the same bytes: versions and hashes are in packaging/locks/, times are the commit's. Network is needed for
the package index, and for armhf for Debian's mirror; nothing else.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "packaging" / "locks"
GLIBC = ("2014", "_2_17", "_2_28", "_2_31", "_2_34")  # manylinux tags that Debian 12's C library satisfies
PROGRAMS = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "nftables",
    "iproute2",
    "iptables",
    "conntrack",
)
#: Wheels that come along but nothing of ours imports.
LEFT_OUT = ("pip", "click_default_group", "setuptools")


@dataclass(frozen=True, slots=True)
class Architecture:
    """`name` is Debian's; `machine` is that of wheel tags."""

    name: str
    machine: str
    pythons: tuple[str, ...]
    debian: tuple[str, ...] = ()  # Python packages that are taken from Debian instead of the index
    compiled: tuple[str, ...] = ()  # built from source with the cross compiler
    without: tuple[str, ...] = ()  # done without: edgekube works, slower


ARCHITECTURES = {
    one.name: one
    for one in (
        Architecture("amd64", "x86_64", ("3.11", "3.13")),
        Architecture("arm64", "aarch64", ("3.11", "3.13")),
        Architecture(
            "armhf",
            "armv7l",
            ("3.11",),
            debian=("cffi", "pycparser", "pyyaml"),
            compiled=("msgspec",),
            without=("httptools", "google-re2"),
        ),
    )
}
DEBIAN_NAMES = {"cffi": "python3-cffi-backend", "pyyaml": "python3-yaml"}


def main() -> int:
    """Build what is asked for; the exit status."""
    words = argparse.ArgumentParser(description="Build Debian packages and single files.")
    words.add_argument("--arch", action="append", choices=sorted(ARCHITECTURES), help="default: all")
    words.add_argument("--out", type=Path, default=ROOT / "dist")
    words.add_argument("--only", choices=("deb", "file"))
    words.add_argument("--python", action="append", metavar="3.X", help="leave out the others' modules (tests)")
    words.add_argument("--compression", choices=("xz", "none"), default="xz", help="of the .deb; none is for tests")
    words.add_argument(
        "--update-locks", action="store_true", help="resolve the newest versions and write packaging/locks/"
    )
    asked = words.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked.out.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)
    made: list[Path] = []
    for name in asked.arch or sorted(ARCHITECTURES):
        architecture = ARCHITECTURES[name]
        if asked.python:
            architecture = replace(architecture, pythons=tuple(asked.python))
        if asked.update_locks:
            update_lock(architecture, project["dependencies"])
        with tempfile.TemporaryDirectory() as scratch:
            library = gather(architecture, Path(scratch))
            made.append(write_contents(architecture, library, project, asked.out))
            if asked.only != "file":
                made.append(build_deb(architecture, library, project, Path(scratch), asked.out, asked.compression))
            if asked.only != "deb":
                made.append(build_file(architecture, library, project, Path(scratch), asked.out))
    write_checksums(asked.out)
    for path in made:
        print(f"{path.name}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


# -- third-party packages ----------------------------------------------------------------------------------------------


def update_lock(architecture: Architecture, dependencies: list[str]) -> None:
    """Write which versions and which files an architecture is built from."""
    lines: set[str] = set()
    skipped = {*architecture.debian, *architecture.compiled, *architecture.without, *LEFT_OUT}
    for python in architecture.pythons:
        wanted = _resolve(dependencies, python)
        for name, version in wanted.items():
            if name.lower().replace("_", "-") in {one.replace("_", "-") for one in skipped}:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                _pip("download", "--no-deps", "-d", scratch, f"{name}=={version}", *_target(architecture, python))
                (wheel,) = Path(scratch).iterdir()
                digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            lines.add(f"{python} {name}=={version} --hash=sha256:{digest}")
        for name in architecture.compiled:
            with tempfile.TemporaryDirectory() as scratch:
                _pip("download", "--no-deps", "--no-binary", ":all:", "-d", scratch,
                     f"{name}=={wanted[name]}")  # fmt: skip
                (source,) = Path(scratch).iterdir()
                digest = hashlib.sha256(source.read_bytes()).hexdigest()
            lines.add(f"source {name}=={wanted[name]} --hash=sha256:{digest}")
    LOCKS.mkdir(exist_ok=True)
    (LOCKS / f"{architecture.name}.txt").write_text("\n".join(sorted(lines, key=str.lower)) + "\n")


def _resolve(dependencies: list[str], python: str) -> dict[str, str]:
    """Names and versions of everything needed, resolved for x86-64, where there are wheels of all of it."""
    target = _target(ARCHITECTURES["amd64"], python)
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        _pip("install", "--dry-run", "--ignore-installed", "--report", str(report), "--target", scratch, *target,
             *dependencies)  # fmt: skip
        found = json.loads(report.read_text())["install"]
    return {one["metadata"]["name"]: one["metadata"]["version"] for one in found}


def _target(architecture: Architecture, python: str) -> list[str]:
    tags = [f"manylinux{glibc}_{architecture.machine}" for glibc in GLIBC]
    tags += [f"manylinux1_{architecture.machine}", f"linux_{architecture.machine}"]
    platforms = [word for tag in tags for word in ("--platform", tag)]
    return [*platforms, "--python-version", python, "--implementation", "cp", "--only-binary", ":all:"]


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"build.py: {' '.join(words[:2])} failed:\n{done.stderr.strip()}")


def gather(architecture: Architecture, scratch: Path) -> Path:
    """All third-party packages of an architecture in one directory; files of several interpreters side by side."""
    lock = LOCKS / f"{architecture.name}.txt"
    library = scratch / "lib"
    library.mkdir()
    entries = [line.split(" ", 1) for line in lock.read_text().splitlines() if line]
    for python in architecture.pythons:
        part, wanted = scratch / python, scratch / f"requirements-{python}.txt"
        wanted.write_text("\n".join(rest for which, rest in entries if which == python))
        _pip("install", "--no-deps", "--no-compile", "--require-hashes", "-r", str(wanted), "--target", str(part),
             *_target(architecture, python))  # fmt: skip
        shutil.copytree(part, library, dirs_exist_ok=True)
    for which, rest in entries:
        if which == "source":
            compile_source(architecture, rest, scratch, library)
    for unwanted in ("bin", *LEFT_OUT):
        shutil.rmtree(library / unwanted, ignore_errors=True)
    for path in library.glob("*.dist-info"):
        (path / "RECORD").unlink(missing_ok=True)  # names the files of one interpreter only
        (path / "direct_url.json").unlink(missing_ok=True)
    for path in [*library.rglob("__pycache__"), *library.rglob("tests")]:
        shutil.rmtree(path, ignore_errors=True)
    return library


def compile_source(architecture: Architecture, requirement: str, scratch: Path, library: Path) -> None:
    """Cross-compile a package that consists of Python files and one C file (msgspec does)."""
    _pip("download", "--no-deps", "--no-binary", ":all:", "-d", str(scratch / "source"),
         requirement.split(" ")[0])  # fmt: skip
    (archive,) = (scratch / "source").iterdir()
    expected = requirement.partition("sha256:")[2]
    if hashlib.sha256(archive.read_bytes()).hexdigest() != expected:
        raise SystemExit(f"build.py: {archive.name} is not what packaging/locks says")
    with tarfile.open(archive) as opened:
        opened.extractall(scratch / "source", filter="data")
    tree = next(path for path in (scratch / "source").iterdir() if path.is_dir())
    name = requirement.split("==")[0]
    package = next(path for path in (tree / "src" / name, tree / name) if path.is_dir())
    (python,) = architecture.pythons
    includes = python_headers(architecture, python, scratch)
    shutil.copytree(package, library / name, ignore=shutil.ignore_patterns("*.c", "*.h"), dirs_exist_ok=True)
    target = library / name / f"_core.cpython-{python.replace('.', '')}-arm-linux-gnueabihf.so"
    subprocess.run(
        ["arm-linux-gnueabihf-gcc", "-shared", "-fPIC", "-O2", "-g0", "-fno-strict-aliasing", "-DNDEBUG",
         "-ffile-prefix-map=" + str(tree) + "=.", "-Wl,-z,relro,-z,now", "-Wl,--build-id=none",
         *(f"-I{path}" for path in includes), str(package / "_core.c"), "-o", str(target)],
        check=True,
    )  # fmt: skip
    metadata = next(tree.glob("PKG-INFO"))
    version = requirement.split("==")[1].split(" ")[0]
    told = library / f"{name}-{version}.dist-info"
    told.mkdir()
    shutil.copy(metadata, told / "METADATA")


def python_headers(architecture: Architecture, python: str, scratch: Path) -> list[Path]:
    """Debian's headers for the other machine's Python, fetched without touching this machine's package lists."""
    root = scratch / "headers"
    for path in ("state/lists/partial", "cache/archives/partial", "unpacked"):
        (root / path).mkdir(parents=True)
    (root / "status").touch()
    options = {
        "APT::Architecture": architecture.name, "APT::Architectures": architecture.name, "Dir::State": root / "state",
        "Dir::State::status": root / "status", "Dir::Cache": root / "cache", "APT::Sandbox::User": "root",
    }  # fmt: skip
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    subprocess.run(
        ["apt-get", *words, "update", "-qq"], check=False, cwd=root, capture_output=True
    )  # one list of many may fail
    subprocess.run(
        ["apt-get", *words, "download", "-qq", f"libpython{python}-dev"], check=True, cwd=root, capture_output=True
    )
    (package,) = root.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(root / "unpacked")], check=True)
    base = root / "unpacked" / "usr" / "include"
    return [base / f"python{python}", base]


# -- the Debian package ------------------------------------------------------------------------------------------------

LAUNCHER = """#!/usr/bin/python3 -I
# -I: neither the caller's directory nor PYTHON* variables nor a user's own packages come in between.
import sys

sys.path[:0] = ["/usr/lib/edgekube", "/usr/lib/edgekube/lib"]
sys.argv[0] = "edgekube" if sys.argv[0].endswith("edgekube") else "kubectl"
from edgekube.cli.main import main

main()
"""


def build_deb(
    architecture: Architecture, library: Path, project: dict[str, str], scratch: Path, out: Path, compression: str
) -> Path:
    """One .deb: our package, the private library, unit files, man page, completion."""
    tree = scratch / "deb"
    home = tree / "usr/lib/edgekube"
    copy_ours(home)
    shutil.copytree(library, home / "lib", ignore=_not_for_debian)
    _write(tree / "usr/bin/edgekube", LAUNCHER, 0o755)
    units = tree / "lib/systemd/system"
    units.mkdir(parents=True)
    for unit in sorted((ROOT / "systemd").glob("*.service")):
        shutil.copy(unit, units)
    for source, target in documents(project):
        _write_gz(tree / target, source)
    _write(tree / "usr/share/doc/edgekube/copyright", copyright_text(library))
    _write(tree / "usr/share/lintian/overrides/edgekube", LINTIAN)
    completion = tree / "usr/share/bash-completion/completions/edgekube"
    if (text := command_output("completion", "bash")) is not None:
        _write(completion, text)
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    for name in ("postinst", "prerm", "postrm"):
        source = ROOT / "packaging" / "debian" / name
        _write(tree / "DEBIAN" / name, source.read_text(), 0o755)
    _write(tree / "DEBIAN/control", control(architecture, project, size))
    _write(tree / "DEBIAN/md5sums", _sums(tree))
    tidy(tree)
    target = out / f"edgekube_{project['version']}_{architecture.name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", f"-Z{compression}", "--build", str(tree), str(target)], check=True,
                   capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch())})  # fmt: skip
    return target


def copy_ours(home: Path) -> None:
    """The `edgekube` package as it is in the tree."""
    shutil.copytree(ROOT / "edgekube", home / "edgekube", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _not_for_debian(_: str, names: list[str]) -> set[str]:
    """Type stubs, sources and licence copies, which /usr/share/doc/edgekube/copyright stands for."""
    return {name for name in names if name.endswith((".pyi", ".pyx", ".pxd", ".h", ".c")) or name == "licenses"}


def control(architecture: Architecture, project: dict[str, str], size_kib: int) -> str:
    """The package's control file."""
    oldest, newest = architecture.pythons[0], architecture.pythons[-1]
    after = f"3.{int(newest.split('.')[1]) + 1}"
    python = [f"python3 (>= {oldest})", f"python3 (<< {after})"]
    further = [DEBIAN_NAMES[name] for name in architecture.debian if name in DEBIAN_NAMES]
    return f"""Package: edgekube
Version: {project["version"]}
Architecture: {architecture.name}
Maintainer: The edgekube authors <maintainers@edgekube.io>
Installed-Size: {size_kib}
Depends: {", ".join([*python, *further, *PROGRAMS, "libc6 (>= 2.34)", "libstdc++6"])}
Recommends: bash-completion
Suggests: wireguard-tools
Section: admin
Priority: optional
Homepage: https://edgekube.io
Description: {project["description"]}
 API server with a SQLite store, scheduler, controllers and the node that runs
 containers through containerd, for gateways of the Raspberry Pi class. Further
 machines join over HTTPS with a token. kubectl, Helm charts and operators work
 against it unchanged.
"""


LINTIAN = """# Units are for two roles; which one this machine has is chosen after installing, so debhelper's snippets do not fit.
edgekube: maintainer-script-calls-systemctl
# The private library holds wheels as their makers built them: grpc and yaml bring their own zlib and libyaml, and a stripped
# copy would no longer be what packaging/locks and the list of contents vouch for.
edgekube: embedded-library
edgekube: unstripped-binary-or-object
"""


def documents(project: dict[str, str]) -> list[tuple[str, str]]:
    """(text, path below the root) of what is shipped compressed."""
    when = subprocess.run(["date", "-R", "-u", "-d", f"@{epoch()}"], capture_output=True, text=True, check=True)
    change = f"edgekube ({project['version']}) stable; urgency=medium\n\n  * See https://edgekube.io/changelog.\n\n"
    change += f" -- The edgekube authors <maintainers@edgekube.io>  {when.stdout.strip()}\n"
    found = [(change, "usr/share/doc/edgekube/changelog.gz")]
    page = subprocess.run([sys.executable, str(ROOT / "packaging" / "manpage.py")], capture_output=True, text=True,
                          check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    if page.returncode:
        raise SystemExit(f"build.py: the man page could not be made:\n{page.stderr}")
    return [*found, (page.stdout, "usr/share/man/man8/edgekube.8.gz")]


def command_output(*words: str) -> str | None:
    """What our own command prints, None when it does not know the words."""
    done = subprocess.run([sys.executable, "-m", "edgekube", *words], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    return done.stdout if done.returncode == 0 and done.stdout else None


def copyright_text(library: Path) -> str:
    """Debian's machine-readable list of licences, ours first."""
    parts = ["Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: edgekube\n",
             "Files: *\nCopyright: the edgekube authors\nLicense: Apache-2.0\n On Debian systems the text is in"
             " /usr/share/common-licenses/Apache-2.0.\n"]  # fmt: skip
    for name, version, licence in packages(library):
        short = "-".join(licence.split()) or "unknown"
        parts.append(f"Files: usr/lib/edgekube/lib/{name.replace('-', '_')}*\nCopyright: the authors of {name} {version}\n"
                     f"License: {name}-{short}\n As said in usr/lib/edgekube/lib/{name.replace('-', '_')}-{version}.dist-info.\n")  # fmt: skip
    return "\n".join(parts)


def packages(library: Path) -> list[tuple[str, str, str]]:
    """(name, version, licence) of every third-party package."""
    found = []
    for path in sorted(library.glob("*.dist-info/METADATA")):
        told = HeaderParser().parsestr(path.read_text(errors="replace"))
        classifiers = [value for value in told.get_all("Classifier") or () if value.startswith("License ::")]
        licence = told.get("License-Expression") or (classifiers[0].rpartition(":: ")[2] if classifiers else "")
        short = (told.get("License") or "").splitlines()
        found.append((told["Name"], told["Version"], licence or (short[0][:60] if short else "")))
    return found


# -- the single file ---------------------------------------------------------------------------------------------------


def build_file(architecture: Architecture, library: Path, project: dict[str, str], scratch: Path, out: Path) -> Path:
    """One executable file that unpacks itself once per version (shiv), not at every start."""
    site = scratch / "site"
    shutil.copytree(library, site)
    copy_ours(site)
    tidy(site)
    target = out / f"edgekube-{project['version']}-{architecture.name}"
    subprocess.run(
        [sys.executable, "-m", "shiv", "--site-packages", str(site), "--entry-point", "edgekube.cli.main:main",
         "--reproducible", "--compressed", "--python", "/usr/bin/python3 -sE", "--output-file", str(target),
         "--root", "~/.cache/edgekube"],
        check=True, env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch())},
    )  # fmt: skip
    return target


# -- what comes with it ------------------------------------------------------------------------------------------------


def write_contents(architecture: Architecture, library: Path, project: dict[str, str], out: Path) -> Path:
    """The list of everything inside (CycloneDX 1.5)."""
    components = []
    lock = {}
    for line in (LOCKS / f"{architecture.name}.txt").read_text().splitlines():
        _, requirement, digest = line.split(" ")
        lock.setdefault(requirement.lower().replace("_", "-"), []).append(digest.partition("sha256:")[2])
    for name, version, licence in packages(library):
        digests = lock.get(f"{name}=={version}".lower().replace("_", "-"), [])
        components.append({
            "type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name.lower()}@{version}",
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(set(digests))],
            **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
        })  # fmt: skip
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "application", "name": "edgekube", "version": project["version"],
                                   "purl": f"pkg:deb/edgekube@{project['version']}?arch={architecture.name}"}},
        "components": components,
    }  # fmt: skip
    target = out / f"edgekube_{project['version']}_{architecture.name}.cdx.json"
    target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    return target


def write_checksums(out: Path) -> None:
    """SHA256SUMS of everything in the directory, as `sha256sum -c` wants it."""
    files = sorted(path for path in out.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    (out / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def epoch() -> int:
    """Seconds: SOURCE_DATE_EPOCH, else the time of the commit, else 1980 (zip's first year)."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(told)
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 315532800


def tidy(tree: Path) -> None:
    """One time and plain modes everywhere."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if path.is_symlink():
            continue
        executable = path.is_dir() or (path.parent.name == "DEBIAN" and path.name.startswith(("post", "pre")))
        path.chmod(0o755 if executable or path.parent.name == "bin" else 0o644)
        os.utime(path, (epoch(), epoch()))
    os.utime(tree, (epoch(), epoch()))


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _write_gz(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _sums(tree: Path) -> str:
    files = sorted(path for path in tree.rglob("*") if path.is_file() and "DEBIAN" not in path.parts)
    return "".join(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files)


if __name__ == "__main__":
    sys.exit(main())
