# SPDX-License-Identifier: Apache-2.0
"""API keys as stored: a digest, never the key."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select, update

from hub.api_keys import (
    ApiKey,
    ApiKeyRow,
    KeyId,
    Scope,
    scopes_from_text,
    scopes_to_text,
)
from hub.errors import ApiKeyUnknownError
from hub.store.api_schema import api_key
from hub.store.context import Context

_FIND: Final = select(api_key).where(api_key.c.key_id == bindparam("id"))


class ApiKeys:
    """Queries about API keys inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def add(
        self,
        key_id: KeyId,
        *,
        name: str,
        digest: str,
        scopes: Iterable[Scope],
        expires_at_ms: int | None = None,
    ) -> ApiKey:
        """Record a key that was just made.

        Args:
            key_id: Its public name.
            name: What its owner calls it, 1-64 characters.
            digest: SHA-256 of the whole key, hex.
            scopes: What it may do.
            expires_at_ms: From then on it is refused; None: never.

        Returns:
            The key as stored.
        """
        await self._connection.execute(
            insert(api_key).values(
                key_id=key_id,
                name=name,
                digest=digest,
                scopes=scopes_to_text(scopes),
                created_at_ms=self._context.now_ms,
                expires_at_ms=expires_at_ms,
            )
        )
        return await self.by_id(key_id)

    async def find(self, key_id: KeyId) -> ApiKey | None:
        """Find a key by its public name.

        Args:
            key_id: 12 hex characters.

        Returns:
            The key, revoked or not; None when there is none.
        """
        row = (await self._connection.execute(_FIND, {"id": key_id})).one_or_none()
        return None if row is None else _key(row)

    async def by_id(self, key_id: KeyId) -> ApiKey:
        """Find a key that must exist.

        Args:
            key_id: Its public name.

        Returns:
            The key.

        Raises:
            ApiKeyUnknownError: If there is none.
        """
        found = await self.find(key_id)
        if found is None:
            message = f"no API key {key_id}"
            raise ApiKeyUnknownError(message)
        return found

    async def revoke(self, key_id: KeyId) -> ApiKey:
        """Refuse a key from now on; repeatable.

        Args:
            key_id: Its public name; ``ApiKeyUnknownError`` when there is none.

        Returns:
            The key as it is now.
        """
        await self.by_id(key_id)
        await self._connection.execute(
            update(api_key)
            .where(api_key.c.key_id == key_id, api_key.c.revoked_at_ms.is_(None))
            .values(revoked_at_ms=self._context.now_ms)
        )
        return await self.by_id(key_id)

    async def touch(self, row: ApiKeyRow) -> None:
        """Record that a key was used.

        Args:
            row: The key's row.
        """
        await self._connection.execute(
            update(api_key)
            .where(api_key.c.id == row)
            .values(last_used_at_ms=self._context.now_ms)
        )

    async def page(self, *, before_id: int | None, limit: int) -> list[ApiKey]:
        """Page through the keys, the newest first.

        Args:
            before_id: The last row of the page before; None to begin.
            limit: At most this many.

        Returns:
            The next page.
        """
        query = select(api_key).order_by(api_key.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(api_key.c.id < before_id)
        return [_key(row) for row in await self._connection.execute(query)]


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        row=ApiKeyRow(row.id),
        key_id=KeyId(row.key_id),
        name=row.name,
        digest=row.digest,
        scopes=scopes_from_text(row.scopes),
        created_at_ms=row.created_at_ms,
        expires_at_ms=row.expires_at_ms,
        revoked_at_ms=row.revoked_at_ms,
        last_used_at_ms=row.last_used_at_ms,
    )
