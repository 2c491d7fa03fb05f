# SPDX-License-Identifier: Apache-2.0
"""Replies kept for retries, written in the transaction of the effect they tell of."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from hub.api_keys import ApiKeyRow
from hub.errors import FaultError, IdempotencyKeyReusedError
from hub.store.api_schema import idempotency
from hub.store.context import Context

_UNANSWERED = 0


class TwinCommittedError(FaultError):
    """The same request was committed elsewhere meanwhile; look up its reply."""

    code = "twin-committed"


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A reply as it was given first.

    Attributes:
        status: HTTP status.
        body: JSON.
    """

    status: int
    body: str


class Idempotency:
    """Queries about kept replies inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def find(
        self, owner: ApiKeyRow, key: str, *, digest: str
    ) -> KeptReply | None:
        """Look up what a request was answered before.

        Args:
            owner: The API key that sent it.
            key: Its idempotency key.
            digest: SHA-256 of its content, hex.

        Returns:
            The reply; None when the key is new or has expired.

        Raises:
            IdempotencyKeyReusedError: If the content was another.
        """
        query = select(idempotency).where(
            idempotency.c.api_key_id == owner,
            idempotency.c.key == key,
            idempotency.c.expires_at_ms > self._context.now_ms,
        )
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            return None
        if row.digest != digest:
            message = "the idempotency key was used with another request"
            raise IdempotencyKeyReusedError(message)
        return KeptReply(row.status, row.body)

    async def claim(
        self, owner: ApiKeyRow, key: str, *, digest: str, lifetime_ms: int
    ) -> None:
        """Take a key before the effect; a twin's insert waits for our commit.

        Args:
            owner: The API key.
            key: Its idempotency key.
            digest: SHA-256 of the request's content, hex.
            lifetime_ms: How long the reply is kept.

        Raises:
            TwinCommittedError: If a twin was faster.
        """
        now_ms = self._context.now_ms
        await self._connection.execute(
            delete(idempotency).where(
                idempotency.c.api_key_id == owner,
                idempotency.c.key == key,
                idempotency.c.expires_at_ms <= now_ms,
            )
        )
        try:
            await self._connection.execute(
                insert(idempotency).values(
                    api_key_id=owner,
                    key=key,
                    digest=digest,
                    status=_UNANSWERED,
                    body="",
                    created_at_ms=now_ms,
                    expires_at_ms=now_ms + lifetime_ms,
                )
            )
        except IntegrityError as error:
            message = "the same request was committed meanwhile"
            raise TwinCommittedError(message) from error

    async def keep(self, owner: ApiKeyRow, key: str, reply: KeptReply) -> None:
        """Store the reply of a key that this transaction claimed.

        Args:
            owner: The API key.
            key: Its idempotency key.
            reply: What the client is told.
        """
        await self._connection.execute(
            update(idempotency)
            .where(idempotency.c.api_key_id == owner, idempotency.c.key == key)
            .values(status=reply.status, body=reply.body)
        )

    async def forget_expired(self) -> int:
        """Delete what no retry is given any more.

        Returns:
            How many.
        """
        result = await self._connection.execute(
            delete(idempotency).where(
                idempotency.c.expires_at_ms <= self._context.now_ms
            )
        )
        return int(result.rowcount)
