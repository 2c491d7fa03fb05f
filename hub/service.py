# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds the hub from its configuration and runs its loops.

Each flow is a tick that reads its state from database and nodes; a tick that
fails is logged and comes again. No loop ends before the hub does.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from firmware_bridge.engines.iccfpga import IccFpga
from hub import tracing
from hub.address_pool import AddressPool
from hub.address_rounds import STEP_S, AddressRounds, RoundSettings
from hub.api import legacy
from hub.api.dashboard.app import Dashboard
from hub.api.dashboard.visits import Ports as DashboardPorts
from hub.api.grpc_server import GrpcApi
from hub.api.legacy_commands import commands
from hub.api.legacy_guarded import Doors
from hub.api.legacy_history import HistoryCommands
from hub.api.legacy_tokens import TokenGate, require_key
from hub.api.listener import start_listener
from hub.api.v1 import app as v1
from hub.appliance_path import auditor_section, carrier_of
from hub.appliances import Appliances
from hub.attachments import Attacher, AttachmentSettings
from hub.bell import EarlyRounds
from hub.books_watch import BooksWatch
from hub.clock import Clock, system_clock_ms
from hub.config import Config, read_secret, read_webhook_key
from hub.deposit_monitor import DepositMonitor
from hub.deposits import AddressLooks
from hub.errors import FaultError, HubError, InvariantError
from hub.explainer import Explainer
from hub.files import certificates_of
from hub.hints import listen_for_ever
from hub.hints_mqtt import MqttSource
from hub.hints_zmq import ZmqSource
from hub.holder import held_name
from hub.instruments import timed_round
from hub.key_pair import pairs_of
from hub.leases import Lease, run_leased
from hub.metrics import Condition, Sources
from hub.model import HeadToken
from hub.nodes import Nodes
from hub.passwords import Passwords
from hub.pow import (
    CheckedProofOfWork,
    LocalProofOfWork,
    ProofOfWork,
    RemoteProofOfWork,
)
from hub.pow_iccfpga import IccFpgaProofOfWork
from hub.publisher import Publisher
from hub.reconciler import Reconciler
from hub.recovery import Recoveries, RecoverySettings
from hub.signer import HeadBook, Signer, SignerSettings
from hub.store import Store
from hub.store.engine import DatabaseOptions
from hub.surroundings import LOOK_S, Surroundings
from hub.sweep_plan import SweepLimits
from hub.sweeps import Sweeper
from hub.tangle import BundleDesk
from hub.webhooks import Cleaner, Webhooks, WebhookSettings
from hub.withdrawal_rules import WithdrawalRules

_log = logging.getLogger(__name__)

