# SPDX-License-Identifier: Apache-2.0
"""The head of the appliance's journal: one row, the highest ever seen."""

from sqlalchemy import delete, insert, select

from hub.errors import HeadConflictError
from hub.model import HeadToken
from hub.store.context import Context
from hub.store.schema import appliance_head


class Head:
    """The head token inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection

    async def get(self) -> HeadToken | None:
        """Read the token to send with the next request.

        Returns:
            The highest one stored; None before the first reply, also of an epoch
            that people have accepted.
        """
        stored = await self._stored(lock=False)
        return stored if stored is not None and stored.sequence else None

    async def accept_epoch(self, epoch: int) -> HeadToken:
        """Go on with a journal that was restored; for people to decide.

        Args:
            epoch: The one that ``restore`` printed, higher than the one known.

        Returns:
            What is known from now on: the same journal, no row of it yet.

        Raises:
            HeadConflictError: If no journal is known, or the epoch does not rise.
        """
        stored = await self._stored()
        if stored is None:
            raise HeadConflictError("no head is known yet: there is nothing to accept")
        if epoch <= stored.epoch:
            raise HeadConflictError(f"epoch {stored.epoch} is known, {epoch} came")
        opened = HeadToken(
            journal_id=stored.journal_id, epoch=epoch, sequence=0, hash="", mac=""
        )
        await self._replace(opened)
        return opened

    async def _stored(self, *, lock: bool = True) -> HeadToken | None:
        query = select(appliance_head)
        if lock:
            query = query.with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return None
        return HeadToken(
            journal_id=row.journal_id,
            epoch=row.epoch,
            sequence=row.sequence,
            hash=row.hash,
            mac=row.mac,
        )

    async def remember(self, token: HeadToken) -> None:
        """Keep a reply's token if it is the highest.

        Call it in the transaction that acts on the reply.

        Args:
            token: From a reply. An older one is ignored: replies may overtake
                each other. Another journal, or another hash for the same row,
                raises ``HeadConflictError``.
        """
        stored = await self._stored()
        if stored is None:
            await self._replace(token)
            return
        _require_same_journal(stored, token)
        if token.sequence > stored.sequence:
            await self._replace(token)

    async def _replace(self, token: HeadToken) -> None:
        await self._connection.execute(delete(appliance_head))
        await self._connection.execute(
            insert(appliance_head).values(
                id=1,
                journal_id=token.journal_id,
                epoch=token.epoch,
                sequence=token.sequence,
                hash=token.hash,
                mac=token.mac,
            )
        )


def _require_same_journal(stored: HeadToken, token: HeadToken) -> None:
    if token.journal_id != stored.journal_id:
        message = f"head of journal {token.journal_id}, known is {stored.journal_id}"
        raise HeadConflictError(message)
    if token.epoch != stored.epoch:
        # A restored journal opens a new epoch: people decide, not a reply.
        message = (
            f"head of epoch {token.epoch}, known is {stored.epoch}: if the appliance"
            f" was restored, run `saltkeep-hub accept-epoch {token.epoch}`"
        )
        raise HeadConflictError(message)
    if token.sequence == stored.sequence and token.hash != stored.hash:
        message = f"row {token.sequence} was {stored.hash}, is {token.hash}"
        raise HeadConflictError(message)
