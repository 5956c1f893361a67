"""What a container is made of: its image, ports, environment, mounts, probes, hooks, resources and security."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import field

from edgekube.api.meta import Int32, IntOrString, Quantity, Struct, list_atomic, list_map, list_set, zero
from edgekube.kinds.core.volume import ObjectFieldSelector, ResourceFieldSelector


class ContainerPort(Struct):
    """A port a container listens on."""

    name: str = ""
    host_port: Int32 = 0
    container_port: Int32 = zero(int)
    protocol: str = ""
    host_ip: str = field(name="hostIP", default="")


class ContainerResizePolicy(Struct):
    """Whether a change of a resource restarts the container."""

    resource_name: str = zero(str)
    restart_policy: str = zero(str)


class ContainerRestartRuleOnExitCodes(Struct):
    """The exit codes a restart rule is about."""

    operator: str = ""
    values: Annotated[list[Int32], list_set(strategy="")] = []


class ContainerRestartRule(Struct):
    """What is done when a container ends in a certain way."""

    action: str = ""
    exit_codes: ContainerRestartRuleOnExitCodes | None = None


class ConfigMapEnvSource(Struct):
    """All entries of a ConfigMap as variables."""

    name: str = ""
    optional: bool | None = None


class SecretEnvSource(Struct):
    """All entries of a Secret as variables."""

    name: str = ""
    optional: bool | None = None


class EnvFromSource(Struct):
    """Variables from a whole ConfigMap or Secret."""

    prefix: str = ""
    config_map_ref: ConfigMapEnvSource | None = None
    secret_ref: SecretEnvSource | None = None


class ConfigMapKeySelector(Struct):
    """One entry of a ConfigMap."""

    ATOMIC: ClassVar[bool] = True
    name: str = ""
    key: str = zero(str)
    optional: bool | None = None


class FileKeySelector(Struct):
    """One variable in a file that an init container wrote."""

    ATOMIC: ClassVar[bool] = True
    volume_name: str = zero(str)
    path: str = zero(str)
    key: str = zero(str)
    optional: bool | None = None


class SecretKeySelector(Struct):
    """One entry of a Secret."""

    ATOMIC: ClassVar[bool] = True
    name: str = ""
    key: str = zero(str)
    optional: bool | None = None


class EnvVarSource(Struct):
    """Where a variable's value comes from."""

    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    config_map_key_ref: ConfigMapKeySelector | None = None
    secret_key_ref: SecretKeySelector | None = None
    file_key_ref: FileKeySelector | None = None


class EnvVar(Struct):
    """An environment variable."""

    name: str = zero(str)
    value: str = ""
    value_from: EnvVarSource | None = None


class ExecAction(Struct):
    """A command run in the container."""

    command: Annotated[list[str], list_atomic()] = []


class HTTPHeader(Struct):
    """One header of a probe's request."""

    name: str = zero(str)
    value: str = zero(str)


class HTTPGetAction(Struct):
    """A request that must be answered with success."""

    path: str = ""
    port: IntOrString = zero(int)
    host: str = ""
    scheme: str = ""
    http_headers: Annotated[list[HTTPHeader], list_atomic()] = []


class SleepAction(Struct):
    """A pause."""

    seconds: int = zero(int)


class TCPSocketAction(Struct):
    """A port that must accept connections."""

    port: IntOrString = zero(int)
    host: str = ""


class LifecycleHandler(Struct):
    """What a hook does: exactly one of its members."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Struct):
    """Hooks after the start and before the stop of a container."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None
    stop_signal: str | None = None


class GRPCAction(Struct):
    """A gRPC health check."""

    port: Int32 = zero(int)
    service: str | None = None


