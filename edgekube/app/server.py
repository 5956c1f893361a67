"""A server, put together: store, certificates, API, controllers and, unless left out, this machine's node and network.

Phases start in this order and stop in the other; each says one line. /readyz is about the control plane, systemd hears READY=1
when the node works too.
What a phase does is its room's business; here is only who gets what.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from edgekube.app import membership, outward
from edgekube.app import pki as certificates
from edgekube.app.config import ServerConfig, own_address
from edgekube.app.notify import notify, watchdog
from edgekube.app.signals import first_reason, wait_for_stop
from edgekube.app.tunnelling import let_agents_in
from edgekube.app.volumeremoval import removing
from edgekube.client import kubeconfig
from edgekube.client.local import LocalClient
from edgekube.clock import TrustedClock
from edgekube.errors import EdgekubeError, EnvironmentError_, ServiceUnavailable
from edgekube.net.exchange import Exchange, Handler
from edgekube.net.listener import OpenConnections, serving
from edgekube.net.nodegate import NodeGate
from edgekube.net.tls import ServerTls
from edgekube.server.admission import catalog as admission
from edgekube.server.apiserver import ApiServer, Settings
from edgekube.server.auth.assembly import Auth, open_auth
from edgekube.server.auth.authentication import administrator
from edgekube.server.auth.bootstrap import keep_aggregated, put_in_place
from edgekube.server.auth.jwt import Signer
from edgekube.server.auth.serviceaccounts import ServiceAccountTokens
from edgekube.server.auth.token_secrets import keep_token_secrets
from edgekube.server.context import User
from edgekube.server.expiry import expire_events
from edgekube.server.fairness_status import keep_statuses
from edgekube.server.joining import Pages
from edgekube.server.subresources.streaming import connectors
from edgekube.store.interface import Store
from edgekube.store.sealing import load_sealer
from edgekube.store.sqlite import open_store

LOG = logging.getLogger("edgekube.server")
DRAIN_S = 5.0
MASTERS = ("system:masters", "system:authenticated")
SEALED = frozenset({"/secrets"})
OWN_PATHS = ("/edgekube/", "/cacerts")
JSON, JWKS = "application/json", "application/jwk-set+json"


@dataclass(slots=True)
class Running:
    """What the phases hand on to each other."""

    config: ServerConfig
    clock: TrustedClock
    api: ApiServer
    pki: certificates.Pki
    address: str
    port: int
    gates: dict[str, NodeGate]  # by node name: how the server reaches into nodes
    pages: Pages  # what is answered beside the API; add handlers by path to `pages.pages`
    report_s: float = 300.0  # as upstream

    def lease_kept(self) -> bool:
        """Our own node renews its Lease itself."""
        return False

    def moved(self) -> None:
        """Clients come to names and addresses they were given; nothing here runs over our own."""

    def client(self, user: str, manager: str) -> LocalClient:
        """The API in this process, as one of our own components."""
        return LocalClient(self.api.verbs, User(user, MASTERS), manager=manager)


def serve(config: ServerConfig) -> int:
    """Run a server until a signal; the exit status. Raises EdgekubeError when it cannot start."""
    try:
        trio.run(_main, config, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        raise first_reason(group) from group
    return 0


async def _main(config: ServerConfig) -> None:
    stop, started = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(wait_for_stop, nursery.cancel_scope, stop, started)
        nursery.start_soon(watchdog)
        async with AsyncExitStack() as stack:
            await _start(config, stack)
            started.set()
            notify("READY=1")
            LOG.info("ready")
            await stop.wait()
            notify("STOPPING=1")
            LOG.info("stopping; containers keep running")
        nursery.cancel_scope.cancel()


async def _start(config: ServerConfig, stack: AsyncExitStack) -> None:
    _prepare(config)
    running = await stack.enter_async_context(_api(config))
    ready = trio.Event()
    running.api.health.add("phases", lambda: None if ready.is_set() else "still starting", only_ready=True)
    await stack.enter_async_context(_controllers(running))
    ready.set()  # the control plane is; whether the node is, its Node object says
    if not config.disable_agent:
        from edgekube.app.agent import node_and_network

        await stack.enter_async_context(node_and_network(running))


def _prepare(config: ServerConfig) -> None:
    if not config.disable_agent and os.geteuid() != 0:
        raise EnvironmentError_("running containers needs root; --disable-agent runs the control plane alone")
    # nft, ip, runc and conntrack live where an ordinary user's PATH does not lead.
    paths = os.environ.get("PATH", "").split(":")
    os.environ["PATH"] = ":".join([*paths, *(path for path in ("/usr/sbin", "/sbin") if path not in paths)])
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentError_(f"--data-dir {config.data_dir}: {error.strerror}") from error


@asynccontextmanager
async def _api(config: ServerConfig) -> AsyncIterator[Running]:
    """Store, certificates and the listening API."""
    clock, data = TrustedClock(config.data_dir / "time"), config.data_dir
    address = config.node_ip or own_address()
    advertised = config.advertise_address or address
    sealer = load_sealer(data / "pki" / "secrets.key", SEALED)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(data / "store.db", sealer=sealer))
        LOG.info("the store is open at revision %d", store.revision)
        pki = certificates.open_pki(data / "pki", clock)
        names = certificates.serving_names(
            node_name=config.node_name,
            addresses=sorted({address, advertised} - {""}),
            service_address=config.api_service_ip,
            domain=config.cluster_domain,
            extra=config.tls_san,
        )
        certificates.ensure_server(pki, names)
        authorities = (pki.certificate("client-ca"), pki.certificate("request-header-ca"))
        tls = ServerTls(pki.certificate("serving-api"), pki.key("serving-api"), authorities)
        door, opened = _Door(), OpenConnections()
        port = await stack.enter_async_context(
            serving(
                door.handle,
                hosts=_hosts(config),
                port=config.https_listen_port,
                ssl_context=tls.context,
                drain_s=DRAIN_S,
                clock=clock,
                connections_open=opened,
            )
        )
        gates: dict[str, NodeGate] = {}
        api, auth = await _api_server((config, store, pki, clock), (advertised, port), gates, stack)
        own = "" if config.disable_agent else config.node_name
        await let_agents_in(api, auth, gates, door.handle, opened, own=own)
        pages = membership.pages(config, pki, clock, auth, api)
        running = Running(config, clock, api, pki, advertised, port, gates, pages)
        await api.bootstrap()
        await put_in_place(running.client("system:apiserver", "kube-apiserver"))
        await outward.publish(api, pki)
        await membership.publish(api, pki, f"https://{advertised}:{port}")
        door.open(api.handle, pages)
        LOG.info("the API answers at https://%s:%d", advertised, port)
        _write_kubeconfigs(config, pki, advertised, port)

        async def taken_up() -> None:
            tls.reload()
            _write_kubeconfigs(config, pki, advertised, port)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(certificates.keep_renewed, pki, lambda: names, taken_up)
            nursery.start_soon(expire_events, store, clock)
            nursery.start_soon(clock.keep)
            nursery.start_soon(membership.end_what_is_over, store, opened, auth)
            loops = running.client("system:apiserver", "kube-controller-manager")
            await nursery.start(api.custom.run)
            await nursery.start(api.aggregation.run)
            await nursery.start(keep_statuses, api.registry)
            await nursery.start(keep_aggregated, loops)
            tokens = ServiceAccountTokens(store, Signer(pki.service_account_key), clock)
            authority = pki.certificate("server-ca").read_bytes()
            await nursery.start(keep_token_secrets, loops, tokens, authority)
            yield running
            nursery.cancel_scope.cancel()


class _Door:
    """The port is bound first (it may be any free one); requests wait until there is an API."""

    def __init__(self) -> None:
        self._opened = trio.Event()
        self._handler: Handler | None = None
        self._pages: Pages | None = None

    def open(self, handler: Handler, pages: Pages) -> None:
        """Let everybody in."""
        self._handler, self._pages = handler, pages
        self._opened.set()

    async def handle(self, exchange: Exchange) -> None:
        """A `net.exchange.Handler`."""
        await self._opened.wait()
        assert self._handler is not None
        assert self._pages is not None
        if not exchange.request.path.startswith(OWN_PATHS) or not await self._pages.handle(exchange):
            await self._handler(exchange)


def _hosts(config: ServerConfig) -> Sequence[str]:
    return ("",) if config.bind_address in ("0.0.0.0", "::") else (config.bind_address,)


async def _api_server(
    running: tuple[ServerConfig, Store, certificates.Pki, TrustedClock],
    advertised: tuple[str, int],
    gates: dict[str, NodeGate],
    stack: AsyncExitStack,
) -> tuple[ApiServer, Auth]:
    """The API with who may do what, and its way into nodes."""
    config, store, pki, clock = running
    auth = await stack.enter_async_context(
        open_auth(
            store,
            clock,
            client_ca=pki.certificate("client-ca").read_bytes(),
            signing_key=pki.service_account_key,
            static_tokens={config.token: administrator()} if config.token else {},
            issuer=f"https://kubernetes.default.svc.{config.cluster_domain}",
            certain=clock.certain,
            request_header_ca=pki.certificate("request-header-ca").read_bytes(),
            hooks=outward.oidc(config, clock, stack),
        )
    )
    host, port = advertised
    address = f"{host}:{port}"
    settings = Settings(
        service_cidr=str(config.service_cidr),
        node_ports=config.service_node_port_range,
        advertise_address=host,
        port=port,
        openapi_directory=config.data_dir / "openapi",
        started_s=time.time(),
        extra_documents={
            "/.well-known/openid-configuration": lambda: (JSON, json.dumps(auth.tokens.discovery(address)).encode()),
            "/openid/v1/jwks": lambda: (JWKS, json.dumps(auth.tokens.key_set()).encode()),
        },
    )
    api = ApiServer(
        store,
        authenticator=auth.authentication,
        authorizer=auth.authorization,
        clock=clock,
        settings=settings,
        special=auth.special,
        admission=(*admission.built_in(clock, settings), *auth.steps),
    )

    def gate(node: str) -> NodeGate:
        if node not in gates:
            raise ServiceUnavailable(f"node {node} is not connected", details=False)
        return gates[node]

    api.resources.connectors.update(connectors(api.registry.cluster, gate))
    await outward.equip(api, config, pki, gate, stack)
    return api, auth


def _write_kubeconfigs(config: ServerConfig, pki: certificates.Pki, advertised: str, port: int) -> None:
    """The administrator's kubeconfig, and the same merged into that of the person behind sudo."""
    reachable = "127.0.0.1" if config.bind_address in ("0.0.0.0", "127.0.0.1", "::") else config.bind_address
    access = kubeconfig.Access(
        server=f"https://{reachable}:{port}",
        ca=pki.certificate("server-ca").read_bytes(),
        certificate=pki.certificate("client-admin").read_bytes(),
        key=pki.key("client-admin").read_bytes(),
    )
    try:
        kubeconfig.write(config.write_kubeconfig, kubeconfig.render(access))
    except OSError as error:
        raise EnvironmentError_(f"--write-kubeconfig {config.write_kubeconfig}: {error.strerror}") from error
    person, home = os.environ.get("SUDO_UID"), os.environ.get("SUDO_USER")
    if person and home and os.geteuid() == 0 and not os.environ.get("EDGEKUBE_NO_KUBECONFIG_MERGE"):
        import pwd

        try:
            entry = pwd.getpwuid(int(person))
            target = Path(entry.pw_dir) / ".kube" / "config"
            kubeconfig.merge_into(target, access, "edgekube", (entry.pw_uid, entry.pw_gid))
        except (KeyError, OSError, EdgekubeError) as error:
            LOG.warning("the kubeconfig of %s was left as it is: %s", home, error)