_MILLISECONDS: Final = 1000
_REFUSED_WAIT_MS: Final = 3_600_000
_CLEAN_S: Final = 3600.0
_NO_PAUSE_S: Final = 0.01
"""The publisher pauses by itself, until it is woken."""
_LOOK_S: Final = 0.2
"""How often a hub looks whether another one has published events."""
_STATUS_S: Final = 30.0
_STATUS_RETRY_S: Final = 1.0
LEASED: Final = (
    "deposits",
    "address rounds",
    "sweeps",
    "attachments",
    "books",
    "reconciler",
    "events",
    "webhooks",
    "clean-up",
)
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
        signer: The appliances.
        pool: Addresses kept ready.
        deposits: The deposit monitor.
        rounds: The look at every address in its turn.
        sweeps: The sweep planner.
        attachments: The attachment service.
        doors: What of the guarded legacy commands is switched on.
        publisher: Gives events their positions.
        webhooks: Posts events.
        cleaner: Deletes what the API keeps no longer.
        clock: The time.
        books: The watch over the books.
        reconciler: The comparison of Tangle, books and appliance.
        leases: What each flow's writes must hold, by its name; empty: nothing.
        surroundings: Nodes and appliances, as they were seen last.
        explainer: Says why something waits.
        auditor: The appliance, as an auditor may ask it; None: no certificate.
    """

    config: Config
    store: Store
    nodes: Nodes
    signer: Appliances
    pool: AddressPool
    deposits: DepositMonitor
    rounds: AddressRounds
    sweeps: Sweeper
    attachments: Attacher
    doors: Doors
    publisher: Publisher
    webhooks: Webhooks
    cleaner: Cleaner
    clock: Clock
    books: BooksWatch
    reconciler: Reconciler
    leases: Mapping[str, Lease]
    surroundings: Surroundings
    explainer: Explainer
    auditor: Signer | None = None


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


def appliances_of(config: Config, heads: HeadBook) -> Appliances:
    """Make the signer a configuration names; nothing is opened yet.

    Args:
        config: What the hub is.
        heads: Where the highest head token is kept: the journal is one.

    Returns:
        A context that opens and closes the connections.
    """
    sections = config.appliance.every()
    settings = _signer_settings(config)
    if len(sections) > 1:
        settings = replace(settings, attempts=1)
    return Appliances(
        [Signer(settings, heads, carrier=carrier_of(one)) for one in sections]
    )


def nodes_of(config: Config, *, clock: Clock) -> Nodes:
    """Make the nodes a configuration names; nothing is opened yet.

    Args:
        config: What the hub is.
        clock: The time.

    Returns:
        A context that opens and closes their connections.
    """
    return Nodes(
        [(node.url, node.dialect) for node in config.nodes.endpoints],
        quorum=config.nodes.quorum,
        timeout_s=config.nodes.timeout_s,
        clock_ms=clock,
    )


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
            appliances_of(config, StoredHeads(store))
        )
        nodes = await stack.enter_async_context(nodes_of(config, clock=clock))
        auditor = None
        as_auditor = auditor_section(config)
        if as_auditor is not None:
            auditor = await stack.enter_async_context(
                Signer(
                    _signer_settings(config),
                    StoredHeads(store),
                    carrier=carrier_of(as_auditor),
                )
            )
        if desk is None:
            desk = BundleDesk()
            stack.callback(desk.close)
        leases = _leases(config, store, holder) if holder else {}
        of = {name: store.fenced(lease) for name, lease in leases.items()}
        webhooks = await stack.enter_async_context(
            Webhooks(of.get("webhooks", store), _webhook_settings(config), clock=clock)
        )
        surroundings = Surroundings(nodes, signer, clock=clock)
        yield Hub(
            config,
            store,
            nodes,
            signer,
            AddressPool(
                store,
                signer,
                nodes,
                target=config.addresses.ready,
                lanes=config.addresses.lanes,
            ),
            _monitor(config, of.get("deposits", store), nodes),
            _rounds(config, of.get("address rounds", store), nodes, clock),
            _sweeper(config, of.get("sweeps", store), nodes, signer, desk, clock),
            _attacher(config, of.get("attachments", store), nodes, desk, clock),
            _doors(config, store, nodes, signer, desk, clock),
            Publisher(of.get("events", store)),
            webhooks,
            Cleaner(
                of.get("clean-up", store),
                keep_log_s=config.webhooks.keep_log_s,
                clock=clock,
            ),
            clock,
            BooksWatch(
                of.get("books", store),
                postings=config.books.postings,
                balances=config.books.balances,
            ),
            Reconciler(
                of.get("reconciler", store), nodes, signer, clock=clock, journal=auditor
            ),
            leases,
            surroundings,
            Explainer(
                store,
                surroundings,
                rules=_rules(config),
                sweep_interval_ms=int(config.sweeps.interval_s * _MILLISECONDS),
                clock=clock,
            ),
            auditor,
        )


async def run_hub(config: Config, *, ready: Callable[[str], None]) -> None:
    """Serve and run every loop until cancelled.

    Args:
        config: What the hub is.
        ready: Told the APIs' URLs once they accept connections.
    """
    async with contextlib.AsyncExitStack() as stack:
        for pair in pairs_of(config).values():
            pair.settle()  # a certificate whose installation was interrupted
        await stack.enter_async_context(tracing.exporting(config.tracing))
        holder = stack.enter_context(held_name(config.hub.state_dir))
        hub = await stack.enter_async_context(open_hub(config, holder=holder))
        urls = await _start_apis(hub, stack)
        async with asyncio.TaskGroup() as loops:
            for place in hub.signer.places:
                loops.create_task(_watch_appliance(hub.signer, place))
            for name, (tick, interval_s) in _own_flows(hub).items():
                round_ = partial(one_round, name, tick, interval_s=interval_s)
                loops.create_task(_repeat(round_, interval_s=interval_s))
            early = _early_rounds(hub)
            for name, (tick, interval_s) in _flows(hub).items():
                loop = run_leased(
                    hub.leases[name],
                    partial(one_round, name, tick, interval_s=interval_s),
                    interval_s=interval_s,
                    early=early.get(name),
                )
                loops.create_task(loop)
            for source in _hint_sources(config):
                loops.create_task(listen_for_ever(source, partial(_ring, early)))
            ready(" and ".join(urls))


def _own_flows(hub: Hub) -> dict[str, tuple[Callable[[], Awaitable[object]], float]]:
    """Return what runs on every hub for itself: a tick and its pause in seconds."""
    return {
        "pool": (hub.pool.tick, hub.config.addresses.interval_s),
        "event watch": (hub.publisher.look, _LOOK_S),
        "surroundings": (hub.surroundings.tick, LOOK_S),
    }


def _flows(hub: Hub) -> dict[str, tuple[Callable[[], Awaitable[object]], float]]:
    """Return what runs on one hub at a time: a tick and its pause in seconds."""
    config = hub.config
    return {
        "deposits": (hub.deposits.tick, config.deposits.interval_s),
        "address rounds": (hub.rounds.tick, STEP_S),
        "sweeps": (partial(_sweep, hub), config.sweeps.interval_s),
        "attachments": (hub.attachments.tick, config.attachments.interval_s),
        "books": (hub.books.tick, config.books.interval_s),
        "reconciler": (hub.reconciler.tick, config.reconciler.interval_s),
        "events": (hub.publisher.tick, _NO_PAUSE_S),
        "webhooks": (hub.webhooks.tick, config.webhooks.interval_s),
        "clean-up": (hub.cleaner.tick, _CLEAN_S),
    }


def _early_rounds(hub: Hub) -> dict[str, EarlyRounds]:
    """Return what flows do when a node hints at a new milestone."""
    looks = {"deposits": hub.deposits.early, "attachments": hub.attachments.look}
    return {
        name: EarlyRounds(
            one_round=partial(one_round, name, look, interval_s=_flows(hub)[name][1]),
            least_pause_s=hub.config.nodes.hint_pause_s,
        )
        for name, look in looks.items()
    }


def _ring(early: Mapping[str, EarlyRounds]) -> None:
    for rounds in early.values():
        rounds.bell.ring()


def _hint_sources(config: Config) -> list[ZmqSource | MqttSource]:
    nodes = config.nodes.endpoints
    zmq = dict.fromkeys(node.zmq for node in nodes if node.zmq is not None)
    mqtt = dict.fromkeys(node.mqtt for node in nodes if node.mqtt is not None)
    return [*map(ZmqSource, zmq), *map(MqttSource, mqtt)]


async def _sweep(hub: Hub) -> None:
    """Plan and ask for signatures, but for none while the books are latched."""
    async with hub.store.looking() as tx:
        await tx.books.require_open()
    await hub.sweeps.tick()


def _leases(config: Config, store: Store, holder: str) -> dict[str, Lease]:
    duration_s = config.hub.lease_s
    return {
        name: Lease(store, name, holder=holder, duration_s=duration_s)
        for name in LEASED
    }


async def _repeat(round_: Callable[[], Awaitable[None]], *, interval_s: float) -> None:
    while True:
        await round_()
        await asyncio.sleep(interval_s)


async def one_round(
    name: str, tick: Callable[[], Awaitable[object]], *, interval_s: float
) -> None:
    """Run one round of a flow; no failure of it ends the flow's loop.

    Args:
        name: Of the flow, for the log.
        tick: The round.
        interval_s: Pause until the next one, for the log; in seconds.

    Raises:
        asyncio.CancelledError: If the flow was told to end, whatever became of the
            round meanwhile.
    """
    try:
        with timed_round(name):
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
    task = asyncio.current_task()
    if task is not None and task.cancelling():  # a failure on the way out hid it
        raise asyncio.CancelledError


async def _watch_appliance(signer: Appliances, place: str) -> None:
    """Keep asking: the first answer brings a head token, each one anchors a restart."""
    said = ""
    while True:
        try:
            report = await signer.status_of(place)
        except Exception as error:  # noqa: BLE001 - no failure may end the hub
            _log.warning("appliance: %s", error)
            said = ""
        else:
            if report.state != said:
                _log.info("appliance %s: %s", report.state, report.reason or "can sign")
            said = report.state
        await asyncio.sleep(_STATUS_S if said == "ready" else _STATUS_RETRY_S)


async def _start_apis(hub: Hub, listeners: contextlib.AsyncExitStack) -> list[str]:
    """Serve every API that is switched on, over one table of commands."""
    api = hub.config.api
    table = commands(
        hub.store,
        issuer=hub.signer,
        oracle=hub.nodes,
        ready=hub.pool,
        doors=hub.doors,
        rules=_rules(hub.config),
    )
    urls = []
    if api.legacy.enabled:
        app = legacy.build_app(api.legacy, table)
        runner, url = await start_listener(
            app, api.legacy.listen, api.legacy, name="api.legacy"
        )
        listeners.push_async_callback(runner.cleanup)
        urls.append(url)
    if api.grpc.enabled:
        served = GrpcApi(api.grpc, table, HistoryCommands(hub.store))
        listeners.push_async_callback(served.stop)
        urls.append(f"grpc://{await served.start()}")
    if api.v1.listen is not None:
        app = v1.build_app(api.v1, _ports(hub))
        runner, url = await start_listener(app, api.v1.listen, api.v1, name="api.v1")
        listeners.push_async_callback(runner.cleanup)
        _log.info("v1 ready on %s", url)
        urls.append(f"{url}/v1")
    if hub.config.dashboard.listen is not None:
        section = hub.config.dashboard
        app = Dashboard(
            section, dashboard_ports(hub), passwords=Passwords()
        ).application()
        runner, url = await start_listener(
            app, hub.config.dashboard.listen, section, name="dashboard"
        )
        listeners.push_async_callback(runner.cleanup)
        _log.info("dashboard on %s/", url)
    if hub.config.metrics.listen is not None:
        app = Condition(_sources(hub)).application()
        runner, url = await start_listener(
            app, hub.config.metrics.listen, hub.config.metrics, name="metrics"
        )
        listeners.push_async_callback(runner.cleanup)
        _log.info("metrics on %s/metrics", url)
    return urls


def _sources(hub: Hub) -> Sources:
    return Sources(
        store=hub.store,
        synced=hub.nodes.require_synced,
        node_health=hub.nodes.health,
        appliance=hub.signer.status,
        appliance_states=lambda: hub.signer.states,
        ready_addresses=lambda: len(hub.pool),
        held_flows=lambda: {name: one.held for name, one in hub.leases.items()},
        totals=lambda: hub.books.totals,
        certificates=certificates_of(hub.config),
    )


def dashboard_ports(hub: Hub) -> DashboardPorts:
    """Return what a dashboard asks of a hub."""
    return DashboardPorts(
        store=hub.store,
        publisher=hub.publisher,
        clock=hub.clock,
        network=hub.config.hub.network,
        synced=hub.nodes.require_synced,
        node_health=hub.nodes.health,
        appliances=lambda: hub.signer.reports,
        certificates=certificates_of(hub.config),
        held_flows=lambda: {name: one.held for name, one in hub.leases.items()},
        reattach=partial(hub.attachments.reattach, store=hub.store),
        explain_withdrawal=hub.explainer.withdrawal,
        explain_sweep=hub.explainer.sweep,
        acts=None if hub.auditor is None else hub.auditor.acts,
    )


def _ports(hub: Hub) -> v1.Ports:
    async def appliance() -> str:
        return (await hub.signer.status()).state

    return v1.Ports(
        store=hub.store,
        issuer=hub.signer,
        oracle=hub.nodes,
        ready=hub.pool,
        publisher=hub.publisher,
        appliance=appliance,
        nodes=hub.nodes.require_synced,
        node_health=hub.nodes.health,
        rules=_rules(hub.config),
        clock=hub.clock,
        explainer=hub.explainer,
    )


def _webhook_settings(config: Config) -> WebhookSettings:
    section, key_file = config.webhooks, config.api.v1.webhook_key_file
    return WebhookSettings(
        key=None if key_file is None else read_webhook_key(key_file),
        timeout_s=section.timeout_s,
        first_retry_s=section.first_retry_s,
        longest_retry_s=section.longest_retry_s,
        give_up_after_s=section.give_up_after_s,
    )


def _signer_settings(config: Config) -> SignerSettings:
    return SignerSettings(
        identity_key=config.appliance.identity_key, network=config.hub.network
    )


def _rules(config: Config) -> WithdrawalRules:
    section = config.withdrawals
    return WithdrawalRules(
        authorise_above_i=section.require_authorisation_above_i,
        approve_above_i=section.approve_above_i,
        per_user_i=section.limit_per_user_i,
        total_i=section.limit_total_i,
        window_ms=section.window_s * _MILLISECONDS,
    )


def _looks(config: Config, store: Store, nodes: Nodes) -> AddressLooks:
    section = config.deposits
    return AddressLooks(
        store, nodes, credit=section.credit, keep_messages=section.keep_messages
    )


def _monitor(config: Config, store: Store, nodes: Nodes) -> DepositMonitor:
    return DepositMonitor(store, nodes, _looks(config, store, nodes))


def _rounds(config: Config, store: Store, nodes: Nodes, clock: Clock) -> AddressRounds:
    section = config.deposits
    return AddressRounds(
        store,
        nodes,
        _looks(config, store, nodes),
        settings=RoundSettings(
            full_look_s=section.full_look_s, interval_s=section.interval_s
        ),
        clock=clock,
    )


def _sweeper(
    config: Config,
    store: Store,
    nodes: Nodes,
    signer: Appliances,
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
            max_transactions=section.max_transactions,
            kept_hub_addresses=section.kept_hub_addresses,
            max_withdrawals=section.max_withdrawals,
            max_deposits=section.max_deposits,
            max_hub_inputs=section.max_hub_inputs,
        ),
        max_unsigned=section.max_unsigned,
        rules=_rules(config),
        refused_wait_ms=_REFUSED_WAIT_MS,
        clock=clock,
    )


def _doors(
    config: Config,
    store: Store,
    nodes: Nodes,
    signer: Appliances,
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
            _work(config, nodes, desk, clock),
            settings=RecoverySettings(
                config.hub.state_dir / "recoveries",
                section.mining_tries,
                config.attachments.depth,
            ),
            clock=clock,
        )
    return Doors(signer, nodes, tokens, recoveries)


def _work(
    config: Config, nodes: Nodes, desk: BundleDesk, clock: Clock
) -> CheckedProofOfWork:
    section = config.attachments
    weight = section.min_weight_magnitude
    engines: dict[str, ProofOfWork] = {
        "local": LocalProofOfWork(min_weight_magnitude=weight, clock_ms=clock),
        "remote": RemoteProofOfWork(nodes, min_weight_magnitude=weight),
    }
    if section.iccfpga_device is not None:
        module = IccFpga(
            str(section.iccfpga_device), timeout_s=section.iccfpga_timeout_s
        )
        engines["iccfpga"] = IccFpgaProofOfWork(
            module, min_weight_magnitude=weight, clock_ms=clock
        )
    return CheckedProofOfWork([engines[name] for name in section.pow], check=desk.check)


def _attacher(
    config: Config, store: Store, nodes: Nodes, desk: BundleDesk, clock: Clock
) -> Attacher:
    section = config.attachments
    return Attacher(
        store,
        nodes,
        _work(config, nodes, desk, clock),
        settings=AttachmentSettings(
            section.depth, section.max_promotion_age_s * _MILLISECONDS
        ),
        clock=clock,
    )
