# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds the hub from its configuration and runs its loops.

Each flow is a tick that reads its state from database and nodes; a tick that
fails is logged and comes again. No loop ends before the hub does.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from channel import ChannelFiles
from hub.api.legacy import build_app, commands, tls_context
from hub.api.legacy_guarded import Doors
from hub.api.legacy_tokens import TokenGate, require_key
from hub.attachments import Attacher, AttachmentSettings
from hub.books_watch import BooksWatch
from hub.clock import Clock, system_clock_ms
from hub.config import Config, listen_address, read_secret
from hub.deposits import DepositMonitor
from hub.errors import ConfigError, FaultError, HubError, InvariantError
from hub.holder import held_name
from hub.leases import Lease, run_leased
from hub.model import HeadToken
from hub.nodes import Nodes
from hub.pow import (
    FallbackProofOfWork,
    LocalProofOfWork,
    ProofOfWork,
    RemoteProofOfWork,
)
from hub.recovery import Recoveries, RecoverySettings
from hub.signer import Signer, SignerSettings
from hub.store import Store
from hub.store.engine import DatabaseOptions
from hub.sweep_plan import SweepLimits
from hub.sweeps import Sweeper
from hub.tangle import BundleDesk

_log = logging.getLogger(__name__)

_MILLISECONDS: Final = 1000
_REFUSED_WAIT_MS: Final = 3_600_000
_STATUS_S: Final = 30.0
_STATUS_RETRY_S: Final = 1.0
_STATEMENT_TIMEOUT_S: Final = 30.0


