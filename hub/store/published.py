# SPDX-License-Identifier: Apache-2.0
"""The event history in the order readers may resume from.

An event gets its position only after the transaction that wrote it has committed:
row numbers are drawn before, so that on PostgreSQL a lower one may become visible
after a higher one, and a reader that resumes from row numbers would miss it.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, bindparam, func, select, update

from hub.model import EventReason, Happening, NoticeReason, UserId
from hub.store.context import Context
from hub.store.schema import account, address, event


class Published:
    """Queries about published events inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection

    async def has_unpublished(self) -> bool:
        """Say whether there is an event without a position."""
        query = select(event.c.id).where(event.c.position.is_(None)).limit(1)
        return (await self._connection.execute(query)).first() is not None

    async def last_position(self) -> int:
        """Return the highest position given; 0 when there is none."""
        query = select(func.coalesce(func.max(event.c.position), 0))
        return int((await self._connection.execute(query)).scalar_one())

    async def publish(self, *, limit: int) -> int:
        """Give positions to committed events, in the order of their rows.

        Args:
            limit: At most this many.

        Returns:
            How many were published.
        """
        waiting = select(event.c.id).where(event.c.position.is_(None))
        rows = await self._connection.execute(waiting.order_by(event.c.id).limit(limit))
        event_ids = list(rows.scalars())
        if not event_ids:
            return 0
        last = await self.last_position()
        statement = (
            update(event)
            .where(event.c.id == bindparam("row"))
            .values(position=bindparam("place"))
        )
        await self._connection.execute(
            statement,
            [
                {"row": row, "place": last + offset}
                for offset, row in enumerate(event_ids, start=1)
            ],
        )
        return len(event_ids)

    async def after(
        self,
        position: int,
        *,
        limit: int,
        reasons: Collection[EventReason | NoticeReason] = (),
        user_id: UserId | None = None,
        until: int | None = None,
    ) -> list[Happening]:
        """Read on from a position.

        Args:
            position: The last one seen; 0 to begin.
            limit: At most this many.
            reasons: Only these; empty: all.
            user_id: Only this account's, if given.
            until: The last position wanted, if given.

        Returns:
            The events in the order of their positions.
        """
        query = (
            select(event, account.c.identifier, address.c.address)
            .join_from(event, account)
            .outerjoin(address, address.c.id == event.c.address_id)
            .where(event.c.position > position)
            .order_by(event.c.position)
            .limit(limit)
        )
        if reasons:
            query = query.where(event.c.reason.in_([r.value for r in reasons]))
        if user_id is not None:
            query = query.where(account.c.identifier == user_id)
        if until is not None:
            query = query.where(event.c.position <= until)
        return [_happening(row) for row in await self._connection.execute(query)]


def _happening(row: Row[Any]) -> Happening:
    return Happening(
        position=row.position,
        reason=_reason(row.reason),
        user_id=UserId(row.identifier),
        address=row.address or "",
        amount_i=row.amount_i,
        bundle_hash=row.bundle_hash,
        tail_hash=row.tail_hash,
        withdrawal_uuid=row.withdrawal_uuid,
        message=row.message,
        created_at_ms=row.created_at_ms,
    )


def _reason(text: str) -> EventReason | NoticeReason:
    try:
        return EventReason(text)
    except ValueError:
        return NoticeReason(text)
