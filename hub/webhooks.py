# SPDX-License-Identifier: Apache-2.0
"""Webhooks: posts published events, in order, at least once.

Each endpoint has a cursor; it moves on when the endpoint has answered 2xx, so that a
crash repeats the last event and loses none. An endpoint that fails is tried again with
growing pauses; one that failed for too long is disabled, which is an event itself. A
lease keeps several hubs from posting the same event at once.
"""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec

from failpoints import failpoint
from hub.api.v1.event_types import event_of, reasons_of
from hub.api.v1.resources import Event
from hub.clock import Clock
from hub.errors import WebhookUrlRefusedError
from hub.model import Happening, NoticeReason
from hub.store import Store, Transaction
from hub.store.deliveries import Attempt, Range
from hub.store.events import NewEvent
from hub.store.webhooks import Webhook
from hub.webhook_signatures import derive_secret, sign
from hub.webhook_urls import require_allowed_url

_log = logging.getLogger(__name__)
_BATCH: Final = 50
_ENDPOINTS: Final = 20
_MILLISECONDS: Final = 1000
_SPREAD_PERCENT: Final = 20
"""A pause is lengthened by up to so many percent, so that hubs do not march in step."""
_MAX_DOUBLINGS: Final = 32
_ACCEPTED: Final = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """How events are posted.

    Attributes:
        key: What secrets are derived from; None: nothing is posted.
        timeout_s: Deadline of one delivery.
        first_retry_s: Pause after the first failure.
        longest_retry_s: Longest pause.
        give_up_after_s: An endpoint that failed for this long is disabled.
    """

    key: bytes | None
    timeout_s: float
    first_retry_s: float
    longest_retry_s: float
    give_up_after_s: float

    def __repr__(self) -> str:
        """Return the settings without the key."""
        return f"WebhookSettings(key={'set' if self.key else 'none'})"