class Probe(Struct):
    """How and how often a container's health is asked for, and what counts as an answer."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: Int32 = 0
    timeout_seconds: Int32 = 0
    period_seconds: Int32 = 0
    success_threshold: Int32 = 0
    failure_threshold: Int32 = 0
    termination_grace_period_seconds: int | None = None


class ResourceClaim(Struct):
    """A device claim of the pod that this container uses."""

    name: str = zero(str)
    request: str = ""


class ResourceRequirements(Struct):
    """What is reserved (requests) and what is allowed (limits)."""

    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}
    claims: Annotated[list[ResourceClaim], list_map("name", strategy="")] = []


class AppArmorProfile(Struct):
    """Which AppArmor profile confines a process."""

    type: str = zero(str)
    localhost_profile: str | None = None


class Capabilities(Struct):
    """Linux capabilities added to and taken from the runtime's default."""

    add: Annotated[list[str], list_atomic()] = []
    drop: Annotated[list[str], list_atomic()] = []


class SELinuxOptions(Struct):
    """The SELinux label of a process."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class SeccompProfile(Struct):
    """Which system calls are allowed."""

    type: str = zero(str)
    localhost_profile: str | None = None


class WindowsSecurityContextOptions(Struct):
    """Settings only Windows nodes know."""

    gmsa_credential_spec_name: str | None = None
    gmsa_credential_spec: str | None = None
    run_as_user_name: str | None = None
    host_process: bool | None = None


class SecurityContext(Struct):
    """As whom and with which privileges a container runs."""

    capabilities: Capabilities | None = None
    privileged: bool | None = None
    se_linux_options: SELinuxOptions | None = None
    windows_options: WindowsSecurityContextOptions | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    proc_mount: str | None = None
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class VolumeDevice(Struct):
    """A raw block device inside a container."""

    name: str = zero(str)
    device_path: str = zero(str)


class VolumeMount(Struct):
    """A volume inside a container."""

    name: str = zero(str)
    read_only: bool = False
    recursive_read_only: str | None = None
    mount_path: str = zero(str)
    sub_path: str = ""
    mount_propagation: str | None = None
    sub_path_expr: str = ""


class Container(Struct):
    """A container of a pod."""

    name: str = zero(str)
    image: str = ""
    command: Annotated[list[str], list_atomic()] = []
    args: Annotated[list[str], list_atomic()] = []
    working_dir: str = ""
    ports: Annotated[list[ContainerPort], list_map("containerPort", "protocol")] = []
    env_from: Annotated[list[EnvFromSource], list_atomic()] = []
    env: Annotated[list[EnvVar], list_map("name")] = []
    resources: ResourceRequirements = zero(ResourceRequirements)
    resize_policy: Annotated[list[ContainerResizePolicy], list_atomic()] = []
    restart_policy: str | None = None
    restart_policy_rules: Annotated[list[ContainerRestartRule], list_atomic()] = []
    volume_mounts: Annotated[list[VolumeMount], list_map("mountPath")] = []
    volume_devices: Annotated[list[VolumeDevice], list_map("devicePath")] = []
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    image_pull_policy: str = ""
    security_context: SecurityContext | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


class EphemeralContainer(Struct):
    """A container added to a running pod to look around in it."""

    name: str = zero(str)
    image: str = ""
    command: Annotated[list[str], list_atomic()] = []
    args: Annotated[list[str], list_atomic()] = []
    working_dir: str = ""
    ports: Annotated[list[ContainerPort], list_map("containerPort", "protocol")] = []
    env_from: Annotated[list[EnvFromSource], list_atomic()] = []
    env: Annotated[list[EnvVar], list_map("name")] = []
    resources: ResourceRequirements = zero(ResourceRequirements)
    resize_policy: Annotated[list[ContainerResizePolicy], list_atomic()] = []
    restart_policy: str | None = None
    restart_policy_rules: Annotated[list[ContainerRestartRule], list_atomic()] = []
    volume_mounts: Annotated[list[VolumeMount], list_map("mountPath")] = []
    volume_devices: Annotated[list[VolumeDevice], list_map("devicePath")] = []
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    image_pull_policy: str = ""
    security_context: SecurityContext | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    target_container_name: str = ""
