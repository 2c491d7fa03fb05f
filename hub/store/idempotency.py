# SPDX-License-Identifier: Apache-2.0
"""Replies kept for retries, written in the transaction of the effect they tell of."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, delete, select

from hub.api_keys import ApiKeyRow
from hub.errors import FaultError, IdempotencyKeyReusedError
from hub.store.api_schema import idempotency
from hub.store.audit import NEW_AUDIT_LINE, Done, audit_row
from hub.store.context import Context
from hub.store.engine import Upsert, chains_inserts

_FIND: Final = select(idempotency).where(
    idempotency.c.api_key_id == bindparam("owner"),
    idempotency.c.key == bindparam("key"),
    idempotency.c.expires_at_ms > bindparam("now_ms"),
)
_KEEP: Final = Upsert(
    idempotency,
    replaced=("digest", "status", "body", "created_at_ms", "expires_at_ms"),
    where=idempotency.c.expires_at_ms <= bindparam("now_ms"),
)

_KEEP_AND_AUDIT: Final = _KEEP.on_postgresql.add_cte(NEW_AUDIT_LINE.cte("audited"))


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
        which = {"owner": owner, "key": key, "now_ms": self._context.now_ms}
        row = (await self._connection.execute(_FIND, which)).one_or_none()
        if row is None:
            return None
        if row.digest != digest:
            message = "the idempotency key was used with another request"
            raise IdempotencyKeyReusedError(message)
        return KeptReply(row.status, row.body)

    async def keep(
        self,
        owner: ApiKeyRow,
        key: str,
        reply: KeptReply,
        *,
        digest: str,
        lifetime_ms: int,
        done: Done,
    ) -> None:
        """Store a reply and the audit's line with its effect, as the last thing.

        A twin's statement waits for our commit. It reads nothing before it writes:
        that read would collide with every key written beside it.

        Args:
            owner: The API key.
            key: Its idempotency key; what is kept by it and has expired is replaced.
            reply: What the client is told.
            digest: SHA-256 of the request's content, hex.
            lifetime_ms: How long the reply is kept.
            done: What the audit is told.

        Raises:
            TwinCommittedError: If a twin was faster; roll back.
        """
        now_ms = self._context.now_ms
        row = {
            "api_key_id": owner,
            "key": key,
            "digest": digest,
            "status": reply.status,
            "body": reply.body,
            "created_at_ms": now_ms,
            "expires_at_ms": now_ms + lifetime_ms,
            "now_ms": now_ms,
        }
        line = audit_row(done, now_ms=now_ms)
        if chains_inserts(self._connection):
            kept = await self._connection.execute(_KEEP_AND_AUDIT, row | line)
        else:
            await self._connection.execute(NEW_AUDIT_LINE, line)
            kept = await self._connection.execute(_KEEP.on_sqlite, row)
        if kept.rowcount != 1:
            message = "the same request was committed meanwhile"
            raise TwinCommittedError(message)

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
