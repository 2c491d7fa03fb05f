# SPDX-License-Identifier: Apache-2.0
"""``/metrics``, ``/healthz`` and ``/readyz``: for Prometheus and load balancers.

``instruments`` counts what happens; here is what is true at the moment of a scrape:
read from the database in one snapshot, and remembered of nodes and appliances.
``/readyz`` means that a withdrawal that is asked for now would be signed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from hub.errors import ApplianceUnavailableError, BooksLatchedError, HubError
from hub.files import expiry_s
from hub.instruments import REGISTRY
from hub.node_health import NodeHealth
from hub.signer import StatusReport
from hub.store import Store
from hub.store.books_checks import Totals
from hub.store.figures import Waiting

_PROBE_S: Final = 5.0
_NAME: Final = "saltkeep_hub_"
_STATES: Final = ("ready", "unready", "starting", "sealed", "away")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a scrape asks.

    Attributes:
        store: The database.
        synced: Raises when no quorum of nodes is synchronised.
        node_health: How each node does; asks none.
        appliance: Asks the appliances; one that is ready speaks for all.
        appliance_states: The last state of each appliance, by URL.
        ready_addresses: How many addresses are kept ready.
        held_flows: Which flows run on this hub.
        totals: Both sides of the books when they were last added up here.
        certificates: Files whose expiry is told, by the setting that names them.
    """

    store: Store
    synced: Callable[[], Awaitable[object]]
    node_health: Callable[[], Sequence[NodeHealth]]
    appliance: Callable[[], Awaitable[StatusReport]]
    appliance_states: Callable[[], Mapping[str, str]]
    ready_addresses: Callable[[], int]
    held_flows: Callable[[], Mapping[str, bool]]
    totals: Callable[[], Totals | None]
    certificates: Mapping[str, Path]


class Condition:
    """Answers the three paths.

    Args:
        sources: What is asked.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def application(self) -> web.Application:
        """Build the web application."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        return app

    async def _metrics(self, _request: web.Request) -> web.Response:
        text = generate_latest(REGISTRY) + generate_latest(await self._now())
        return web.Response(
            body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "serving"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        parts = {
            "database": await _part(self._database),
            "nodes": await _part(self._sources.synced),
            "appliance": await _part(self._appliance),
        }
        ready = all(found == "ok" for found in parts.values())
        body = {"status": "ready" if ready else "not ready", **parts}
        return web.json_response(body, status=200 if ready else 503)

    async def _database(self) -> None:
        async with self._sources.store.reading() as tx:
            latched = await tx.books.latched()
        if latched:
            raise BooksLatchedError(latched)

    async def _appliance(self) -> None:
        report = await self._sources.appliance()
        if report.state != "ready":
            raise ApplianceUnavailableError(f"{report.state}: {report.reason}")

    async def _now(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        for gauge in [
            *self._of_nodes(),
            *self._of_appliances(),
            *self._of_this_hub(),
            *self._of_certificates(),
            *self._of_books(),
        ]:
            registry.register(gauge)
        for gauge in await self._of_database():
            registry.register(gauge)
        return registry

    async def _of_database(self) -> list[Gauge]:
        up = _gauge("database_up", "Whether the database answered this scrape.")
        try:
            async with asyncio.timeout(_PROBE_S), self._sources.store.reading() as tx:
                sweeps = await tx.figures.sweeps()
                withdrawals = await tx.figures.withdrawals()
                unpublished = await tx.figures.unpublished_events()
                latched = await tx.books.latched()
        except (HubError, TimeoutError):
            up.set(0)
            return [up]
        up.set(1)
        found = [
            up,
            *_waiting(
                "sweep", "sweeps not confirmed yet, since they were planned", sweeps
            ),
            *_waiting(
                "withdrawal",
                "withdrawals that no signed sweep pays yet, since they were asked for",
                withdrawals,
            ),
        ]
        events = _gauge("events_unpublished", "Events that no reader was told of.")
        events.set(unpublished)
        latch = _gauge("books_latched", "Whether no balance may change.")
        latch.set(bool(latched))
        return [*found, events, latch]

    def _of_books(self) -> Iterator[Gauge]:
        """Tell what the watch over the books has added up, where it runs here."""
        totals = self._sources.totals()
        if totals is None:
            return
        for name, what, value in (
            ("assets_iota", "All that our addresses hold.", totals.assets_i),
            ("liabilities_iota", "All that we owe.", totals.liabilities_i),
            ("accounts_below_zero", "Accounts below zero.", totals.below_zero),
        ):
            gauge = _gauge(name, what)
            gauge.set(value)
            yield gauge

    def _of_nodes(self) -> Iterator[Gauge]:
        lag = _gauge(
            "node_lag_milestones", "Milestones behind the best quorum.", "node"
        )
        failures = _gauge("node_failures", "Failures in a row.", "node")
        usable = _gauge("node_usable", "Whether its balances count.", "node")
        outvoted = _gauge(
            "node_outvoted",
            "Contradictions of a quorum since the start.",
            "node",
            "about",
        )
        for node in self._sources.node_health():
            if node.lag is not None:
                lag.labels(node.url).set(node.lag)
            failures.labels(node.url).set(node.failures)
            usable.labels(node.url).set(not node.stale and not node.failures)
            for about in ("balances", "confirmations", "diffs"):
                count = getattr(node, f"outvoted_{about}")
                outvoted.labels(node.url, about).set(count)
        yield from (lag, failures, usable, outvoted)

    def _of_appliances(self) -> Iterator[Gauge]:
        gauge = _gauge(
            "appliance_state", "1 for the state it is in.", "appliance", "state"
        )
        for url, state in self._sources.appliance_states().items():
            for one in _STATES:
                gauge.labels(url, one).set(one == state)
        yield gauge

    def _of_this_hub(self) -> Iterator[Gauge]:
        ready = _gauge("addresses_ready", "Deposit addresses kept ready here.")
        ready.set(self._sources.ready_addresses())
        held = _gauge("flow_held", "Whether this hub runs a flow.", "flow")
        for flow, is_held in self._sources.held_flows().items():
            held.labels(flow).set(is_held)
        yield from (ready, held)

    def _of_certificates(self) -> Iterator[Gauge]:
        expiry = _gauge(
            "certificate_expiry_timestamp_seconds",
            "When a certificate ends; 0: it can not be read.",
            "setting",
        )
        for setting, path in self._sources.certificates.items():
            expiry.labels(setting).set(expiry_s(path))
        yield expiry


def _waiting(kind: str, what: str, found: Sequence[Waiting]) -> Iterator[Gauge]:
    count = _gauge(f"{kind}s_waiting", f"How many {what}.", "state")
    oldest = _gauge(f"{kind}_oldest_seconds", f"Age of the oldest of {what}.", "state")
    for one in found:
        count.labels(one.state).set(one.count)
        oldest.labels(one.state).set(one.oldest_s)
    yield from (count, oldest)


def _gauge(name: str, what: str, *labels: str) -> Gauge:
    return Gauge(_NAME + name, what, labels, registry=None)


async def _part(probe: Callable[[], Awaitable[object]]) -> str:
    try:
        async with asyncio.timeout(_PROBE_S):
            await probe()
    except HubError as error:
        return f"{error.code}: {error}"
    except TimeoutError:
        return "time-out"
    return "ok"
