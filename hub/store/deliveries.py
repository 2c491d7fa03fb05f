# SPDX-License-Identifier: Apache-2.0
"""Deliveries of webhooks: the log of attempts, and orders to deliver once more."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from hub.store.api_schema import webhook_delivery, webhook_range
from hub.store.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at delivering an event.

    Attributes:
        row: Its row; 0 before it is stored.
        position: Of the event.
        attempt: 1 for the first.
        status: HTTP status; 0 when there was no reply.
        error: What went wrong; empty when delivered.
        duration_ms: How long it took.
        created_at_ms: Milliseconds since 1970; 0 before it is stored.
    """

    row: int = 0
    position: int
    attempt: int
    status: int
    error: str
    duration_ms: int
    created_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """Events to be delivered once more.

    Attributes:
        row: Its row.
        next_position: The first still to do.
        last_position: The last.
    """

    row: int
    next_position: int
    last_position: int


class Deliveries:
    """Queries about deliveries inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def log(self, row: int, attempt: Attempt) -> None:
        """Write an attempt into the delivery log.

        Args:
            row: The endpoint's row.
            attempt: What became of it.
        """
        await self._connection.execute(
            insert(webhook_delivery).values(
                webhook_row=row,
                position=attempt.position,
                attempt=attempt.attempt,
                status=attempt.status,
                error=attempt.error[:128],
                duration_ms=attempt.duration_ms,
                created_at_ms=self._context.now_ms,
            )
        )

    async def attempts(
        self, row: int, *, before_id: int | None, limit: int
    ) -> list[Attempt]:
        """Page through the delivery log, the newest first.

        Args:
            row: The endpoint's row.
            before_id: The last row of the page before; None to begin.
            limit: At most this many.

        Returns:
            The next page.
        """
        log = webhook_delivery
        query = select(log).where(log.c.webhook_row == row)
        if before_id is not None:
            query = query.where(log.c.id < before_id)
        ordered = query.order_by(log.c.id.desc()).limit(limit)
        return [
            Attempt(
                row=found.id,
                position=found.position,
                attempt=found.attempt,
                status=found.status,
                error=found.error,
                duration_ms=found.duration_ms,
                created_at_ms=found.created_at_ms,
            )
            for found in await self._connection.execute(ordered)
        ]

    async def forget_attempts(self, *, older_than_ms: int) -> None:
        """Delete old lines of the delivery log.

        Args:
            older_than_ms: Written before this time.
        """
        log = webhook_delivery
        await self._connection.execute(
            delete(log).where(log.c.created_at_ms < older_than_ms)
        )

    async def add_range(self, row: int, *, first: int, last: int) -> None:
        """Have events delivered once more.

        Args:
            row: The endpoint's row.
            first: The first position.
            last: The last position.
        """
        await self._connection.execute(
            insert(webhook_range).values(
                webhook_row=row, next_position=first, last_position=last
            )
        )

    async def next_range(self, row: int) -> Range | None:
        """Find what is to be delivered once more.

        Args:
            row: The endpoint's row.

        Returns:
            The oldest order; None when there is none.
        """
        query = select(webhook_range).where(webhook_range.c.webhook_row == row)
        ordered = query.order_by(webhook_range.c.id).limit(1)
        found = (await self._connection.execute(ordered)).one_or_none()
        if found is None:
            return None
        return Range(found.id, found.next_position, found.last_position)

    async def advance(self, done: Range, *, to: int) -> None:
        """Record how far an order for redelivery is; remove it once done.

        Args:
            done: The order.
            to: The last position delivered again.
        """
        at = webhook_range
        await self._connection.execute(
            update(at).where(at.c.id == done.row).values(next_position=to + 1)
        )
        await self._connection.execute(
            delete(at).where(
                at.c.id == done.row,
                at.c.next_position > at.c.last_position,
            )
        )
