# SPDX-License-Identifier: Apache-2.0
"""A client of ``/v1`` for Python programs: typed, asynchronous, careful with retries.

Only what may be repeated is repeated: reads, and effects under one idempotency key
that is drawn once per call. A refusal is never repeated. Streams go on where they
broke off. It imports aiohttp, msgspec and PyJWT, and nothing of the hub that needs
more.

    async with HubClient("http://127.0.0.1:50053", key) as hub:
        address = await hub.create_address("alice")
        async for event in hub.events(types=["deposit.credited"]):
            ...
"""

import asyncio
import secrets
import ssl
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import aiohttp

from hub.api.v1 import bodies
from hub.api.v1 import resources as res
from hub.client_connection import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Connection,
    HubAwayError,
    HubRefusedError,
    given,
)
from hub.receipts import PinnedIdentity, require_receipt

__all__ = ["HubAwayError", "HubClient", "HubRefusedError"]

_Reply = TypeVar("_Reply")
_KEY_BYTES: Final = 18


class HubClient:
    """One hub and one API key; use it with ``async with``.

    Args:
        url: ``http(s)://HOST:PORT``.
        api_key: As ``saltkeep-hub api-key create`` printed it.
        tls: For a private authority or a client certificate.
        identity: What receipts of addresses are checked against; None: unchecked.
        timeout_s: Of one attempt, in seconds.
        attempts: How often a request is sent at most.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        tls: ssl.SSLContext | None = None,
        identity: PinnedIdentity | None = None,
        timeout_s: float = 60.0,
        attempts: int = 5,
    ) -> None:
        self._connection = Connection(
            url, api_key, tls=tls, timeout_s=timeout_s, attempts=attempts
        )
        self._identity = identity

    async def __aenter__(self) -> Self:
        """Open the connections.

        Returns:
            The client itself.
        """
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._connection.__aexit__(kind, error, traceback)

    # --- users and addresses -----------------------------------------------------

    async def create_user(
        self, user_id: str, *, idempotency_key: str | None = None
    ) -> res.User:
        """Open a user."""
        body = bodies.NewUser(user_id=user_id)
        return await self._do("/v1/users", body, res.User, idempotency_key)

    async def user(self, user_id: str) -> res.User:
        """Get a user with their balances."""
        return await self._get(f"/v1/users/{_part(user_id)}", res.User)

    async def users(self, *, limit: int = 100) -> AsyncGenerator[res.User]:
        """Go through all users, the newest first.

        Yields:
            The users.
        """
        query = {"limit": limit}
        async for one in self._all("/v1/users", res.Page[res.User], query):
            yield one

    async def create_address(
        self, user_id: str, *, idempotency_key: str | None = None
    ) -> res.DepositAddress:
        """Get a fresh deposit address, its receipt checked if there is a key to do so.

        Args:
            user_id: Whose deposits it will receive.
            idempotency_key: To go on with an earlier call.

        Returns:
            The address; ``ReceiptMismatchError`` if the appliance did not issue it.
        """
        path = f"/v1/users/{_part(user_id)}/addresses"
        made = await self._do(path, None, res.DepositAddress, idempotency_key)
        if self._identity is not None:
            require_receipt(
                made.receipt, self._identity, address=made.address, user_id=user_id
            )
        return made

    async def address(self, address: str) -> res.DepositAddress:
        """Say whose an address of the hub is."""
        return await self._get(f"/v1/addresses/{_part(address)}", res.DepositAddress)

    async def was_spent(self, address: str) -> bool:
        """Say whether any address was spent from."""
        path = f"/v1/addresses/{_part(address)}/spent"
        return (await self._get(path, res.SpentReport)).spent

    async def deposits(
        self, *, user_id: str | None = None, state: str | None = None, limit: int = 100
    ) -> AsyncGenerator[res.Deposit]:
        """Go through deposits, the newest first.

        Yields:
            The deposits.
        """
        query = {"user_id": user_id, "state": state, "limit": limit}
        async for one in self._all("/v1/deposits", res.Page[res.Deposit], query):
            yield one

    # --- what moves money --------------------------------------------------------

    async def withdraw(
        self, wish: bodies.NewWithdrawal, *, idempotency_key: str | None = None
    ) -> res.Withdrawal:
        """Reserve a withdrawal, once, however often the network fails."""
        return await self._do("/v1/withdrawals", wish, res.Withdrawal, idempotency_key)

    async def check_withdrawal(self, wish: bodies.NewWithdrawal) -> res.WithdrawalCheck:
        """List everything that is wrong with a withdrawal; reserve nothing."""
        return await self._do("/v1/withdrawals/check", wish, res.WithdrawalCheck, None)

    async def withdrawal(self, uuid: str) -> res.Withdrawal:
        """Get a withdrawal."""
        return await self._get(f"/v1/withdrawals/{_part(uuid)}", res.Withdrawal)

    async def withdrawals(
        self, *, user_id: str | None = None, state: str | None = None, limit: int = 100
    ) -> AsyncGenerator[res.Withdrawal]:
        """Go through withdrawals, the newest first.

        Yields:
            The withdrawals.
        """
        query = {"user_id": user_id, "state": state, "limit": limit}
        async for one in self._all("/v1/withdrawals", res.Page[res.Withdrawal], query):
            yield one

    async def cancel_withdrawal(self, uuid: str) -> res.Withdrawal:
        """Give a withdrawal back that no sweep has taken."""
        path = f"/v1/withdrawals/{_part(uuid)}/cancel"
        return await self._do(path, None, res.Withdrawal, None)

    async def authorise_withdrawal(self, uuid: str, jws: str) -> res.Withdrawal:
        """Bring the exchange's signature on a withdrawal."""
        path = f"/v1/withdrawals/{_part(uuid)}/authorisation"
        body = bodies.Authorisation(authorisation=jws)
        return await self._do(path, body, res.Withdrawal, None)

    async def approve_withdrawal(self, uuid: str) -> res.Withdrawal:
        """Approve a withdrawal that another key asked for."""
        path = f"/v1/withdrawals/{_part(uuid)}/approval"
        return await self._do(path, None, res.Withdrawal, None)

    async def transfer(
        self,
        transfers: Sequence[bodies.Transfer],
        *,
        idempotency_key: str | None = None,
    ) -> res.TransferBatch:
        """Move tokens between accounts, all or nothing, once."""
        body = bodies.NewTransferBatch(transfers=list(transfers))
        path = "/v1/transfer-batches"
        return await self._do(path, body, res.TransferBatch, idempotency_key)

    # --- what happened -----------------------------------------------------------

    async def why_withdrawal(self, uuid: str) -> res.Explanation:
        """Say why a withdrawal is not out yet, or that it is."""
        path = f"/v1/withdrawals/{_part(uuid)}/explanation"
        return await self._get(path, res.Explanation)

    async def why_sweep(self, bundle_hash: str) -> res.Explanation:
        """Say why a sweep is not confirmed yet, or that it is."""
        path = f"/v1/sweeps/{_part(bundle_hash)}/explanation"
        return await self._get(path, res.Explanation)

    async def sweep(self, bundle_hash: str) -> res.SweepTails:
        """Get a sweep with its attachments."""
        return await self._get(f"/v1/sweeps/{_part(bundle_hash)}", res.SweepTails)

    async def sweep_trytes(self, bundle_hash: str) -> list[str]:
        """Get a signed sweep's trytes."""
        path = f"/v1/sweeps/{_part(bundle_hash)}/trytes"
        return (await self._get(path, res.SweepTrytes)).trytes

    async def status(self) -> res.Status:
        """Say how the hub and what it depends on are."""
        return await self._get("/v1/status", res.Status)

    async def event_page(
        self,
        *,
        after: int = 0,
        types: Sequence[str] = (),
        user_id: str | None = None,
        limit: int = 200,
    ) -> res.EventPage:
        """Read events on from a position."""
        query = {"after": after, "user_id": user_id, "limit": limit}
        query["types"] = ",".join(types) or None
        return await self._get("/v1/events", res.EventPage, query)

    async def events(
        self,
        *,
        after: int = 0,
        types: Sequence[str] = (),
        user_id: str | None = None,
    ) -> AsyncGenerator[res.Event]:
        """Follow events for ever, through restarts of the hub and of the network.

        Args:
            after: The last position you have dealt with; store it with your effect.
            types: Only these; empty: all.
            user_id: Only this account's.

        Yields:
            The events in order, none twice, as long as you go on.

        Raises:
            HubRefusedError: If the hub will not stream this.
        """
        query = given({"types": ",".join(types) or None, "user_id": user_id})
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                async for position, event in self._connection.stream(query, after):
                    pause_s = FIRST_PAUSE_S
                    after = max(after, position)
                    if event is not None:
                        yield event
            except (TimeoutError, aiohttp.ClientError):
                pass
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    # --- webhooks ----------------------------------------------------------------

    async def create_webhook(
        self,
        url: str,
        *,
        types: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> res.WebhookMade:
        """Register an endpoint; keep the secret, it is shown this once."""
        body = bodies.NewWebhook(url=url, types=list(types))
        return await self._do("/v1/webhooks", body, res.WebhookMade, idempotency_key)

    # --- underneath --------------------------------------------------------------

    async def _get(
        self, path: str, kind: type[_Reply], query: dict[str, Any] | None = None
    ) -> _Reply:
        return await self._connection.ask("GET", path, kind, query=query or {})

    async def _do(
        self,
        path: str,
        body: bodies.Asked | None,
        kind: type[_Reply],
        idempotency_key: str | None,
    ) -> _Reply:
        # Drawn once: every attempt of this call carries the same one.
        key = idempotency_key or secrets.token_urlsafe(_KEY_BYTES)
        return await self._connection.ask("POST", path, kind, body=body, key=key)

    async def _all(
        self, path: str, kind: type[res.Page[_Reply]], query: dict[str, Any]
    ) -> AsyncGenerator[_Reply]:
        cursor = None
        while True:
            page = await self._get(path, kind, query | {"cursor": cursor})
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return


def _part(text: str) -> str:
    return quote(text, safe="")
