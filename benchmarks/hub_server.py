# SPDX-License-Identifier: Apache-2.0
"""The two servers that ``benchmarks.hub`` compares, each in a process of its own.

``legacy`` and ``v1`` are the hub's APIs with its store, and a pool of ready addresses
that an appliance has filled; withdrawals have a limit in both. ``bare`` is what a
programmer would write first: aiohttp, SQLAlchemy, and one INSERT. Each has twenty
connections.
"""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Sequence

from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from hub.api.legacy import build_app
from hub.api.legacy_commands import commands
from hub.api.v1.app import Ports
from hub.api.v1.app import build_app as build_v1
from hub.clock import system_clock_ms
from hub.config import LegacyApiSection, V1ApiSection
from hub.errors import ApplianceUnavailableError
from hub.explainer import Explainer
from hub.explanation import ApplianceSeen
from hub.model import Address, IssuedAddress, SeedUuid
from hub.publisher import Publisher
from hub.store import Store
from hub.withdrawal_rules import WithdrawalRules

_POOL_SIZE = 20
_RULES = WithdrawalRules(per_user_i=1_000_000_000)
_TRYTES = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class _NoAppliance:
    async def issue(self, user_commitment: str) -> IssuedAddress:
        raise ApplianceUnavailableError(f"none here for {user_commitment}")


class _NothingSeen:
    """Nobody asks why something waits."""

    nodes = None
    appliances: tuple[ApplianceSeen, ...] = ()


class _FullPool:
    """Stands for a pool that is always filled: issuing goes on beside, at its pace."""

    def take(self) -> IssuedAddress:
        return IssuedAddress(
            address=Address(_random(_TRYTES, 80) + "9"),
            seed_uuid=SeedUuid(_random(_BASE64, 64)),
            generation=1,
            security_level=2,
            receipt="header.payload.signature",
        )


def _random(alphabet: str, length: int) -> str:
    return "".join(
        alphabet[byte % len(alphabet)] for byte in secrets.token_bytes(length)
    )


class _NothingSpent:
    """Stands for the nodes: answers at once, so that the database is what counts."""

    async def were_spent(self, addresses: Sequence[Address]) -> list[bool]:
        return [False for _ in addresses]


def legacy(url: str) -> web.Application:
    """Return the hub's legacy API.

    Args:
        url: A migrated database.

    Returns:
        The application.
    """
    table = commands(
        Store(url, clock=system_clock_ms),
        issuer=_NoAppliance(),
        oracle=_NothingSpent(),
        ready=_FullPool(),
        rules=_RULES,
    )
    return build_app(LegacyApiSection(), table)


def v1(url: str) -> web.Application:
    """Return the hub's ``/v1``, its publisher running beside it.

    Args:
        url: A migrated database.

    Returns:
        The application.
    """
    store = Store(url, clock=system_clock_ms)
    publisher = Publisher(store, interval_s=1.0)
    ports = Ports(
        store=store,
        issuer=_NoAppliance(),
        oracle=_NothingSpent(),
        publisher=publisher,
        appliance=_ready,
        nodes=_synced,
        node_health=list,
        rules=_RULES,
        clock=system_clock_ms,
        explainer=Explainer(
            store,
            _NothingSeen(),
            rules=_RULES,
            sweep_interval_ms=600_000,
            clock=system_clock_ms,
        ),
        ready=_FullPool(),
    )
    app = build_v1(V1ApiSection(rate_per_s=1_000_000, burst=1_000_000), ports)

    async def publishing(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_publish(publisher))
        yield
        task.cancel()

    app.cleanup_ctx.append(publishing)
    return app


async def _publish(publisher: Publisher) -> None:
    while True:
        await publisher.tick()


async def _ready() -> str:
    return "ready"


async def _synced() -> None:
    pass


def bare(url: str) -> web.Application:
    """Return a handler with one INSERT.

    Args:
        url: A database with the table ``bare``.

    Returns:
        The application.
    """
    engine = create_async_engine(url, pool_size=_POOL_SIZE, max_overflow=0)
    insert = text("INSERT INTO bare (who, amount) VALUES (:who, :amount)")

    async def serve(request: web.Request) -> web.Response:
        body = await request.json()
        values = {"who": body["command"], "amount": 1}
        async with engine.begin() as connection:
            await connection.execute(insert, values)
        return web.json_response({"done": True})

    app = web.Application()
    app.router.add_post("/", serve)
    return app


async def _main(which: str, url: str) -> None:
    app = {"legacy": legacy, "v1": v1, "bare": bare}[which](url)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.stdin.readline().strip()))
