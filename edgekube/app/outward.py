"""What the API server needs to call out, to be called in the name of others, to believe outside issuers and to keep an audit log.

Here options become parts; what the parts do is the server room's business.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from edgekube.app.config import ServerConfig
from edgekube.app.pki import Pki
from edgekube.clock import Clock
from edgekube.errors import UsageError
from edgekube.server.aggregation import extension_config
from edgekube.server.apiserver import ApiServer
from edgekube.server.auth.authentication import TokenHook
from edgekube.server.reach import Gates


def oidc(config: ServerConfig, clock: Clock, stack: AsyncExitStack) -> tuple[TokenHook, ...]:
    """The outside issuer of tokens, if there is one. Raises UsageError."""
    if not config.oidc_issuer_url:
        return ()
    from edgekube.server.auth.oidc import OidcSettings, OidcTokens

    try:
        authorities = config.oidc_ca_file.read_bytes() if config.oidc_ca_file else b""
    except OSError as error:
        raise UsageError(f"--oidc-ca-file {config.oidc_ca_file}: {error.strerror}") from None
    settings = OidcSettings(
        issuer=config.oidc_issuer_url,
        client_id=config.oidc_client_id,
        username_claim=config.oidc_username_claim,
        username_prefix=config.oidc_username_prefix,
        groups_claim=config.oidc_groups_claim,
        groups_prefix=config.oidc_groups_prefix,
        authorities=authorities,
        required=dict(claim.partition("=")[::2] for claim in config.oidc_required_claim),
        algorithms=config.oidc_signing_algs,
    )
    tokens = OidcTokens(settings, clock)
    stack.push_async_callback(tokens.aclose)
    return (tokens,)


async def equip(api: ApiServer, config: ServerConfig, pki: Pki, gates: Gates, stack: AsyncExitStack) -> None:
    """Before the first request. Raises UsageError."""
    api.reach.gates = gates
    stack.push_async_callback(api.reach.aclose)
    api.aggregation.identity = (str(pki.certificate("client-proxy")), str(pki.key("client-proxy")))
    if config.audit_policy_file and config.audit_log_path:
        await _audit(api, config, stack)


async def _audit(api: ApiServer, config: ServerConfig, stack: AsyncExitStack) -> None:
    import trio

    from edgekube.server import audit_policy
    from edgekube.server.audit import Auditor
    from edgekube.server.audit_log import AuditFile

    assert config.audit_policy_file is not None
    policy = audit_policy.load(config.audit_policy_file)
    log = AuditFile(
        config.audit_log_path,
        megabytes=config.audit_log_maxsize,
        backups=config.audit_log_maxbackup,
        days=config.audit_log_maxage,
    )
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    await nursery.start(log.run)
    api.routes.auditor = Auditor(policy, log, api.registry.clock)


async def publish(api: ApiServer, pki: Pki) -> None:
    """Once objects can be written. Raises EdgekubeError."""
    authorities = [pki.certificate(name).read_text() for name in ("client-ca", "request-header-ca")]
    await extension_config.publish(api.registry, *authorities)
