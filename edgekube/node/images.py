"""Images for containers: pull policy, registry credentials from secrets, back-off, and the kubelet's words for all of it.

Source: kubelet images/image_manager.go, credentialprovider (behaviour).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from edgekube.errors import EdgekubeError
from edgekube.kinds.core.secret import Secret
from edgekube.net.grpc import RpcFailed
from edgekube.node.pods.restarts import FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S, BackOff
from edgekube.node.runtime.cri import Credentials, Image, Runtime

PULLS_AT_ONCE = 3  # links and SD cards of edge devices gain nothing from more
DOCKER_HUB = "docker.io"

Tell = Callable[[str, str, str], None]
"""(type, reason, message) of an event about the container."""


class ImageTrouble(EdgekubeError):
    """An image is not to be had now. `reason` is the waiting reason: ErrImagePull, ImagePullBackOff, ErrImageNeverPull, ..."""

    def __init__(self, reason: str, message: str, *, again_s: float | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.again_s = reason, message, again_s


def with_tag(image: str) -> str:
    """A reference with ":latest" where it has neither tag nor digest. Raises ValueError for what is no reference."""
    if not image or image != image.strip() or any(c.isspace() for c in image) or image.startswith(("-", "/", ":")):
        raise ValueError(f'couldn\'t parse image name "{image}": invalid reference format')
    path = image.partition("@")[0]
    if path != path.lower() and path.rpartition(":")[0].lower() != (path.rpartition(":")[0] or path.lower()):
        raise ValueError(
            f'couldn\'t parse image name "{image}": invalid reference format: repository name must be lowercase'
        )
    if "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"


def registry_of(image: str) -> tuple[str, str]:
    """(registry host, path) a reference points at."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return DOCKER_HUB, image


def credentials_for(image: str, secrets: Sequence[Secret]) -> list[Credentials]:
    """The logins that secrets hold for an image's registry, the most specific path first."""
    host, path = registry_of(image)
    found: list[tuple[int, Credentials]] = []
    for secret in secrets:
        for server, login in _logins(secret).items():
            where = server.removeprefix("https://").removeprefix("http://").rstrip("/")
            for suffix in ("/v1", "/v2"):
                where = where.removesuffix(suffix)
            wanted, _, prefix = where.partition("/")
            if wanted in ("index.docker.io", "registry-1.docker.io"):
                wanted = DOCKER_HUB
            if _host_matches(wanted, host) and path.startswith(prefix):
                found.append((len(prefix), _credentials(server, login)))
    return [login for _, login in sorted(found, key=lambda pair: -pair[0])]


def _host_matches(pattern: str, host: str) -> bool:
    ours, theirs = host.split("."), pattern.split(".")
    return len(ours) == len(theirs) and all(t in ("*", o) for t, o in zip(theirs, ours, strict=True))


def _logins(secret: Secret) -> Mapping[str, Mapping[str, Any]]:
    try:
        if (packed := secret.data.get(".dockerconfigjson")) is not None:
            logins = json.loads(packed).get("auths", {})
        else:
            logins = json.loads(secret.data.get(".dockercfg", b"{}"))
    except (ValueError, AttributeError):
        return {}
    return {str(key): value for key, value in logins.items() if isinstance(value, dict)}


def _credentials(server: str, login: Mapping[str, Any]) -> Credentials:
    username, password = str(login.get("username") or ""), str(login.get("password") or "")
    if login.get("auth"):
        try:
            username, _, password = base64.b64decode(str(login["auth"])).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            pass
    return Credentials(username, password, server=server, identity_token=str(login.get("identitytoken") or ""))


@dataclass
class ImageKeeper:
    """Pulls for all pods of the node. `now` gives seconds since the epoch."""

    runtime: Runtime
    now: Callable[[], float]
    back_offs: dict[tuple[str, str], BackOff] = field(default_factory=dict)  # (pod uid, image)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    _turns: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(PULLS_AT_ONCE))

    async def ensure(self, uid: str, image: str, policy: str, secrets: Sequence[Secret], tell: Tell) -> Image:
        """The image, pulled where the policy says so. Raises ImageTrouble."""
        try:
            reference = with_tag(image)
        except ValueError as error:
            message = f'Failed to apply default image tag "{image}": {error}'
            tell("Warning", "InspectFailed", message)
            raise ImageTrouble("InvalidImageName", message) from None
        try:
            present = await self.runtime.image(reference)
        except RpcFailed as failed:
            message = f'Failed to inspect image "{image}": {_rpc_words(failed)}'
            tell("Warning", "InspectFailed", message)
            raise ImageTrouble("ImageInspectError", message) from None
        if policy == "Never" and present is None:
            message = f'Container image "{image}" is not present with pull policy of Never'
            tell("Warning", "ErrImageNeverPull", message)
            raise ImageTrouble("ErrImageNeverPull", message)
        if present is not None and policy != "Always":
            tell(
                "Normal",
                "Pulled",
                f'Container image "{image}" already present on machine and can be accessed by the pod',
            )
            return present
        self._check_back_off(uid, image, tell)
        await self._pull(uid, image, reference, secrets, tell)
        pulled = await self.runtime.image(reference)
        if pulled is None:
            raise ImageTrouble("ErrImagePull", f'image "{image}" vanished after it was pulled')
        return pulled

    def _check_back_off(self, uid: str, image: str, tell: Tell) -> None:
        held = self.back_offs.get((uid, image))
        if held is None:
            return
        left_s = held.decided_at + held.pause_s - self.now()
        if left_s > 0:
            message = f'Back-off pulling image "{image}"'
            tell("Normal", "BackOff", message)
            why = self.failures.get((uid, image))
            shown = f"{message}: ErrImagePull: {why}" if why else message
            raise ImageTrouble("ImagePullBackOff", shown, again_s=left_s)

    async def _pull(self, uid: str, image: str, reference: str, secrets: Sequence[Secret], tell: Tell) -> None:
        tell("Normal", "Pulling", f'Pulling image "{image}"')
        asked_at = self.now()
        async with self._turns:
            begun_at = self.now()
            failure: RpcFailed | None = None
            for login in [*credentials_for(reference, secrets), None]:
                try:
                    await self.runtime.pull(reference, login, None)
                    failure = None
                    break
                except RpcFailed as failed:
                    failure = failed
        ended_at = self.now()
        if failure is not None:
            why = _rpc_words(failure)
            tell("Warning", "Failed", f'Failed to pull image "{image}": {why}')
            held = self.back_offs.get((uid, image))
            pause_s = FIRST_BACK_OFF_S if held is None else min(2 * held.pause_s, LONGEST_BACK_OFF_S)
            self.back_offs[uid, image] = BackOff(pause_s, ended_at)
            self.failures[uid, image] = why
            raise ImageTrouble("ErrImagePull", why, again_s=pause_s)
        self.back_offs.pop((uid, image), None)
        self.failures.pop((uid, image), None)
        found = await self.runtime.image(reference)
        tell(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{image}" in {_seconds(ended_at - begun_at)} '
            f"({_seconds(ended_at - asked_at)} including waiting). Image size: {found.size if found else 0} bytes.",
        )

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        for key in [key for key in self.back_offs if key[0] == uid]:
            del self.back_offs[key]
            self.failures.pop(key, None)


def _rpc_words(failed: RpcFailed) -> str:
    camel = "".join(part.capitalize() for part in failed.code.split("_"))
    return f"rpc error: code = {camel} desc = {failed.message}"


def _seconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds < 1 else f"{seconds:.3f}s"