class Webhooks:
    """Posts events; use it with ``async with``.

    Args:
        store: The database.
        settings: How.
        clock: The time.
    """

    def __init__(
        self, store: Store, settings: WebhookSettings, *, clock: Clock
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connections.

        Returns:
            The flow itself.
        """
        timeout = aiohttp.ClientTimeout(total=self._settings.timeout_s)
        self._session = aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def tick(self) -> None:
        """Post what is due, to every endpoint that may be tried."""
        if self._settings.key is None:
            return
        if not await self._anything_due():
            return
        lease_ms = self._lease_ms()
        due = await self._store.run(
            lambda tx: tx.webhooks.lease_due(lease_ms=lease_ms, limit=_ENDPOINTS)
        )
        async with asyncio.TaskGroup() as posts:
            for webhook in due:
                posts.create_task(self._serve(webhook))

    def _lease_ms(self) -> int:
        """Return how long one delivery may hold an endpoint; each renews it."""
        return int((2 * self._settings.timeout_s + 1) * _MILLISECONDS)

    async def _anything_due(self) -> bool:
        """Look without writing: most rounds find nothing."""
        async with self._store.reading() as tx:
            last = await tx.published.last_position()
            return await tx.webhooks.has_due(last)

    async def _serve(self, webhook: Webhook) -> None:
        try:
            await self._post_new(webhook)
            await self._post_again(webhook)
        finally:
            await self._store.run(lambda tx: tx.webhooks.release(webhook.row))

    async def _post_new(self, webhook: Webhook) -> None:
        """Post what comes after the cursor, a batch of it."""
        async with self._store.reading() as tx:
            last = await tx.published.last_position()
            found = await tx.published.after(
                webhook.position,
                limit=_BATCH,
                reasons=reasons_of(list(webhook.types)),
                until=last,
            )
        for happening in found:
            if not await self._post(webhook, happening):
                return
            failpoint("hub.webhook.posted")
            await self._move(webhook, happening.position)
        if len(found) < _BATCH and last > webhook.position:
            await self._move(webhook, last)

    async def _move(self, webhook: Webhook, position: int) -> None:
        await self._store.run(
            lambda tx: tx.webhooks.delivered(webhook.row, position=position)
        )

    async def _post_again(self, webhook: Webhook) -> None:
        """Post what an administrator ordered once more, a batch of it."""
        async with self._store.reading() as tx:
            order = await tx.deliveries.next_range(webhook.row)
            if order is None:
                return
            found = await tx.published.after(
                order.next_position - 1,
                limit=_BATCH,
                reasons=reasons_of(list(webhook.types)),
                until=order.last_position,
            )
        for happening in found:
            if not await self._post(webhook, happening):
                return
            await self._advance(order, happening.position)
        if len(found) < _BATCH:
            await self._advance(order, order.last_position)

    async def _advance(self, order: Range, position: int) -> None:
        await self._store.run(lambda tx: tx.deliveries.advance(order, to=position))

    async def _post(self, webhook: Webhook, happening: Happening) -> bool:
        """Post one event and write the attempt down.

        Returns:
            Whether the endpoint took it.
        """
        begun = time.monotonic()
        status, fault = await self._send(webhook, event_of(happening))
        duration_ms = int((time.monotonic() - begun) * _MILLISECONDS)
        taken = status in _ACCEPTED
        async with self._store.reading() as tx:
            current = await tx.webhooks.by_row(webhook.row)
        attempt = Attempt(
            position=happening.position,
            attempt=current.failures + 1,
            status=status,
            error="" if taken else fault,
            duration_ms=duration_ms,
        )
        await self._store.run(
            lambda tx: self._record(tx, current, attempt, taken=taken)
        )
        return taken

    async def _send(self, webhook: Webhook, event: Event) -> tuple[int, str]:
        """Post an event.

        Returns:
            The status, 0 without a reply; and what went wrong.
        """
        assert self._settings.key is not None, "nothing is posted without a key"
        assert self._session is not None, "use `async with`"
        secret = derive_secret(self._settings.key, webhook.nonce)
        body = msgspec.json.encode(event)
        message_id = f"event-{event.position}"
        now_s = self._clock() // _MILLISECONDS
        signature = sign(secret, message_id=message_id, timestamp_s=now_s, body=body)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": signature,
        }
        try:
            require_allowed_url(webhook.url)
            async with self._session.post(
                webhook.url, data=body, headers=headers, allow_redirects=False
            ) as reply:
                return reply.status, f"answered {reply.status}"
        except (TimeoutError, aiohttp.ClientError, WebhookUrlRefusedError) as error:
            return 0, type(error).__name__

    async def _record(
        self, tx: Transaction, webhook: Webhook, attempt: Attempt, *, taken: bool
    ) -> None:
        await tx.deliveries.log(webhook.row, attempt)
        await tx.webhooks.renew(webhook.row, lease_ms=self._lease_ms())
        if taken:
            return
        now_ms = tx.now_ms
        pause_ms = self._pause_ms(webhook.failures)
        await tx.webhooks.failed(webhook.row, next_attempt_at_ms=now_ms + pause_ms)
        since_ms = webhook.failing_since_ms
        give_up_ms = self._settings.give_up_after_s * _MILLISECONDS
        if since_ms is not None and now_ms - since_ms >= give_up_ms:
            await tx.webhooks.set_state(webhook.row, "disabled")
            await tx.events.add([await _disabled(tx, webhook)])
            _log.error("webhook %s is disabled: it failed too long", webhook.webhook_id)

    def _pause_ms(self, failures: int) -> int:
        doubled = self._settings.first_retry_s * 2 ** min(failures, _MAX_DOUBLINGS)
        pause_ms = int(min(doubled, self._settings.longest_retry_s) * _MILLISECONDS)
        return pause_ms + secrets.randbelow(pause_ms * _SPREAD_PERCENT // 100 + 1)


class Cleaner:
    """Deletes what the API keeps no longer.

    Args:
        store: The database.
        keep_log_s: How long the delivery log is kept.
        clock: The time.
    """

    def __init__(self, store: Store, *, keep_log_s: float, clock: Clock) -> None:
        self._store = store
        self._keep_log_ms = int(keep_log_s * _MILLISECONDS)
        self._clock = clock

    async def tick(self) -> None:
        """Delete replies no retry is given any more, and old deliveries."""
        await self._store.run(lambda tx: tx.idempotency.forget_expired())
        before_ms = self._clock() - self._keep_log_ms
        await self._store.run(
            lambda tx: tx.deliveries.forget_attempts(older_than_ms=before_ms)
        )


async def _disabled(tx: Transaction, webhook: Webhook) -> NewEvent:
    owner = await tx.accounts.owner()
    return NewEvent(
        reason=NoticeReason.WEBHOOK_DISABLED,
        account_id=owner.account_id,
        message=webhook.webhook_id,
    )
