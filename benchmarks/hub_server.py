# SPDX-License-Identifier: Apache-2.0
"""The two servers that ``benchmarks.hub`` compares, each in a process of its own.

``ours`` is the hub's API with its store, and a pool of ready addresses that an
appliance has filled. ``bare`` is what a programmer would write
first: aiohttp, SQLAlchemy, and one INSERT. Both have twenty connections.
"""

import asyncio
import secrets
import sys
from collections.abc import Sequence

from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from hub.api.legacy import build_app
from hub.api.legacy_commands import commands
from hub.clock import system_clock_ms
from hub.config import LegacyApiSection
from hub.errors import ApplianceUnavailableError
from hub.model import Address, IssuedAddress, SeedUuid
from hub.store import Store

_POOL_SIZE = 20
_TRYTES = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class _NoAppliance:
    async def issue(self, user_commitment: str) -> IssuedAddress:
        raise ApplianceUnavailableError(f"none here for {user_commitment}")


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


def ours(url: str) -> web.Application:
    """Return the hub's API.

    Args:
        url: A migrated database.

    Returns:
        The application.
    """
    store = Store(url, clock=system_clock_ms)
    table = commands(
        store, issuer=_NoAppliance(), oracle=_NothingSpent(), ready=_FullPool()
    )
    return build_app(LegacyApiSection(), table)


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
    app = {"ours": ours, "bare": bare}[which](url)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.stdin.readline().strip()))
