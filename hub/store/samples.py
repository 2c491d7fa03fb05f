# SPDX-License-Identifier: Apache-2.0
"""Samples of what is held and owed over time: one per ten minutes, later per hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Table, delete, func, insert, select

from hub.store.context import Context
from hub.store.dashboard_schema import balance_sample, reserve_sample

STEP_MS: Final = 600_000
"""How far samples are apart while they are young, in milliseconds."""
HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * HOUR_MS
_YOUNG_MS: Final = 8 * _DAY_MS
_KEPT_MS: Final = 400 * _DAY_MS


@dataclass(frozen=True, slots=True)
class BalanceSample:
    """Both sides of the books at one time.

    Attributes:
        at_ms: Milliseconds since 1970, a multiple of ``STEP_MS``.
        assets_i: What our addresses and cold storage hold, in iota.
        liabilities_i: What is owed, in iota.
    """

    at_ms: int
    assets_i: int
    liabilities_i: int


@dataclass(frozen=True, slots=True)
class ReserveSample:
    """What the nodes showed during one round through every address of ours.

    Attributes:
        at_ms: About when the round ended, milliseconds since 1970.
        tangle_i: What the quorum showed, in iota.
        books_i: What the books said of the same addresses, in iota.
        unknown: Addresses that no quorum agreed on.
    """

    at_ms: int
    tangle_i: int
    books_i: int
    unknown: int


class Samples:
    """Samples inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection
        self._now_ms = context.now_ms

    async def keep_balances(self, *, assets_i: int, liabilities_i: int) -> None:
        """Keep both sides of the books, unless these ten minutes have a sample.

        Args:
            assets_i: In iota.
            liabilities_i: In iota.
        """
        values = {"assets_i": assets_i, "liabilities_i": liabilities_i}
        await self._keep(balance_sample, values)

    async def keep_reserves(self, *, tangle_i: int, books_i: int, unknown: int) -> None:
        """Keep what a round through all addresses found; see ``ReserveSample``.

        Args:
            tangle_i: In iota.
            books_i: In iota.
            unknown: Addresses.
        """
        values = {"tangle_i": tangle_i, "books_i": books_i, "unknown": unknown}
        await self._keep(reserve_sample, values)

    async def balances(self, *, since_ms: int, step_ms: int) -> list[BalanceSample]:
        """List samples in the order of time, one per step.

        Args:
            since_ms: From this time on.
            step_ms: How far they are apart at least, in milliseconds.

        Returns:
            The samples, the oldest first.
        """
        rows = await self._series(balance_sample, since_ms, step_ms)
        return [BalanceSample(r.at_ms, r.assets_i, r.liabilities_i) for r in rows]

    async def reserves(self, *, since_ms: int, step_ms: int) -> list[ReserveSample]:
        """List what rounds found in the order of time, one per step.

        Args:
            since_ms: From this time on.
            step_ms: How far they are apart at least, in milliseconds.

        Returns:
            The samples, the oldest first.
        """
        rows = await self._series(reserve_sample, since_ms, step_ms)
        return [ReserveSample(r.at_ms, r.tangle_i, r.books_i, r.unknown) for r in rows]

    async def _series(
        self, table: Table, since_ms: int, step_ms: int
    ) -> Sequence[Row[Any]]:
        newest = (
            select(func.max(table.c.at_ms))
            .where(table.c.at_ms >= since_ms)
            .group_by(table.c.at_ms // step_ms)
        )
        query = select(table).where(table.c.at_ms.in_(newest)).order_by(table.c.at_ms)
        return (await self._connection.execute(query)).all()

    async def _keep(self, table: Table, values: dict[str, int]) -> None:
        at_ms = self._now_ms - self._now_ms % STEP_MS
        known = select(table.c.at_ms).where(table.c.at_ms == at_ms)
        if (await self._connection.execute(known)).first() is not None:
            return
        await self._connection.execute(insert(table).values(at_ms=at_ms, **values))
        await self._thin(table)

    async def _thin(self, table: Table) -> None:
        """Keep one sample an hour of what is older, and none of what is very old."""
        old = table.c.at_ms < self._now_ms - _KEPT_MS
        between = (table.c.at_ms < self._now_ms - _YOUNG_MS) & (
            table.c.at_ms % HOUR_MS != 0
        )
        await self._connection.execute(delete(table).where(old | between))
