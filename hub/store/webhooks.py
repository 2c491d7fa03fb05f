# SPDX-License-Identifier: Apache-2.0
"""Webhooks as stored: where to, how far, and what became of each attempt."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    exists,
    insert,
    or_,
    select,
    update,
)

from hub.errors import WebhookUnknownError
from hub.store.api_schema import webhook, webhook_range
from hub.store.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A registered endpoint.

    Attributes:
        row: Its row.
        webhook_id: Its public name.
        url: Where events are posted.
        types: Only events of these types; empty: all.
        nonce: What its secret is derived from, 64 hex characters.
        state: ``enabled``, ``disabled`` or ``deleted``.
        position: The last event delivered or passed over.
        failures: Attempts that failed since the last success.
        failing_since_ms: Of the first of them, milliseconds since 1970.
        next_attempt_at_ms: Not before this time.
        created_at_ms: Milliseconds since 1970.
    """

    row: int
    webhook_id: str
    url: str
    types: tuple[str, ...]
    nonce: str
    state: str
    position: int
    failures: int
    failing_since_ms: int | None
    next_attempt_at_ms: int
    created_at_ms: int


class Webhooks:
    """Queries about webhooks inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def add(
        self,
        webhook_id: str,
        *,
        url: str,
        types: Collection[str],
        nonce: str,
        position: int,
    ) -> Webhook:
        """Register an endpoint.

        Args:
            webhook_id: Its new public name.
            url: Checked before.
            types: Only events of these types; empty: all.
            nonce: 64 hex characters, random.
            position: Events after this one are delivered.

        Returns:
            The webhook.
        """
        now_ms = self._context.now_ms
        await self._connection.execute(
            insert(webhook).values(
                webhook_id=webhook_id,
                url=url,
                types=json.dumps(sorted(types)),
                nonce=nonce,
                state="enabled",
                position=position,
                failures=0,
                next_attempt_at_ms=0,
                leased_until_ms=0,
                created_at_ms=now_ms,
            )
        )
        return await self.by_id(webhook_id)

    async def by_id(self, webhook_id: str) -> Webhook:
        """Find an endpoint that was not deleted.

        Args:
            webhook_id: Its public name.

        Returns:
            The webhook.

        Raises:
            WebhookUnknownError: If there is none.
        """
        query = select(webhook).where(
            webhook.c.webhook_id == webhook_id, webhook.c.state != "deleted"
        )
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            message = f"no webhook {webhook_id}"
            raise WebhookUnknownError(message)
        return _webhook(row)

    async def by_row(self, row: int) -> Webhook:
        """Find an endpoint by its row, in any state.

        Args:
            row: Its row.

        Returns:
            The webhook.
        """
        query = select(webhook).where(webhook.c.id == row)
        return _webhook((await self._connection.execute(query)).one())

    async def has_due(self, last_position: int) -> bool:
        """Say whether anything is to be posted now.

        Args:
            last_position: Of the published events.

        Returns:
            Whether an endpoint is behind, or is owed a redelivery, and may be tried.
        """
        owed = exists().where(webhook_range.c.webhook_row == webhook.c.id)
        query = select(webhook.c.id).where(
            *self._due(), or_(webhook.c.position < last_position, owed)
        )
        return (await self._connection.execute(query.limit(1))).first() is not None

    def _due(self) -> tuple[ColumnElement[bool], ...]:
        now_ms = self._context.now_ms
        return (
            webhook.c.state == "enabled",
            webhook.c.next_attempt_at_ms <= now_ms,
            webhook.c.leased_until_ms <= now_ms,
        )

    async def page(self, *, before_id: int | None, limit: int) -> list[Webhook]:
        """Page through the endpoints, the newest first.

        Args:
            before_id: The last row of the page before; None to begin.
            limit: At most this many.

        Returns:
            The next page.
        """
        query = select(webhook).where(webhook.c.state != "deleted")
        if before_id is not None:
            query = query.where(webhook.c.id < before_id)
        ordered = query.order_by(webhook.c.id.desc()).limit(limit)
        return [_webhook(row) for row in await self._connection.execute(ordered)]

    async def set_state(self, row: int, state: str) -> None:
        """Enable, disable or delete an endpoint; its failures are forgotten.

        Args:
            row: Its row.
            state: The new state.
        """
        await self._connection.execute(
            update(webhook)
            .where(webhook.c.id == row)
            .values(
                state=state, failures=0, failing_since_ms=None, next_attempt_at_ms=0
            )
        )

    async def lease_due(self, *, lease_ms: int, limit: int) -> list[Webhook]:
        """Take endpoints that may be tried now, so that no other hub tries them.

        Args:
            lease_ms: For how long.
            limit: At most this many.

        Returns:
            The webhooks taken.
        """
        now_ms = self._context.now_ms
        due = self._due()
        query = select(webhook.c.id).where(*due).order_by(webhook.c.id).limit(limit)
        rows = list((await self._connection.execute(query)).scalars())
        taken = (
            update(webhook)
            .where(webhook.c.id.in_(rows), *due)
            .values(leased_until_ms=now_ms + lease_ms)
            .returning(webhook)
        )
        return [_webhook(row) for row in await self._connection.execute(taken)]

    async def renew(self, row: int, *, lease_ms: int) -> None:
        """Go on holding an endpoint.

        Args:
            row: Its row.
            lease_ms: For how long from now.
        """
        await self._connection.execute(
            update(webhook)
            .where(webhook.c.id == row)
            .values(leased_until_ms=self._context.now_ms + lease_ms)
        )

    async def release(self, row: int) -> None:
        """Give an endpoint back.

        Args:
            row: Its row.
        """
        await self._connection.execute(
            update(webhook).where(webhook.c.id == row).values(leased_until_ms=0)
        )

    async def delivered(self, row: int, *, position: int) -> None:
        """Record how far an endpoint is; its failures are forgotten.

        Args:
            row: Its row.
            position: The last event delivered or passed over.
        """
        await self._connection.execute(
            update(webhook)
            .where(webhook.c.id == row, webhook.c.position < position)
            .values(position=position)
        )
        await self._connection.execute(
            update(webhook)
            .where(webhook.c.id == row)
            .values(failures=0, failing_since_ms=None, next_attempt_at_ms=0)
        )

    async def failed(self, row: int, *, next_attempt_at_ms: int) -> None:
        """Record a failure.

        Args:
            row: The endpoint's row.
            next_attempt_at_ms: Not before this time.
        """
        since = webhook.c.failing_since_ms
        await self._connection.execute(
            update(webhook)
            .where(webhook.c.id == row, since.is_(None))
            .values(failing_since_ms=self._context.now_ms)
        )
        await self._connection.execute(
            update(webhook)
            .where(webhook.c.id == row)
            .values(
                failures=webhook.c.failures + 1, next_attempt_at_ms=next_attempt_at_ms
            )
        )


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        row=row.id,
        webhook_id=row.webhook_id,
        url=row.url,
        types=tuple(json.loads(row.types)),
        nonce=row.nonce,
        state=row.state,
        position=row.position,
        failures=row.failures,
        failing_since_ms=row.failing_since_ms,
        next_attempt_at_ms=row.next_attempt_at_ms,
        created_at_ms=row.created_at_ms,
    )