class StoredHeads:
    """The highest head token of the appliance, kept in the database.

    Args:
        store: The database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self) -> HeadToken | None:
        """Return the highest token stored."""
        async with self._store.reading() as tx:
            return await tx.head.get()

    async def remember(self, token: HeadToken) -> None:
        """Store a token if it is the highest; durable on return."""
        await self._store.run(lambda tx: tx.head.remember(token))


@dataclass(frozen=True, slots=True)
class Hub:
    """Every part of a running hub.

    Attributes:
        config: Its configuration.
        store: The database, migrated.
        nodes: The quorum.
        signer: The appliance.
        deposits: The deposit monitor.
        sweeps: The sweep planner.
        attachments: The attachment service.
        doors: What of the guarded legacy commands is switched on.
        books: The watch over the books.
        leases: What each flow's writes must hold, by its name; empty: nothing.
    """

    config: Config
    store: Store
    nodes: Nodes
    signer: Signer
    deposits: DepositMonitor
    sweeps: Sweeper
    attachments: Attacher
    doors: Doors
    books: BooksWatch
    leases: Mapping[str, Lease]


def open_store(
    config: Config,
    *,
    clock: Clock = system_clock_ms,
    statement_timeout_s: float = _STATEMENT_TIMEOUT_S,
) -> Store:
    """Make the store a configuration names; nothing is opened yet.

    Args:
        config: What the hub is.
        clock: The time.
        statement_timeout_s: How long one statement may take, in seconds.

    Returns:
        The store; close it.
    """
    section = config.hub
    file = section.database_password_file
    options = DatabaseOptions(
        password=read_secret(file) if file else "",
        ca=section.database_ca,
        pool_size=section.database_pool_size,
        statement_timeout_s=statement_timeout_s,
    )
    return Store(section.database_url, clock=clock, options=options)


@contextlib.asynccontextmanager
async def open_hub(
    config: Config,
    *,
    clock: Clock = system_clock_ms,
    desk: BundleDesk | None = None,
    holder: str = "",
) -> AsyncIterator[Hub]:
    """Build a hub and open its connections; runs no loop.

    Args:
        config: What it is.
        clock: The time.
        desk: One that several hubs of one program share and the caller closes; by
            default the hub has its own.
        holder: The name under which the flows take their leases; empty for a program
            that runs them by hand and is alone.

    Yields:
        The hub; everything is closed when the block ends.
    """
    async with contextlib.AsyncExitStack() as stack:
        store = open_store(config, clock=clock)
        stack.push_async_callback(store.close)
        await store.migrate()
        signer = await stack.enter_async_context(
            Signer(_signer_settings(config), StoredHeads(store))
        )
        nodes = await stack.enter_async_context(
            Nodes(
                [(node.url, node.dialect) for node in config.nodes.endpoints],
                quorum=config.nodes.quorum,
                timeout_s=config.nodes.timeout_s,
                clock_ms=clock,
            )
        )
        if desk is None:
            desk = BundleDesk()
            stack.callback(desk.close)
        leases = _leases(config, store, holder) if holder else {}
        of = {name: store.fenced(lease) for name, lease in leases.items()}
        yield Hub(
            config,
            store,
            nodes,
            signer,
            DepositMonitor(
                of.get("deposits", store),
                nodes,
                credit=config.deposits.credit,
                keep_messages=config.deposits.keep_messages,
            ),
            _sweeper(config, of.get("sweeps", store), nodes, signer, desk, clock),
            _attacher(config, of.get("attachments", store), nodes, clock),
            _doors(config, store, nodes, signer, desk, clock),
            BooksWatch(
                of.get("books", store),
                postings=config.books.postings,
                balances=config.books.balances,
            ),
            leases,
        )


async def run_hub(config: Config, *, ready: Callable[[str], None]) -> None:
    """Serve and run every loop until cancelled.

    Args:
        config: What the hub is.
        ready: Told the API's URL once it accepts connections.
    """
    async with contextlib.AsyncExitStack() as stack:
        holder = stack.enter_context(held_name(config.hub.state_dir))
        hub = await stack.enter_async_context(open_hub(config, holder=holder))
        runner, url = await _start_legacy_api(hub)
        stack.push_async_callback(runner.cleanup)
        async with asyncio.TaskGroup() as loops:
            loops.create_task(_watch_appliance(hub.signer))
            for name, (tick, interval_s) in _flows(hub).items():
                loop = run_leased(
                    hub.leases[name],
                    partial(one_round, name, tick, interval_s=interval_s),
                    interval_s=interval_s,
                )
                loops.create_task(loop)
            ready(url)


def _flows(hub: Hub) -> dict[str, tuple[Callable[[], Awaitable[object]], float]]:
    """Return what runs on one hub at a time: a tick and its pause in seconds."""
    config = hub.config
    return {
        "deposits": (hub.deposits.tick, config.deposits.interval_s),
        "sweeps": (partial(_sweep, hub), config.sweeps.interval_s),
        "attachments": (hub.attachments.tick, config.attachments.interval_s),
        "books": (hub.books.tick, config.books.interval_s),
    }


async def _sweep(hub: Hub) -> None:
    """Plan and ask for signatures, but for none while the books are latched."""
    async with hub.store.looking() as tx:
        await tx.books.require_open()
    await hub.sweeps.tick()


def _leases(config: Config, store: Store, holder: str) -> dict[str, Lease]:
    names = ("deposits", "sweeps", "attachments", "books")
    duration_s = config.hub.lease_s
    return {
        name: Lease(store, name, holder=holder, duration_s=duration_s) for name in names
    }


async def one_round(
    name: str, tick: Callable[[], Awaitable[object]], *, interval_s: float
) -> None:
    """Run one round of a flow; no failure of it ends the flow's loop.

    Args:
        name: Of the flow, for the log.
        tick: The round.
        interval_s: Pause until the next one, for the log; in seconds.
    """
    try:
        await tick()
    except FaultError as error:
        _log.warning(
            "%s: %s (%s); next try in %s s", name, error, error.code, interval_s
        )
    except InvariantError:
        _log.critical("%s: a belief is broken, look into it", name, exc_info=True)
    except HubError:
        _log.exception("%s failed; it goes on", name)
    except Exception:  # noqa: BLE001 - a loop that ends is worse than any of them
        _log.exception("%s failed unexpectedly; it goes on", name)


async def _watch_appliance(signer: Signer) -> None:
    """Keep asking: the first answer brings a head token, each one anchors a restart."""
    said = ""
    while True:
        try:
            report = await signer.status()
        except Exception as error:  # noqa: BLE001 - no failure may end the hub
            _log.warning("appliance: %s", error)
            said = ""
        else:
            if report.state != said:
                _log.info("appliance %s: %s", report.state, report.reason or "can sign")
            said = report.state
        await asyncio.sleep(_STATUS_S if said == "ready" else _STATUS_RETRY_S)


async def _start_legacy_api(hub: Hub) -> tuple[web.AppRunner, str]:
    section = hub.config.api.legacy
    table = commands(hub.store, issuer=hub.signer, oracle=hub.nodes, doors=hub.doors)
    runner = web.AppRunner(build_app(section, table), access_log=None)
    await runner.setup()
    host, port = listen_address(section.listen)
    context = tls_context(section)
    try:
        await web.TCPSite(runner, host, port, ssl_context=context).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"[api.legacy] listen: {error}") from error
    scheme = "https" if context else "http"
    return runner, f"{scheme}://{host}:{runner.addresses[0][1]}"


def _signer_settings(config: Config) -> SignerSettings:
    section = config.appliance
    return SignerSettings(
        url=section.url,
        files=ChannelFiles(
            section.ca,
            section.certificate,
            section.key,
            section.server_spki_sha256,
            section.next_server_spki_sha256,
        ),
        identity_key=section.identity_key,
        network=config.hub.network,
        timeout_s=section.timeout_s,
    )


def _sweeper(
    config: Config,
    store: Store,
    nodes: Nodes,
    signer: Signer,
    desk: BundleDesk,
    clock: Clock,
) -> Sweeper:
    section = config.sweeps
    return Sweeper(
        store,
        nodes,
        signer,
        desk,
        limits=SweepLimits(
            section.max_withdrawals, section.max_deposits, section.max_hub_inputs
        ),
        refused_wait_ms=_REFUSED_WAIT_MS,
        clock=clock,
    )


def _doors(
    config: Config,
    store: Store,
    nodes: Nodes,
    signer: Signer,
    desk: BundleDesk,
    clock: Clock,
) -> Doors:
    section = config.api.legacy
    tokens = recoveries = None
    if section.sign_bundle and section.token_key_file is not None:
        key = require_key(read_secret(section.token_key_file))
        used = config.hub.state_dir / "used-tokens"
        tokens = TokenGate(key, used, clock=clock)
    if section.recover_funds:
        recoveries = Recoveries(
            store,
            nodes,
            signer,
            desk,
            _work(config, nodes, clock),
            settings=RecoverySettings(
                config.hub.state_dir / "recoveries",
                section.mining_tries,
                config.attachments.depth,
            ),
            clock=clock,
        )
    return Doors(signer, nodes, tokens, recoveries)


def _work(config: Config, nodes: Nodes, clock: Clock) -> ProofOfWork:
    section = config.attachments
    weight = section.min_weight_magnitude
    local = LocalProofOfWork(min_weight_magnitude=weight, clock_ms=clock)
    if section.pow == "remote":
        remote = RemoteProofOfWork(nodes, min_weight_magnitude=weight)
        return FallbackProofOfWork([remote, local])
    return local


def _attacher(config: Config, store: Store, nodes: Nodes, clock: Clock) -> Attacher:
    section = config.attachments
    return Attacher(
        store,
        nodes,
        _work(config, nodes, clock),
        settings=AttachmentSettings(
            section.depth, section.max_promotion_age_s * _MILLISECONDS
        ),
        clock=clock,
    )
