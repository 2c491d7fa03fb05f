# SPDX-License-Identifier: Apache-2.0
"""Cold storage in the books: addresses whose keys are elsewhere."""

from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from hub import ledger
from hub.errors import ColdStorageError
from hub.model import (
    AccountId,
    Address,
    ColdAddress,
    ColdId,
    WithdrawalState,
    WithdrawalUuid,
)
from hub.store.books import Books
from hub.store.context import Context
from hub.store.schema import cold_address, cold_move, withdrawal


class Cold:
    """Queries about cold storage inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection
        self._books = Books(context)

    async def add(self, label: str, text: Address) -> None:
        """Record a cold address.

        Args:
            label: What people call it, 1-64 characters.
            text: 81 trytes.

        Raises:
            ColdStorageError: If label or address is recorded already.
        """
        statement = insert(cold_address).values(
            label=label,
            address=text,
            balance_i=0,
            closed=False,
            created_at_ms=self._context.now_ms,
        )
        try:
            await self._connection.execute(statement)
        except IntegrityError as error:
            message = f"the label {label!r} or its address is recorded already"
            raise ColdStorageError(message) from error

    async def all(self) -> list[ColdAddress]:
        """List the cold addresses, the oldest first."""
        rows = await self._connection.execute(_query().order_by(cold_address.c.id))
        return [_cold_address(row) for row in rows]

    async def by_label(self, label: str) -> ColdAddress:
        """Find a cold address.

        Args:
            label: What people call it.

        Returns:
            The address.

        Raises:
            ColdStorageError: If there is none.
        """
        query = _query().where(cold_address.c.label == label)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            message = f"there is no cold address {label!r}"
            raise ColdStorageError(message)
        return _cold_address(row)

    async def book_move(
        self,
        uuid: WithdrawalUuid,
        cold_id: ColdId,
        owner_id: AccountId,
        *,
        amount_i: int,
    ) -> None:
        """Book a move that a withdrawal of the owner's will carry.

        Args:
            uuid: That withdrawal.
            cold_id: Where it goes.
            owner_id: The hub owner's account.
            amount_i: Iota, positive.
        """
        posting = ledger.cold_move_requested(cold_id, owner_id, amount_i=amount_i)
        await self._books.post(posting, reference=uuid)
        await self._connection.execute(
            insert(cold_move).values(withdrawal_uuid=uuid, cold_address_id=cold_id)
        )

    async def moved_by(self, uuid: WithdrawalUuid) -> ColdId | None:
        """Return where a withdrawal carries value to; None if it is a customer's."""
        query = select(cold_move.c.cold_address_id).where(
            cold_move.c.withdrawal_uuid == uuid
        )
        found = (await self._connection.execute(query)).scalar()
        return None if found is None else ColdId(found)

    async def close(self, cold_id: ColdId) -> None:
        """Let nothing more go to an address: its key is about to sign.

        Args:
            cold_id: The address.
        """
        await self._connection.execute(
            update(cold_address).where(cold_address.c.id == cold_id).values(closed=True)
        )

    async def book_return(
        self, cold_id: ColdId, owner_id: AccountId, *, amount_i: int
    ) -> None:
        """Book that a deposit of the owner's came from cold storage.

        Args:
            cold_id: Where it came from.
            owner_id: The hub owner's account; too little available there raises
                ``InsufficientBalanceError``.
            amount_i: Iota, positive.
        """
        posting = ledger.cold_returned(cold_id, owner_id, amount_i=amount_i)
        await self._books.post(posting, reference=f"cold {cold_id}")


def _query() -> Select[Any]:
    waiting = [WithdrawalState.PAID.value, WithdrawalState.CANCELLED.value]
    on_the_way = (
        select(func.coalesce(func.sum(withdrawal.c.amount_i), 0))
        .join_from(
            cold_move, withdrawal, cold_move.c.withdrawal_uuid == withdrawal.c.uuid
        )
        .where(
            cold_move.c.cold_address_id == cold_address.c.id,
            withdrawal.c.state.not_in(waiting),
        )
        .scalar_subquery()
    )
    return select(cold_address, on_the_way.label("on_the_way_i"))


def _cold_address(row: Row[Any]) -> ColdAddress:
    return ColdAddress(
        cold_id=ColdId(row.id),
        label=row.label,
        address=Address(row.address),
        balance_i=row.balance_i,
        closed=row.closed,
        on_the_way_i=int(row.on_the_way_i),
    )
