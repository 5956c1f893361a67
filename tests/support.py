"""What tests share: a real edgekube server in its own process, and real programs to drive it with."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden"
START_S = 60.0


def eventually(what: Callable[[], Any], *, within_s: float = 30.0, every_s: float = 0.1, why: str = "") -> Any:
    """The first true answer of `what`. Fails with the last answer when none came in time."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            answer = what()
        except (OSError, subprocess.CalledProcessError) as error:
            answer, shown = None, repr(error)
        else:
            shown = repr(answer)
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{why or what} did not come true within {within_s} s; last: {shown[:2000]}")
        time.sleep(every_s)


@dataclass
class Server:
    """A running `edgekube server`."""

    process: subprocess.Popen[bytes]
    directory: Path
    log: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig.yaml"

    @property
    def url(self) -> str:
        return str(yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])

    def credentials(self) -> tuple[Path, Path, Path]:
        """Files of the CA, the administrator's certificate and key."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        paths = []
        for name, data in (
            ("ca.crt", cluster["certificate-authority-data"]),
            ("admin.crt", user["client-certificate-data"]),
            ("admin.key", user["client-key-data"]),
        ):
            path = self.directory / name
            path.write_bytes(base64.b64decode(data))
            paths.append(path)
        return paths[0], paths[1], paths[2]

    def get(self, path: str, *, token: str = "") -> tuple[int, bytes]:
        """A GET as administrator, or as whoever a token stands for."""
        ca, certificate, key = self.credentials()
        context = ssl.create_default_context(cafile=str(ca))
        request = urllib.request.Request(self.url + path)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        else:
            context.load_cert_chain(certificate, key)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        return self.kubeconfig.exists() and self.get("/readyz")[0] == 200

    def kubectl(self, *words: str, stdin: str = "", check: bool = True, binary: str = "kubectl") -> str:
        """Run the real kubectl; its standard output. Fails with both streams when it does."""
        done = self.kubectl_raw(*words, stdin=stdin, binary=binary)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def kubectl_raw(self, *words: str, stdin: str = "", binary: str = "kubectl") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.directory)}
        return subprocess.run(
            [binary, *words], input=stdin, capture_output=True, text=True, env=environment, timeout=180, check=False
        )

    def json(self, *words: str) -> Any:
        return json.loads(self.kubectl(*words, "-o", "json"))

    def stop(self, *, within_s: float = 30.0) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the server did not stop:\n{self.log.read_text()[-4000:]}") from None
        return self.process.returncode

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.kill()
        self.process.wait()


def start(directory: Path, *flags: str, wait: bool = True, port: int = 0) -> Server:
    """Start a server whose files are all under `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "server.log"
    (directory / "kubeconfig.yaml").unlink(missing_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "edgekube", "server",
                "--data-dir", str(directory / "data"),
                "--https-listen-port", str(port),
                "--write-kubeconfig", str(directory / "kubeconfig.yaml"),
                *flags,
            ],
            stdout=output, stderr=output, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "EDGEKUBE_NO_KUBECONFIG_MERGE": "1"},
        )  # fmt: skip
    server = Server(process, directory, log)
    if wait:
        try:
            eventually(server.ready, within_s=START_S, why="/readyz")
        except BaseException:
            process.kill()
            process.wait()
            sys.stderr.write(log.read_text()[-6000:])
            raise
    return server


@contextmanager
def api_server(directory: Path, *flags: str) -> Iterator[Server]:
    """A control plane alone: needs neither root nor containers."""
    server = start(directory, "--disable-agent", "--bind-address", "127.0.0.1", *flags)
    try:
        yield server
    finally:
        server.stop()


def has(*programs: str) -> bool:
    """Whether all programs are on the PATH."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return all(shutil.which(program, path=path) for program in programs)
