# SPDX-License-Identifier: Apache-2.0
"""Lists of users, addresses, deposits and withdrawals, the newest first.

A page goes on below the last row of the page before, so that rows written meanwhile
neither shift nor repeat what is still to come.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select

from hub.errors import DepositUnknownError, WithdrawalUnknownError
from hub.model import (
    Account,
    AccountKind,
    Deposit,
    DepositState,
    OwnAddress,
    UserId,
    Withdrawal,
    WithdrawalState,
    WithdrawalUuid,
)
from hub.store.accounts import account_of
from hub.store.addresses import own_address_of
from hub.store.context import Context
from hub.store.deposits import deposit_of
from hub.store.schema import account, address, deposit, sweep, withdrawal
from hub.store.withdrawals import withdrawal_of


class Pages:
    """Lists inside one transaction; ``before_id`` is the last row seen, if any.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection

    async def users(self, *, before_id: int | None, limit: int) -> list[Account]:
        """Page through the users.

        Args:
            before_id: The last row of the page before; None to begin.
            limit: At most this many.

        Returns:
            The next page.
        """
        query = select(account).where(account.c.kind == AccountKind.USER.value)
        rows = await self._page(query, account.c.id, before_id, limit)
        return [account_of(row) for row in rows]

    async def addresses(
        self, *, before_id: int | None, limit: int, user_id: UserId
    ) -> list[OwnAddress]:
        """Page through a user's deposit addresses.

        Args:
            before_id: The last row of the page before; None to begin.
            limit: At most this many.
            user_id: The account's identifier.

        Returns:
            The next page.
        """
        query = (
            select(address, account.c.kind)
            .join_from(address, account)
            .where(account.c.identifier == user_id)
        )
        rows = await self._page(query, address.c.id, before_id, limit)
        return [own_address_of(row) for row in rows]

    async def deposits(
        self,
        *,
        before_id: int | None,
        limit: int,
        user_id: UserId | None = None,
        state: DepositState | None = None,
    ) -> list[tuple[Deposit, UserId]]:
        """Page through deposits.

        Args:
            before_id: The last row of the page before; None to begin.
            limit: At most this many.
            user_id: Only this account's, if given.
            state: Only those in this state, if given.

        Returns:
            The next page, each with its account's identifier.
        """
        query = _deposits()
        if user_id is not None:
            query = query.where(account.c.identifier == user_id)
        if state is not None:
            query = query.where(deposit.c.state == state.value)
        rows = await self._page(query, deposit.c.id, before_id, limit)
        return [(deposit_of(row), UserId(row.identifier)) for row in rows]

    async def deposit(self, deposit_id: int) -> tuple[Deposit, UserId]:
        """Find a deposit.

        Args:
            deposit_id: Its row.

        Returns:
            The deposit with its account's identifier.

        Raises:
            DepositUnknownError: If there is none.
        """
        query = _deposits().where(deposit.c.id == deposit_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            message = f"no deposit {deposit_id}"
            raise DepositUnknownError(message)
        return deposit_of(row), UserId(row.identifier)

    async def withdrawals(
        self,
        *,
        before_id: int | None,
        limit: int,
        user_id: UserId | None = None,
        state: WithdrawalState | None = None,
    ) -> list[tuple[Withdrawal, UserId, str | None]]:
        """Page through withdrawals.

        Args:
            before_id: The last row of the page before; None to begin.
            limit: At most this many.
            user_id: Only this account's, if given.
            state: Only those in this state, if given.

        Returns:
            The next page, each with its account's identifier and the bundle hash
            of the sweep it is in.
        """
        query = _withdrawals()
        if user_id is not None:
            query = query.where(account.c.identifier == user_id)
        if state is not None:
            query = query.where(withdrawal.c.state == state.value)
        rows = await self._page(query, withdrawal.c.id, before_id, limit)
        return [_with_names(row) for row in rows]

    async def withdrawal(
        self, uuid: WithdrawalUuid
    ) -> tuple[Withdrawal, UserId, str | None]:
        """Find a withdrawal.

        Args:
            uuid: Its public name.

        Returns:
            As ``withdrawals``.

        Raises:
            WithdrawalUnknownError: If there is none.
        """
        query = _withdrawals().where(withdrawal.c.uuid == uuid)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            message = f"no withdrawal {uuid}"
            raise WithdrawalUnknownError(message)
        return _with_names(row)

    async def _page(
        self,
        query: Select[Any],
        row_id: ColumnElement[int],
        before_id: int | None,
        limit: int,
    ) -> Sequence[Row[Any]]:
        if before_id is not None:
            query = query.where(row_id < before_id)
        ordered = query.order_by(row_id.desc()).limit(limit)
        rows: Sequence[Row[Any]] = (await self._connection.execute(ordered)).all()
        return rows


def _deposits() -> Select[Any]:
    return (
        select(deposit, address.c.address, address.c.account_id, account.c.identifier)
        .join_from(deposit, address)
        .join(account, account.c.id == address.c.account_id)
    )


def _withdrawals() -> Select[Any]:
    return (
        select(withdrawal, account.c.identifier, sweep.c.bundle_hash)
        .join_from(withdrawal, account)
        .outerjoin(sweep, sweep.c.id == withdrawal.c.sweep_id)
    )


def _with_names(row: Row[Any]) -> tuple[Withdrawal, UserId, str | None]:
    return withdrawal_of(row), UserId(row.identifier), row.bundle_hash