@asynccontextmanager
async def _controllers(running: Running) -> AsyncIterator[None]:
    """Controllers and scheduler, each loop supervised."""
    from edgekube.control.config import Config
    from edgekube.control.manager import Health, run_controllers
    from edgekube.control.scheduler import profiles

    config, health = running.config, Health()
    pki, gates = running.pki, running.gates
    settings = Config(
        ca_certificate=pki.certificate("server-ca").read_text(),
        cluster_cidr=str(config.cluster_cidr),
        service_cidr=str(config.service_cidr),
        api_addresses=(running.address,),
        api_port=running.port,
        node_grace_s=config.node_monitor_grace_period,
        own_node="" if config.disable_agent else config.node_name,
        sign=membership.signing(pki),
        connected=lambda node: node in gates,
        remove_volume=removing(gates),
        manifests_dir=config.data_dir / "manifests",
        scheduler_profiles=profiles.read_file(config.data_dir / "scheduler.yaml"),
    )
    running.api.health.add("controllers", health.summary, only_ready=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                run_controllers,
                running.client("system:kube-controller-manager", "kube-controller-manager"),
                running.clock,
                settings,
                health=health,
                scheduler_client=running.client("system:kube-scheduler", "kube-scheduler"),
            )
        )
        LOG.info("controllers and scheduler run")
        yield
        nursery.cancel_scope.cancel()
