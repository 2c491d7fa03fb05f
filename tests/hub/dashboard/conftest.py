# SPDX-License-Identifier: Apache-2.0
"""A dashboard on a real socket over a real database, and a browser of few words."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from argon2 import PasswordHasher

from hub.api.dashboard.app import Dashboard
from hub.api.dashboard.visits import Ports
from hub.config import DashboardSection
from hub.model import BundleHash, TransactionHash
from hub.operators import Role
from hub.passwords import Passwords
from hub.publisher import Publisher
from hub.store import Store
from hub.store.audit import Done
from tests.hub.bookkeeping import ManualClock
from tests.hub.databases import Sqlite

CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def csrf(self) -> str:
        found = re.search('name="csrf" value="([0-9a-f]{64})"', self.text)
        assert found is not None, self.text
        return found[1]


@dataclass
class Browser:
    """Keeps cookies, follows no redirection, and says where its forms are from."""

    url: str
    session: aiohttp.ClientSession

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        async with self.session.get(
            self.url + path, headers=headers, allow_redirects=False
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.text())

    async def post(
        self,
        path: str,
        form: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        sent = {"Origin": self.url} if headers is None else headers
        async with self.session.post(
            self.url + path, data=form, headers=sent, allow_redirects=False
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.text())

    async def log_in(self, name: str, password: str = PASSWORD) -> Reply:
        return await self.post("/login", {"name": name, "password": password})

    @property
    def token(self) -> str:
        return next(c.value for c in self.session.cookie_jar if c.key == "saltkeep")


@dataclass
class World:
    """A dashboard and what stands behind it."""

    url: str
    store: Store
    clock: ManualClock
    publisher: Publisher
    dashboard: Dashboard
    reattached: list[BundleHash] = field(default_factory=list)
    browsers: list[Browser] = field(default_factory=list)

    def stranger(self) -> Browser:
        jar = aiohttp.CookieJar(unsafe=True)  # takes cookies of an IP address
        browser = Browser(self.url, aiohttp.ClientSession(cookie_jar=jar))
        self.browsers.append(browser)
        return browser

    async def browser(self, role: Role) -> Browser:
        """Return the browser of somebody who is logged in."""
        name = f"one-{role.value}"
        hashed = await CHEAP.hash(PASSWORD)

        async with self.store.reading() as tx:
            known = await tx.operators.find(name)
        if known is None:
            await self.store.run(
                lambda tx: tx.operators.add(name, role=role, password_hash=hashed)
            )
        browser = self.stranger()
        assert (await browser.log_in(name)).status == 303
        return browser

    async def audit(self) -> list[tuple[str, str, str]]:
        async with self.store.reading() as tx:
            lines = await tx.audit.page(before_id=None, limit=100)
        return [(one.actor, one.operation, one.subject) for one in lines]


@pytest.fixture
def databases(sqlite: Sqlite) -> Sqlite:
    """SQLite alone: the queries are tried on both with the store."""
    return sqlite


@pytest.fixture
def database_url(databases: Sqlite) -> Iterator[str]:
    url = databases.migrated()
    yield url
    databases.drop(url)


@pytest.fixture
async def world(store: Store, clock: ManualClock) -> AsyncGenerator[World]:
    publisher = Publisher(store, interval_s=0.05)
    reattached: list[BundleHash] = []

    async def synced() -> None:
        pass

    async def reattach(name: BundleHash, done: Done) -> TransactionHash:
        await store.run(lambda tx: tx.audit.add(done))
        reattached.append(name)
        return TransactionHash("T" * 81)

    ports = Ports(
        store=store,
        publisher=publisher,
        clock=clock,
        network="devnet",
        synced=synced,
        node_health=list,
        appliances=lambda: {"https://box:9443": None},
        certificates={},
        held_flows=lambda: {"sweeps": True},
        reattach=reattach,
    )
    section = DashboardSection(heartbeat_s=0.2)
    dashboard = Dashboard(section, ports, passwords=CHEAP)
    server = TestServer(dashboard.application(), skip_url_asserts=True)
    async with server:
        url = str(server.make_url("")).rstrip("/")
        made = World(url, store, clock, publisher, dashboard, reattached)
        publishing = asyncio.create_task(_publish(publisher))
        try:
            yield made
        finally:
            publishing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await publishing
            for browser in made.browsers:
                await browser.session.close()


async def _publish(publisher: Publisher) -> None:
    while True:
        await publisher.tick()
