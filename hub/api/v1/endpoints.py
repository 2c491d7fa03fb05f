# SPDX-License-Identifier: Apache-2.0
"""Webhooks as administrators register, look at and repair them."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub import errors
from hub.api.v1.bodies import ListQuery, NewWebhook, Redelivery
from hub.api.v1.errors import RequestMalformedError
from hub.api.v1.event_types import reasons_of
from hub.api.v1.operations import Call, Effect, Keyed, Operation
from hub.api.v1.paging import read_page
from hub.api.v1.resources import (
    Delivery,
    Page,
    RedeliveryOrder,
    Webhook,
    WebhookMade,
)
from hub.api_keys import Scope
from hub.config import read_webhook_key
from hub.store import Store, Transaction
from hub.store.deliveries import Attempt
from hub.store.webhooks import Webhook as StoredWebhook
from hub.webhook_signatures import derive_secret
from hub.webhook_urls import require_allowed_url

_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class EndpointOperations:
    """What concerns webhooks.

    Attributes:
        store: The database.
        key_file: What secrets are derived from; None: webhooks are off.
    """

    store: Store
    key_file: Path | None

    def operations(self) -> list[Operation]:
        """List them."""
        unknown = (errors.WebhookUnknownError,)
        return [
            Operation(
                name="create-webhook",
                method="POST",
                path="/v1/webhooks",
                summary="Register an endpoint; its secret is shown this once.",
                scope=Scope.ADMIN,
                body=NewWebhook,
                reply=WebhookMade,
                status=201,
                keyed=Keyed.REQUIRED,
                refusals=(errors.WebhookUrlRefusedError, errors.WebhooksOffError),
                plan=self.create_webhook,
                redact=_without_secret,
            ),
            Operation(
                name="list-webhooks",
                method="GET",
                path="/v1/webhooks",
                summary="List endpoints, the newest first.",
                scope=Scope.ADMIN,
                query=ListQuery,
                reply=Page[Webhook],
                read=self.list_webhooks,
            ),
            Operation(
                name="get-webhook",
                method="GET",
                path="/v1/webhooks/{webhook_id}",
                summary="Get an endpoint and how far it is.",
                scope=Scope.ADMIN,
                reply=Webhook,
                refusals=unknown,
                read=self.get_webhook,
            ),
            Operation(
                name="delete-webhook",
                method="DELETE",
                path="/v1/webhooks/{webhook_id}",
                summary="Send nothing to an endpoint any more.",
                scope=Scope.ADMIN,
                reply=Webhook,
                keyed=Keyed.OPTIONAL,
                refusals=unknown,
                plan=self.delete_webhook,
            ),
            Operation(
                name="enable-webhook",
                method="POST",
                path="/v1/webhooks/{webhook_id}/enable",
                summary="Go on with an endpoint where it stopped, at once.",
                scope=Scope.ADMIN,
                reply=Webhook,
                keyed=Keyed.OPTIONAL,
                refusals=unknown,
                plan=self.enable_webhook,
            ),
            Operation(
                name="list-deliveries",
                method="GET",
                path="/v1/webhooks/{webhook_id}/deliveries",
                summary="List attempts at an endpoint, the newest first.",
                scope=Scope.ADMIN,
                query=ListQuery,
                reply=Page[Delivery],
                refusals=unknown,
                read=self.list_deliveries,
            ),
            Operation(
                name="redeliver",
                method="POST",
                path="/v1/webhooks/{webhook_id}/redeliveries",
                summary="Deliver one event, or all of a range, once more.",
                scope=Scope.ADMIN,
                body=Redelivery,
                reply=RedeliveryOrder,
                status=201,
                keyed=Keyed.REQUIRED,
                refusals=unknown,
                plan=self.redeliver,
            ),
        ]

    async def create_webhook(self, call: Call) -> Effect:
        """Register an endpoint; events from now on are sent to it."""
        asked: NewWebhook = call.body
        if self.key_file is None:
            raise errors.WebhooksOffError("api.v1.webhook_key_file is not set")
        require_allowed_url(asked.url)
        reasons_of(asked.types)
        nonce = secrets.token_hex(_NONCE_BYTES)
        secret = derive_secret(read_webhook_key(self.key_file), nonce)

        async def register(tx: Transaction) -> WebhookMade:
            stored = await tx.webhooks.add(
                secrets.token_hex(_ID_BYTES),
                url=asked.url,
                types=asked.types,
                nonce=nonce,
                position=await tx.published.last_position(),
            )
            return WebhookMade(webhook=_webhook_of(stored), secret=secret)

        return register

    async def list_webhooks(self, call: Call) -> Page[Webhook]:
        """List endpoints."""

        async def fetch(before: int | None, limit: int) -> list[StoredWebhook]:
            async with self.store.reading() as tx:
                return await tx.webhooks.page(before_id=before, limit=limit)

        return await read_page(
            call.query,
            of="webhooks",
            fetch=fetch,
            row_id=lambda stored: stored.row,
            show=_webhook_of,
        )

    async def get_webhook(self, call: Call) -> Webhook:
        """Get an endpoint."""
        return _webhook_of(await self._find(call))

    async def delete_webhook(self, call: Call) -> Effect:
        """Delete an endpoint; its delivery log stays in the database."""
        found = await self._find(call)

        async def remove(tx: Transaction) -> Webhook:
            stored = await tx.webhooks.by_id(found.webhook_id)
            await tx.webhooks.set_state(stored.row, "deleted")
            return _webhook_of(stored, state="deleted")

        return remove

    async def enable_webhook(self, call: Call) -> Effect:
        """Enable an endpoint and try it at once."""
        found = await self._find(call)

        async def enable(tx: Transaction) -> Webhook:
            stored = await tx.webhooks.by_id(found.webhook_id)
            await tx.webhooks.set_state(stored.row, "enabled")
            return _webhook_of(await tx.webhooks.by_id(found.webhook_id))

        return enable

    async def list_deliveries(self, call: Call) -> Page[Delivery]:
        """List attempts."""
        found = await self._find(call)

        async def fetch(before: int | None, limit: int) -> list[Attempt]:
            async with self.store.reading() as tx:
                return await tx.deliveries.attempts(
                    found.row, before_id=before, limit=limit
                )

        return await read_page(
            call.query,
            of=f"deliveries of {found.webhook_id}",
            fetch=fetch,
            row_id=lambda attempt: attempt.row,
            show=_delivery_of,
        )

    async def redeliver(self, call: Call) -> Effect:
        """Order a redelivery; the flow does it."""
        asked: Redelivery = call.body
        last = asked.last_position or asked.first_position
        if last < asked.first_position:
            raise RequestMalformedError("the range ends before it begins")
        found = await self._find(call)

        async def order(tx: Transaction) -> RedeliveryOrder:
            await tx.deliveries.add_range(
                found.row, first=asked.first_position, last=last
            )
            return RedeliveryOrder(
                first_position=asked.first_position, last_position=last
            )

        return order

    async def _find(self, call: Call) -> StoredWebhook:
        text = call.path["webhook_id"]
        if "\0" in text:
            raise errors.WebhookUnknownError("no such webhook")
        async with self.store.reading() as tx:
            return await tx.webhooks.by_id(text)


def _webhook_of(stored: StoredWebhook, *, state: str | None = None) -> Webhook:
    return Webhook(
        webhook_id=stored.webhook_id,
        url=stored.url,
        types=list(stored.types),
        state=state or stored.state,
        position=stored.position,
        failures=stored.failures,
        failing_since_ms=stored.failing_since_ms,
        next_attempt_at_ms=stored.next_attempt_at_ms or None,
        created_at_ms=stored.created_at_ms,
    )


def _delivery_of(attempt: Attempt) -> Delivery:
    return Delivery(
        position=attempt.position,
        attempt=attempt.attempt,
        status=attempt.status,
        error=attempt.error,
        duration_ms=attempt.duration_ms,
        created_at_ms=attempt.created_at_ms,
    )


def _without_secret(reply: WebhookMade) -> WebhookMade:
    return WebhookMade(webhook=reply.webhook, secret=None)
