"""The runtime's verbs, typed: what a node asks containerd (or CRI-O) to do, and what it is told.

Requests are built by `pods.configs` as plain dicts; answers come back as frozen dataclasses, so that nothing above knows protobuf.
Raises net.grpc.RpcFailed. Times are nanoseconds since the epoch, 0 for "not yet", as in the CRI.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from edgekube.net.grpc import GrpcChannel, RpcFailed
from edgekube.wire import cri

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"

# Bounds after which a runtime that does not answer is treated as broken; kubelet's runtime-request-timeout is 2 minutes,
# image pulls have none.
CALL_LIMIT_S = 120.0
EVENTS_NAMESPACE = "k8s.io"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One sandbox, ready or not."""

    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    ready: bool
    created_at: int
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SandboxDetail:
    """What only a status call tells of a sandbox."""

    ips: tuple[str, ...]
    info: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ContainerBrief:
    """One entry of a container list. `state`: CREATED, RUNNING, EXITED or UNKNOWN."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: str
    created_at: int
    image: str
    image_ref: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ContainerDetail:
    """A container as its status tells it."""

    id: str
    name: str
    attempt: int
    state: str
    created_at: int
    started_at: int
    finished_at: int
    exit_code: int
    reason: str
    message: str
    image: str
    image_ref: str
    log_path: str
    sandbox_id: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    user: tuple[int, int, tuple[int, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """An image the runtime has."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    pinned: bool
    user_id: int | None
    user_name: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to log in to a registry."""

    username: str = ""
    password: str = ""
    auth: str = ""
    server: str = ""
    identity_token: str = ""
    registry_token: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one container uses. CPU in nanoseconds since its start, memory in bytes; None where the runtime does not say."""

    container_id: str
    labels: Mapping[str, str]
    name: str
    timestamp: int
    cpu_ns: int | None
    working_set: int | None
    memory_usage: int | None
    rss: int | None
    page_faults: int | None
    major_page_faults: int | None
    disk_used: int | None
    inodes_used: int | None


@dataclass(frozen=True, slots=True)
class Version:
    """Name and version of the runtime, e.g. containerd, 1.6.20."""

    name: str
    version: str


def _state(number: int) -> str:
    return ("CREATED", "RUNNING", "EXITED", "UNKNOWN")[number]


def _sandbox(item: Any) -> Sandbox:
    meta = item.metadata
    return Sandbox(
        item.id, meta.name, meta.namespace, meta.uid, meta.attempt, item.state == 0, item.created_at,
        dict(item.labels), dict(item.annotations),
    )  # fmt: skip


def _brief(item: Any) -> ContainerBrief:
    return ContainerBrief(
        item.id, item.pod_sandbox_id, item.metadata.name, item.metadata.attempt, _state(item.state), item.created_at,
        item.image.user_specified_image or item.image.image, item.image_ref, dict(item.labels), dict(item.annotations),
    )  # fmt: skip


def _image(item: Any) -> Image:
    return Image(
        item.id, tuple(item.repo_tags), tuple(item.repo_digests), item.size, item.pinned,
        item.uid.value if item.HasField("uid") else None, item.username,
    )  # fmt: skip


