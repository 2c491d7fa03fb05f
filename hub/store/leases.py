# SPDX-License-Identifier: Apache-2.0
"""Leases: one row per flow says which hub runs it, by the database's clock."""

from sqlalchemy import ColumnElement, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from hub.errors import FencedError
from hub.store.context import Context
from hub.store.engine import database_now_ms
from hub.store.schema import lease


class Leases:
    """Leases inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection

    @property
    def _now_ms(self) -> ColumnElement[int]:
        return database_now_ms(self._connection)

    async def acquire(self, flow: str, holder: str, *, duration_ms: int) -> int | None:
        """Take a flow that nobody holds, or whose holder let it expire.

        Args:
            flow: Its name.
            holder: Who wants it. What the same holder held is taken over at once:
                it must be certain that no other process of this name lives.
            duration_ms: How long it is held without being renewed, milliseconds.

        Returns:
            The fencing token, higher than every earlier one; None if another holds
            the flow.
        """
        free = or_(lease.c.expires_at_ms < self._now_ms, lease.c.holder == holder)
        taken = (
            update(lease)
            .where(lease.c.flow == flow, free)
            .values(
                holder=holder,
                fencing_token=lease.c.fencing_token + 1,
                expires_at_ms=self._now_ms + duration_ms,
            )
            .returning(lease.c.fencing_token)
        )
        token = (await self._connection.execute(taken)).scalar_one_or_none()
        if token is not None:
            return int(token)
        known = select(lease.c.flow).where(lease.c.flow == flow)
        if (await self._connection.execute(known)).first() is not None:
            return None
        return await self._first(flow, holder, duration_ms)

    async def _first(self, flow: str, holder: str, duration_ms: int) -> int | None:
        first = insert(lease).values(
            flow=flow,
            holder=holder,
            fencing_token=1,
            expires_at_ms=self._now_ms + duration_ms,
        )
        try:
            # A savepoint: another hub's insert must not end this transaction.
            async with self._connection.begin_nested():
                await self._connection.execute(first)
        except IntegrityError:
            return None
        return 1

    async def renew(self, flow: str, token: int, *, duration_ms: int) -> bool:
        """Hold a flow for longer; also one that expired and nobody took.

        Args:
            flow: Its name.
            token: From ``acquire``.
            duration_ms: How long from now, milliseconds.

        Returns:
            Whether it is still held.
        """
        result = await self._connection.execute(
            update(lease)
            .where(lease.c.flow == flow, lease.c.fencing_token == token)
            .values(expires_at_ms=self._now_ms + duration_ms)
        )
        return result.rowcount == 1

    async def release(self, flow: str, token: int) -> None:
        """Let a flow go, so that another hub need not wait; the token stays spent.

        Args:
            flow: Its name.
            token: From ``acquire``.
        """
        await self._connection.execute(
            update(lease)
            .where(lease.c.flow == flow, lease.c.fencing_token == token)
            .values(expires_at_ms=0)
        )

    async def require(self, flow: str, token: int) -> None:
        """Insist, in a transaction that writes, that a flow was not taken over.

        The transaction is serialisable: should another hub take the flow before it
        commits, then it either counts as having come before that, or it fails. The
        row is not locked, so that a hub that freezes now can not stop the other.

        Args:
            flow: Its name.
            token: From ``acquire``.

        Raises:
            FencedError: If another token is in force.
        """
        query = select(lease.c.fencing_token).where(lease.c.flow == flow)
        current = (await self._connection.execute(query)).scalar_one_or_none()
        if current != token:
            message = f"{flow}: token {token} was overtaken by {current}"
            raise FencedError(message)
