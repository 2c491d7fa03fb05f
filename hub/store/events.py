# SPDX-License-Identifier: Apache-2.0
"""The event history: what pollers of the legacy API are answered from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, insert, select

from hub.model import (
    AccountId,
    AddressId,
    Event,
    EventReason,
    NoticeReason,
    UserId,
)
from hub.store.context import Context
from hub.store.schema import account, address, event


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to be written; see ``hub.model.Event`` for the fields."""

    reason: EventReason | NoticeReason
    account_id: AccountId
    amount_i: int = 0
    address_id: AddressId | None = None
    bundle_hash: str = ""
    tail_hash: str = ""
    withdrawal_uuid: str = ""
    message: str = ""


EVENT_COLUMNS: Final = (
    "reason",
    "account_id",
    "address_id",
    "amount_i",
    "bundle_hash",
    "tail_hash",
    "withdrawal_uuid",
    "message",
    "created_at_ms",
)
"""What a row has when it is written; its position comes later."""

_NEW: Final = insert(event)


class Events:
    """The history inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def add(self, events: Iterable[NewEvent]) -> None:
        """Write events, stamped with the transaction's time.

        Args:
            events: In the order they happened.
        """
        rows = self.rows(events)
        if rows:
            await self._connection.execute(_NEW, rows)

    def rows(self, events: Iterable[NewEvent]) -> list[dict[str, Any]]:
        """Return events as rows, for whoever writes them with something else.

        Args:
            events: In the order they happened.

        Returns:
            One for each, with ``EVENT_COLUMNS``.
        """
        return [self._row(new) for new in events]

    async def since(
        self,
        newer_than_ms: int,
        reasons: Iterable[EventReason],
        *,
        account_id: AccountId | None = None,
    ) -> list[Event]:
        """Read events in the order of time.

        Args:
            newer_than_ms: At or after this time: inclusive, as pollers expect.
            reasons: Only these.
            account_id: Only this account's, if given.

        Returns:
            The events, the oldest first.
        """
        conditions: list[ColumnElement[bool]] = [
            event.c.created_at_ms >= newer_than_ms,
            event.c.reason.in_([reason.value for reason in reasons]),
        ]
        if account_id is not None:
            conditions.append(event.c.account_id == account_id)
        return await self._read(*conditions)

    async def after(self, event_id: int, reasons: Iterable[EventReason]) -> list[Event]:
        """Read what was written behind an event, in the order of time.

        Args:
            event_id: Rows up to this one are left out.
            reasons: Only these.

        Returns:
            The events, the oldest first.
        """
        known = [reason.value for reason in reasons]
        return await self._read(event.c.id > event_id, event.c.reason.in_(known))

    async def settled(self, *, age_ms: int) -> int:
        """Find the end of what no transaction under way can come before.

        Args:
            age_ms: Longer than any transaction lives, in milliseconds.

        Returns:
            The row of the youngest event older than that; 0 if there is none.
        """
        query = (
            select(event.c.id)
            .where(event.c.created_at_ms < self._context.now_ms - age_ms)
            .order_by(event.c.created_at_ms.desc())
            .limit(1)
        )
        return (await self._connection.execute(query)).scalar() or 0

    async def _read(self, *conditions: ColumnElement[bool]) -> list[Event]:
        query = (
            select(event, account.c.identifier, address.c.address)
            .join_from(event, account)
            .outerjoin(address, address.c.id == event.c.address_id)
            .where(*conditions)
            .order_by(event.c.created_at_ms, event.c.id)
        )
        return [_event(row) for row in await self._connection.execute(query)]

    def _row(self, new: NewEvent) -> dict[str, Any]:
        return {
            "reason": new.reason.value,
            "account_id": new.account_id,
            "address_id": new.address_id,
            "amount_i": new.amount_i,
            "bundle_hash": new.bundle_hash,
            "tail_hash": new.tail_hash,
            "withdrawal_uuid": new.withdrawal_uuid,
            "message": new.message,
            "created_at_ms": self._context.now_ms,
        }


def _event(row: Row[Any]) -> Event:
    return Event(
        event_id=row.id,
        reason=EventReason(row.reason),
        user_id=UserId(row.identifier),
        address=row.address or "",
        amount_i=row.amount_i,
        bundle_hash=row.bundle_hash,
        tail_hash=row.tail_hash,
        withdrawal_uuid=row.withdrawal_uuid,
        message=row.message,
        created_at_ms=row.created_at_ms,
    )