class Runtime:
    """One container runtime, over its socket."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is "unix:///run/containerd/containerd.sock" or a path."""
        self.endpoint = endpoint if ":" in endpoint else f"unix://{endpoint}"
        self._channel = GrpcChannel(self.endpoint)

    def close(self) -> None:
        """Give the connection back."""
        self._channel.close()

    async def _call(self, path: str, /, *, limit_s: float = CALL_LIMIT_S, **members: Any) -> Any:
        request, response = cri.call_types(path)
        data = request(**{key: value for key, value in members.items() if value is not None}).SerializeToString()
        try:
            with trio.fail_after(limit_s):
                return response.FromString(await self._channel.unary(path, data))
        except trio.TooSlowError:
            raise RpcFailed("DEADLINE_EXCEEDED", "context deadline exceeded") from None

    async def _run(self, method: str, /, **members: Any) -> Any:
        return await self._call(cri.RUNTIME_SERVICE + method, **members)

    async def _images(self, method: str, /, **members: Any) -> Any:
        return await self._call(cri.IMAGE_SERVICE + method, **members)

    # ---- the runtime itself

    async def version(self) -> Version:
        """Who answers."""
        told = await self._run("Version", version="v1")
        return Version(told.runtime_name, told.runtime_version)

    async def conditions(self) -> dict[str, tuple[bool, str]]:
        """RuntimeReady and NetworkReady: (status, why not)."""
        told = await self._run("Status")
        return {c.type: (c.status, f"{c.reason} {c.message}".strip()) for c in told.status.conditions}

    async def sandbox_image(self) -> str:
        """The image sandboxes are made from, where the runtime tells ("" where not)."""
        told = await self._run("Status", verbose=True)
        try:
            settings = json.loads(told.info.get("config", "{}"))
        except ValueError:
            return ""
        return str(settings.get("sandboxImage") or "") if isinstance(settings, dict) else ""

    # ---- sandboxes

    async def run_sandbox(self, config: Mapping[str, Any], handler: str = "") -> str:
        """Make and start a sandbox; its id."""
        made: str = (
            await self._run("RunPodSandbox", config=config, runtime_handler=handler, limit_s=240)
        ).pod_sandbox_id
        return made

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Stop everything in a sandbox and give its network back. Repeatable."""
        try:
            await self._run("StopPodSandbox", pod_sandbox_id=sandbox_id)
        except RpcFailed as failed:
            if failed.code != "NOT_FOUND":  # what is not there is stopped
                raise

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Forget a stopped sandbox and its containers. Repeatable."""
        await self._run("RemovePodSandbox", pod_sandbox_id=sandbox_id)

    async def sandboxes(self, uid: str = "") -> list[Sandbox]:
        """All sandboxes, or those of one pod."""
        filter_ = {"label_selector": {POD_UID: uid}} if uid else None
        return [_sandbox(item) for item in (await self._run("ListPodSandbox", filter=filter_)).items]

    async def sandbox_detail(self, sandbox_id: str, *, verbose: bool = False) -> SandboxDetail:
        """Addresses of a sandbox; with `verbose` the runtime's own view (network namespace path and more)."""
        told = await self._run("PodSandboxStatus", pod_sandbox_id=sandbox_id, verbose=verbose)
        network = told.status.network
        ips = tuple(ip for ip in (network.ip, *(more.ip for more in network.additional_ips)) if ip)
        return SandboxDetail(ips, dict(told.info))

    # ---- containers

    async def create_container(self, sandbox_id: str, config: Mapping[str, Any], sandbox: Mapping[str, Any]) -> str:
        """Make a container without starting it; its id."""
        told = await self._run("CreateContainer", pod_sandbox_id=sandbox_id, config=config, sandbox_config=sandbox)
        made: str = told.container_id
        return made

    async def start_container(self, container_id: str) -> None:
        """Start a created container."""
        await self._run("StartContainer", container_id=container_id)

    async def stop_container(self, container_id: str, grace_s: int) -> None:
        """Stop signal, then KILL after the grace. Returns when it has stopped."""
        await self._run("StopContainer", container_id=container_id, timeout=grace_s, limit_s=grace_s + CALL_LIMIT_S)

    async def remove_container(self, container_id: str) -> None:
        """Forget a container and its log entry. Repeatable."""
        await self._run("RemoveContainer", container_id=container_id)

    async def containers(self, uid: str = "") -> list[ContainerBrief]:
        """All containers, or those of one pod."""
        filter_ = {"label_selector": {POD_UID: uid}} if uid else None
        return [_brief(item) for item in (await self._run("ListContainers", filter=filter_)).containers]

    async def container(self, container_id: str) -> ContainerDetail:
        """One container's status."""
        told = (await self._run("ContainerStatus", container_id=container_id)).status
        user = told.user.linux if told.HasField("user") else None
        return ContainerDetail(
            id=told.id,
            name=told.metadata.name,
            attempt=told.metadata.attempt,
            state=_state(told.state),
            created_at=told.created_at,
            started_at=told.started_at,
            finished_at=told.finished_at,
            exit_code=told.exit_code,
            reason=told.reason,
            message=told.message,
            image=told.image.user_specified_image or told.image.image,
            image_ref=told.image_ref,
            log_path=told.log_path,
            annotations=dict(told.annotations),
            user=(user.uid, user.gid, tuple(user.supplemental_groups)) if user else None,
        )

    async def update_resources(self, container_id: str, resources: Mapping[str, Any]) -> None:
        """Change a running container's limits."""
        await self._run("UpdateContainerResources", container_id=container_id, linux=resources)

    async def reopen_log(self, container_id: str) -> None:
        """After its log file was renamed: write to a new one."""
        await self._run("ReopenContainerLog", container_id=container_id)

    async def exec_sync(self, container_id: str, command: Sequence[str], limit_s: int) -> tuple[int, bytes]:
        """Run a command to its end: (exit status, output). RpcFailed DEADLINE_EXCEEDED past `limit_s`."""
        told = await self._run(
            "ExecSync", container_id=container_id, cmd=list(command), timeout=limit_s, limit_s=limit_s + 10
        )
        return told.exit_code, told.stdout + told.stderr

    async def exec_url(
        self, container_id: str, command: Sequence[str], *, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str:
        """Where to connect to stream a command."""
        told = await self._run(
            "Exec", container_id=container_id, cmd=list(command), tty=tty, stdin=stdin, stdout=stdout, stderr=stderr
        )
        url: str = told.url
        return url

    async def attach_url(self, container_id: str, *, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str:
        """Where to connect to stream a container's main process."""
        told = await self._run("Attach", container_id=container_id, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr)
        url: str = told.url
        return url

    async def usage(self) -> list[Usage]:
        """CPU, memory and disk of every running container."""
        told = await self._run("ListContainerStats")
        return [_usage(item) for item in told.stats]

    # ---- images

    async def images(self) -> list[Image]:
        """All images."""
        return [_image(item) for item in (await self._images("ListImages")).images]

    async def image(self, reference: str) -> Image | None:
        """An image by name or id; None when it is not here."""
        told = await self._images("ImageStatus", image={"image": reference})
        return _image(told.image) if told.HasField("image") and told.image.id else None

    async def pull(self, reference: str, credentials: Credentials | None, sandbox: Mapping[str, Any] | None) -> str:
        """Fetch an image; its reference. No bound: the caller cancels."""
        auth = None
        if credentials is not None:
            auth = {
                "username": credentials.username,
                "password": credentials.password,
                "auth": credentials.auth,
                "server_address": credentials.server,
                "identity_token": credentials.identity_token,
                "registry_token": credentials.registry_token,
            }
        told = await self._images(
            "PullImage", image={"image": reference}, auth=auth, sandbox_config=sandbox, limit_s=1e9
        )
        fetched: str = told.image_ref
        return fetched

    async def remove_image(self, reference: str) -> None:
        """Drop an image and all its names. Repeatable."""
        await self._images("RemoveImage", image={"image": reference})

    async def image_filesystem(self) -> tuple[str, int, int]:
        """Where images lie: (mount point, bytes used, inodes used)."""
        told = await self._images("ImageFsInfo")
        for usage in told.image_filesystems:
            return usage.fs_id.mountpoint, usage.used_bytes.value, usage.inodes_used.value
        return "", 0, 0

    # ---- containerd's own services

    @asynccontextmanager
    async def task_events(self) -> AsyncIterator[AsyncIterator[str]]:
        """Ids of containers (and sandboxes) to which something happened. RpcFailed where the runtime is not containerd."""
        request = cri.make(
            "containerd.v1.SubscribeRequest", filters=[f'namespace=={EVENTS_NAMESPACE},topic~="^/tasks/"']
        )
        envelope_type = cri.message_type("containerd.v1.Envelope")
        event_type = cri.message_type("containerd.v1.TaskEvent")

        async def ids(source: AsyncIterator[bytes]) -> AsyncIterator[str]:
            async for data in source:
                envelope = envelope_type.FromString(data)
                if not envelope.topic.startswith("/tasks/exec"):  # exec probes come by the second and change nothing
                    yield event_type.FromString(envelope.event.value).container_id

        path = "/containerd.services.events.v1.Events/Subscribe"
        async with self._channel.stream(path, request.SerializeToString()) as source:
            told = ids(source)
            try:
                yield told
            finally:
                await told.aclose()  # type: ignore[attr-defined]

    async def stored_images(self) -> dict[str, dict[str, str]]:
        """containerd's image names with their labels."""
        channel = self._channel.metadata(("containerd-namespace", EVENTS_NAMESPACE))
        request = cri.make("containerd.v1.ListStoredImagesRequest")
        data = await channel.unary("/containerd.services.images.v1.Images/List", request.SerializeToString())
        told = cri.message_type("containerd.v1.ListStoredImagesResponse").FromString(data)
        return {image.name: dict(image.labels) for image in told.images}

    async def label_image(self, name: str, labels: Mapping[str, str]) -> None:
        """Set labels of an image name in containerd's store; others stay."""
        channel = self._channel.metadata(("containerd-namespace", EVENTS_NAMESPACE))
        request = cri.make(
            "containerd.v1.UpdateStoredImageRequest",
            image={"name": name, "labels": dict(labels)},
            update_mask={"paths": [f"labels.{label}" for label in labels]},
        )
        await channel.unary("/containerd.services.images.v1.Images/Update", request.SerializeToString())


def _usage(item: Any) -> Usage:
    def value(holder: Any, name: str) -> int | None:
        return getattr(holder, name).value if holder.HasField(name) else None

    return Usage(
        container_id=item.attributes.id,
        labels=dict(item.attributes.labels),
        name=item.attributes.metadata.name,
        timestamp=item.cpu.timestamp or item.memory.timestamp,
        cpu_ns=value(item.cpu, "usage_core_nano_seconds"),
        working_set=value(item.memory, "working_set_bytes"),
        memory_usage=value(item.memory, "usage_bytes"),
        rss=value(item.memory, "rss_bytes"),
        page_faults=value(item.memory, "page_faults"),
        major_page_faults=value(item.memory, "major_page_faults"),
        disk_used=value(item.writable_layer, "used_bytes"),
        inodes_used=value(item.writable_layer, "inodes_used"),
    )
