# SPDX-License-Identifier: Apache-2.0
"""A large exchange on PostgreSQL: a million users, two million watched addresses.

The rows are made by the database itself. The nodes answer from memory and their time
is taken off. Memory of the database grows with the rows, that of the hub must not.
"""

import asyncio
import resource
import time
from collections.abc import Iterator, Sequence
from statistics import median
from string import Template
from typing import Final

from benchmarks.hub_tick import tick_figures
from benchmarks.rounds import Figure
from hub.clock import system_clock_ms
from hub.model import Address, TransactionHash
from hub.node import FoundTransaction
from hub.store import Store
from hub.sweep_plan import SweepLimits
from hub.sweeps import Sweeper
from tests.hub.databases import Postgresql
from tests.postgres import Server

USERS: Final = 1_000_000
"""Of the large database, by default; twice as many addresses."""
_WAITING: Final = 10_000
_HELD: Final = 2_000
_PLAN_BAR_MS: Final = 2_000.0
_ROWS: Final = (
    """
    CREATE FUNCTION trytes(salt text, n bigint) RETURNS text LANGUAGE sql AS $$$$
        SELECT rpad(
            translate(md5(salt || n), '0123456789abcdef', 'ABCDEFGHIJKLMNOP'),
            80,
            translate(md5(n || salt), '0123456789abcdef', 'ABCDEFGHIJKLMNOP')
        ) || '9'
    $$$$
    """,
    """
    INSERT INTO account (identifier, kind, available_i, unswept_i, pending_i,
        quarantined_i, created_at_ms)
    SELECT 'user-' || n, 'user', 0, 0, 0, 0, 0 FROM generate_series(1, $users) n
    """,
    """
    INSERT INTO address (address, seed_uuid, generation, security_level, receipt,
        account_id, state, balance_i, created_at_ms)
    SELECT trytes('a', n), md5('s' || n) || md5('t' || n), 1, 2, 'r',
        3 + (n % $users), 'open', CASE WHEN n <= $held THEN 1000000 ELSE 0 END, 0
    FROM generate_series(1, 2 * $users) n
    """,
    """
    INSERT INTO withdrawal (uuid, account_id, amount_i, payout_address, tag, state,
        requested_at_ms)
    SELECT gen_random_uuid()::text, 3 + (n % $users), 1 + n % 1000, trytes('p', n),
        repeat('9', 27), 'requested', n
    FROM generate_series(1, $waiting) n
    """,
    "ANALYZE",
)


class _Nodes:
    """Nodes that show what the books say, at once; their own time is counted."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.balances_i: dict[str, int] = {}

    async def require_synced(self) -> None:
        pass

    async def balances(self, addresses: Sequence[Address]) -> dict[Address, int]:
        start_s = time.perf_counter()
        found = {address: self.balances_i.get(address, 0) for address in addresses}
        self.spent_s += time.perf_counter() - start_s
        return found

    async def transactions_at(
        self, addresses: Sequence[Address]
    ) -> list[FoundTransaction]:
        return [found for found in () if found in addresses]

    async def confirmed(
        self, tails: Sequence[TransactionHash]
    ) -> dict[TransactionHash, bool]:
        return dict.fromkeys(tails, True)


def measure(*, rounds: int, users: int = USERS) -> Iterator[Figure]:
    """Measure planning with ten thousand withdrawals waiting, and the monitor's tick.

    Args:
        rounds: How often each figure is taken.
        users: Of the large database.

    Yields:
        One figure each.
    """
    server = Server()
    try:
        server.start()
        postgresql = Postgresql(server)
        large = _made(postgresql, users)
        yield _planning(_made(postgresql, users // 50), large, users, rounds)
        tiny = _made(postgresql, users // 100)
        yield from tick_figures(tiny, large, addresses=2 * users, rounds=rounds)
    finally:
        server.destroy()


def _planning(small: str, large: str, users: int, rounds: int) -> Figure:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    small_ms = asyncio.run(_plan_ms(small, rounds))
    at_small_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large_ms = asyncio.run(_plan_ms(large, rounds))
    at_large_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (at_small_kib - before_kib, at_large_kib - at_small_kib)
    return Figure(
        f"a plan, {_WAITING:,} waiting, {2 * users:,} : {users // 25:,} addresses",
        large_ms,
        small_ms,
        large_ms / small_ms,
        f"<= {_PLAN_BAR_MS:g} ms",
        large_ms <= _PLAN_BAR_MS,
        f"memory grew by {grown[0] // 1024} MB, then by {grown[1] // 1024} MB",
    )


def _made(postgresql: Postgresql, users: int) -> str:
    """Make a database of so many users, two addresses each, some of them with value.

    Returns:
        Its URL.
    """
    url = postgresql.migrated()
    with postgresql.server.connect(url.rpartition("/")[2]) as admin:
        for statement in _ROWS:
            numbers = {"users": users, "held": _HELD, "waiting": _WAITING}
            admin.run(Template(statement).substitute(numbers))
    return url


async def _plan_ms(url: str, rounds: int) -> float:
    nodes = _Nodes()
    store = Store(url, clock=system_clock_ms)
    async with store.reading() as tx:
        held = await tx.addresses.after(0, limit=_HELD)  # type: ignore[arg-type]
    nodes.balances_i = {own.address: own.balance_i for own in held}
    sweeper = Sweeper(
        store,
        nodes,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type] - a plan asks no appliance
        None,  # type: ignore[arg-type] - nor builds a bundle
        limits=SweepLimits(max_transactions=40, kept_hub_addresses=8),
        max_unsigned=4,
        refused_wait_ms=1,
        clock=system_clock_ms,
    )
    times_ms = []
    for _ in range(rounds):
        nodes.spent_s, start_s = 0.0, time.perf_counter()
        choice = await sweeper.preview()
        times_ms.append((time.perf_counter() - start_s - nodes.spent_s) * 1000)
        assert choice is not None
        assert len(choice.withdrawals) > 1
    await store.close()
    return median(times_ms)
