# SPDX-License-Identifier: Apache-2.0
"""Tails: the attachments of a sweep that were made or found."""

from sqlalchemy import insert, select, update

from hub.model import SweepId, Tail, TransactionHash
from hub.store.context import Context
from hub.store.schema import tail


class Tails:
    """Queries about tails inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def add(self, sweep_id: SweepId, tail_hash: TransactionHash) -> None:
        """Record an attachment; a known one is left as it is.

        Args:
            sweep_id: The sweep it carries.
            tail_hash: Its transaction 0.
        """
        query = select(tail.c.hash).where(tail.c.hash == tail_hash)
        if (await self._connection.execute(query)).first() is not None:
            return
        await self._connection.execute(
            insert(tail).values(
                hash=tail_hash,
                sweep_id=sweep_id,
                confirmed=False,
                created_at_ms=self._context.now_ms,
            )
        )

    async def mark_confirmed(self, tail_hash: TransactionHash) -> None:
        """Record that the quorum shows an attachment confirmed.

        Args:
            tail_hash: Its transaction 0.
        """
        await self._connection.execute(
            update(tail).where(tail.c.hash == tail_hash).values(confirmed=True)
        )

    async def of_sweep(self, sweep_id: SweepId) -> list[Tail]:
        """List a sweep's attachments, the newest first.

        Args:
            sweep_id: The sweep.

        Returns:
            Its tails.
        """
        query = (
            select(tail)
            .where(tail.c.sweep_id == sweep_id)
            .order_by(tail.c.created_at_ms.desc(), tail.c.hash)
        )
        return [
            Tail(
                tail_hash=TransactionHash(row.hash),
                sweep_id=SweepId(row.sweep_id),
                confirmed=row.confirmed,
                created_at_ms=row.created_at_ms,
            )
            for row in await self._connection.execute(query)
        ]
