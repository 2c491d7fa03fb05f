# SPDX-License-Identifier: Apache-2.0
"""What decides when a withdrawal leaves: queries for people, nothing acts on them."""

from dataclasses import dataclass

from sqlalchemy import func, or_, select

from hub.model import AccountId, AddressState, Withdrawal, WithdrawalState
from hub.store.addresses import awaits_remainder
from hub.store.context import Context
from hub.store.engine import database_now_ms
from hub.store.schema import address, books_latch, lease, withdrawal


@dataclass(frozen=True, slots=True)
class Ahead:
    """Withdrawals that were asked for before another one and still wait.

    Attributes:
        count: How many.
        amount_i: What they take, in iota.
        limited_i: What of it counts against the limit on all of them, in iota.
    """

    count: int
    amount_i: int
    limited_i: int


class Waits:
    """Queries about what waits inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection

    async def ahead_of(
        self, waiting: Withdrawal, *, exempt: AccountId, total_i: int | None
    ) -> Ahead:
        """Add up what waits before a withdrawal.

        Args:
            waiting: The withdrawal.
            exempt: The account whose withdrawals no limit counts.
            total_i: The limit; what is larger by itself is not counted. None: there is
                none.

        Returns:
            The sums.
        """
        limited = withdrawal.c.account_id != exempt
        if total_i is not None:
            limited &= withdrawal.c.amount_i <= total_i
        earlier = or_(
            withdrawal.c.requested_at_ms < waiting.requested_at_ms,
            (withdrawal.c.requested_at_ms == waiting.requested_at_ms)
            & (withdrawal.c.id < waiting.withdrawal_id),
        )
        amount = withdrawal.c.amount_i
        query = select(
            func.count(),
            func.coalesce(func.sum(amount), 0),
            func.coalesce(func.sum(amount).filter(limited), 0),
        ).where(withdrawal.c.state == WithdrawalState.REQUESTED.value, earlier)
        count, amount_i, limited_i = (await self._connection.execute(query)).one()
        return Ahead(int(count), int(amount_i), int(limited_i))

    async def free_i(self) -> int:
        """Return what lies on addresses that a sweep may take now, in iota."""
        query = select(func.coalesce(func.sum(address.c.balance_i), 0)).where(
            address.c.state == AddressState.OPEN.value,
            address.c.balance_i > 0,
            ~awaits_remainder(),
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def idle_flows(self) -> list[str]:
        """List the flows that some hub has run and none holds now."""
        now_ms = database_now_ms(self._connection)
        query = select(lease.c.flow).where(lease.c.expires_at_ms < now_ms)
        return list((await self._connection.execute(query)).scalars())

    async def latched(self) -> tuple[str, int] | None:
        """Return why no balance may change and since when; None: they may."""
        query = select(books_latch.c.reason, books_latch.c.found_at_ms)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else (row.reason, row.found_at_ms)
