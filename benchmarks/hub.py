# SPDX-License-Identifier: Apache-2.0
"""The hub's two APIs on PostgreSQL beside a handler that only inserts one row.

Two hundred clients, each over one connection, send transfers and withdrawals in
turn, between accounts drawn at random. The clients are lean on purpose: what they
cost is taken from both servers' machine. The nodes are simulated.
"""

import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.hub_requests import (
    LEGACY,
    USERS,
    V1,
    Dialect,
    deposit_address,
    name_of,
)
from benchmarks.rounds import Figure
from hub.api_keys import FreshKey, Scope, digest_of, make_key
from hub.clock import system_clock_ms
from hub.model import UserId
from hub.store import Store
from hub.transfers import Transfer, process_batch
from tests.hub.bookkeeping import funded_user
from tests.hub.databases import Postgresql
from tests.postgres import Server

SECONDS: Final = 12.0
"""Of load, by default; half of it for each server, in three turns."""
_CLIENTS: Final = 200
_EACH_I: Final = 1_000_000
_TURNS: Final = 3
_BAR: Final = 0.3
_ADDRESS_BAR: Final = 3.0
_ASKED: Final = 600
_WARM: Final = 100


@dataclass
class Load:
    """What one server has answered.

    Attributes:
        done: Requests answered as wanted.
        failed: Other answers.
        spent_s: How long it was asked, in seconds.
    """

    done: int = 0
    failed: int = 0
    spent_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Requests answered per second."""
        return self.done / self.spent_s


def measure(*, rounds: int, seconds: float = SECONDS) -> Iterator[Figure]:
    """Measure the mixed load.

    Args:
        rounds: Not used: the load's length is in seconds.
        seconds: How long, both servers together.

    Yields:
        The price of a ready address, and of the mixed load.
    """
    del rounds
    server = Server()
    try:
        server.start()
        postgresql = Postgresql(server)
        yield _address_figure(postgresql)
        for dialect in (LEGACY, V1):
            yield _figure(postgresql, dialect, seconds)
    finally:
        server.destroy()


def _address_figure(postgresql: Postgresql) -> Figure:
    ours_s, bare_s = asyncio.run(_address_times(_prepared(postgresql)))
    ratio = ours_s / bare_s
    return Figure(
        "a deposit address from the pool : one bare INSERT, one client",
        ours_s * 1000,
        bare_s * 1000,
        ratio,
        f"<= {_ADDRESS_BAR:g}",
        ratio <= _ADDRESS_BAR,
        f"medians of {_ASKED} requests each, in turn",
    )


async def _address_times(url: str) -> tuple[float, float]:
    """Return the median latency of both servers, asked in turn, in seconds."""
    ours_s: list[float] = []
    bare_s: list[float] = []
    with _running("legacy", url) as our_port, _running("bare", url) as bare_port:
        async with _connection(our_port) as ask, _connection(bare_port) as ask_bare:
            for number in range(_ASKED):
                for one, times in ((ask, ours_s), (ask_bare, bare_s)):
                    start_s = time.perf_counter()
                    body = await one(deposit_address(number))
                    times.append(time.perf_counter() - start_s)
                    assert b'"error"' not in body, body
    return median(ours_s[_WARM:]), median(bare_s[_WARM:])


def _prepared(postgresql: Postgresql, key: FreshKey | None = None) -> str:
    url = postgresql.migrated()
    asyncio.run(_prepare(url, key))
    with postgresql.server.connect(url.rpartition("/")[2]) as admin:
        admin.run("CREATE TABLE bare (id bigserial PRIMARY KEY, who text, amount int)")
        admin.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC")
        admin.run("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC")
        admin.run("ANALYZE")
    return url


def _figure(postgresql: Postgresql, dialect: Dialect, seconds: float) -> Figure:
    key = make_key()
    url = _prepared(postgresql, key)
    ours, bare = asyncio.run(_both(url, dialect, key.text, seconds / 2))
    asyncio.run(_require_sound_books(url))
    ratio = ours.per_s / bare.per_s
    return Figure(
        f"{_CLIENTS} clients, transfers and withdrawals by {dialect.name}"
        " : one bare INSERT each",
        1000 / ours.per_s,
        1000 / bare.per_s,
        ratio,
        f">= {_BAR:g}",
        ratio >= _BAR and not ours.failed,
        f"{ours.per_s:.0f}/s, {ours.failed} failed; bare {bare.per_s:.0f}/s",
    )


async def _prepare(url: str, key: FreshKey | None) -> None:
    store = Store(url, clock=system_clock_ms)
    if key is not None:
        await store.run(
            lambda tx: tx.api_keys.add(
                key.key_id, name="load", digest=digest_of(key.text), scopes=Scope
            )
        )
    await funded_user(store, "rich", USERS * _EACH_I)
    for number in range(USERS):
        name = UserId(name_of(number))
        await store.run(lambda tx, name=name: tx.accounts.create(name))
    gifts = [Transfer(UserId(name_of(n)), _EACH_I) for n in range(USERS)]
    await process_batch(store, [Transfer(UserId("rich"), -USERS * _EACH_I), *gifts])
    await store.close()


async def _both(
    url: str, dialect: Dialect, key: str, seconds: float
) -> tuple[Load, Load]:
    ours, bare = Load(), Load()
    with _running(dialect.name, url) as our_port, _running("bare", url) as bare_port:
        sides = ((our_port, dialect, ours), (bare_port, LEGACY, bare))
        for port, asked, _ in sides:  # warm up
            await _press(port, asked, key, Load(), 1.0)
        for _ in range(_TURNS):
            for port, asked, load in sides:
                await _press(port, asked, key, load, seconds / _TURNS)
    return ours, bare


async def _require_sound_books(url: str) -> None:
    """Insist that the load broke nothing: totals to the iota, nobody below zero."""
    store = Store(url, clock=system_clock_ms)
    async with store.reading() as tx:
        report, totals = await tx.books.verify(), await tx.checks.totals()
    await store.close()
    if not report.sound or totals.below_zero:
        raise RuntimeError(f"the load broke the books: {report}, {totals}")
    if report.liabilities_i != USERS * _EACH_I:
        raise RuntimeError(f"{report.liabilities_i} i are owed after the load")


@contextmanager
def _running(which: str, url: str) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.hub_server", which]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(url + "\n")  # it holds a password: not an argument
        process.stdin.flush()
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _press(
    port: int, dialect: Dialect, key: str, load: Load, seconds: float
) -> None:
    start_s = time.monotonic()
    until_s = start_s + seconds
    clients = (_client(port, dialect, key, load, until_s) for _ in range(_CLIENTS))
    await asyncio.gather(*clients)
    load.spent_s += time.monotonic() - start_s


async def _client(
    port: int, dialect: Dialect, key: str, load: Load, until_s: float
) -> None:
    number = secrets.randbelow(2)
    async with _connection(port) as ask:
        while time.monotonic() < until_s:
            number += 1
            wish = dialect.withdrawal if number % 2 else dialect.transfer
            body = await ask(wish(key))
            if dialect.refused in body:
                load.failed += 1
            else:
                load.done += 1


@asynccontextmanager
async def _connection(port: int) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(request: bytes) -> bytes:
        writer.write(request)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.split(b"content-length:")[1].split(b"\r\n", 1)[0])
        return await reader.readexactly(length)

    try:
        yield ask
    finally:
        writer.close()
