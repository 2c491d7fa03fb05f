# SPDX-License-Identifier: Apache-2.0
"""A flow runs on the one hub that holds its lease, and writes only while it does.

``Lease`` is a hub's side of one row: it takes, renews and releases it, and is the
fence that ``Store.fenced`` asks in each transaction that writes. ``run_leased`` is
the loop. A lease that was lost is not taken again before the round that was under way
has ended: a token never becomes valid again beneath work that was planned without it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from hub.bell import EarlyRounds
from hub.errors import FencedError, HubError
from hub.store import Store, Transaction

_log = logging.getLogger(__name__)

_RENEWALS: Final = 3
"""A lease is renewed this many times in its life: two may fail."""
_LOOKS: Final = 6
"""Another hub looks this many times in a lease's life whether it is free."""


class Lease:
    """A hub's hold on one flow.

    Args:
        store: The database.
        flow: The flow's name.
        holder: This hub's name; no other living process has it.
        duration_s: How long the lease lives without being renewed, in seconds.
    """

    def __init__(
        self, store: Store, flow: str, *, holder: str, duration_s: float
    ) -> None:
        self._store = store
        self._holder = holder
        self._duration_ms = int(duration_s * 1000)
        self._token: int | None = None
        self.flow = flow
        self.duration_s = duration_s

    async def __call__(self, tx: Transaction) -> None:
        """Let a transaction write only while the flow is ours.

        Args:
            tx: The transaction, before its first write.

        Raises:
            FencedError: If it is not.
        """
        if self._token is None:
            message = f"{self.flow}: the lease is not held"
            raise FencedError(message)
        await tx.leases.require(self.flow, self._token)

    @property
    def held(self) -> bool:
        """Whether the flow is ours, as far as this hub knows."""
        return self._token is not None

    async def acquire(self) -> bool:
        """Try to take the flow.

        Returns:
            Whether it is ours now.
        """
        self._token = await self._store.run(
            lambda tx: tx.leases.acquire(
                self.flow, self._holder, duration_ms=self._duration_ms
            )
        )
        if self._token is not None:
            _log.info("%s: runs here now, token %s", self.flow, self._token)
        return self._token is not None

    async def keep(self) -> None:
        """Renew until the lease is lost; returns then."""
        token, renewed_s = self._token, time.monotonic()
        while token is not None:
            await asyncio.sleep(self.duration_s / _RENEWALS)
            try:
                held = await self._renew(token)
            except HubError as error:
                _log.warning("%s: lease not renewed: %s", self.flow, error)
                held = time.monotonic() < renewed_s + self.duration_s
            else:
                renewed_s = time.monotonic()
            if not held:
                _log.warning("%s: lease lost, token %s", self.flow, token)
                self._token = token = None

    async def _renew(self, token: int) -> bool:
        return await self._store.run(
            lambda tx: tx.leases.renew(self.flow, token, duration_ms=self._duration_ms)
        )

    async def release(self) -> None:
        """Let the flow go at once, for a clean shutdown; never raises a fault."""
        token, self._token = self._token, None
        if token is None:
            return
        try:
            await self._store.run(lambda tx: tx.leases.release(self.flow, token))
        except HubError as error:
            _log.warning("%s: lease not released: %s", self.flow, error)


async def run_leased(
    lease: Lease,
    one_round: Callable[[], Awaitable[None]],
    *,
    interval_s: float,
    early: EarlyRounds | None = None,
) -> None:
    """Run a flow for ever, whenever its lease is ours.

    Args:
        lease: Of the flow.
        one_round: One round of it; lets no failure out.
        interval_s: Pause between two rounds, in seconds.
        early: Rounds before their time; none: the clock alone counts.
    """
    try:
        while True:
            if await _is_ours(lease):
                await _run_while_held(
                    lease, one_round, interval_s=interval_s, early=early
                )
            else:
                await asyncio.sleep(lease.duration_s / _LOOKS)
    finally:
        await lease.release()


async def _is_ours(lease: Lease) -> bool:
    try:
        return await lease.acquire()
    except Exception as error:  # noqa: BLE001 - no failure may end the loop
        _log.warning("%s: lease not taken: %s", lease.flow, error)
        return False


async def _run_while_held(
    lease: Lease,
    one_round: Callable[[], Awaitable[None]],
    *,
    interval_s: float,
    early: EarlyRounds | None,
) -> None:
    loop = asyncio.get_running_loop()
    keeping = asyncio.create_task(lease.keep())
    try:
        while not keeping.done():
            began_s = loop.time()
            if early is not None:
                early.bell.hush()
            await one_round()
            now_s = loop.time()
            if early is not None:
                await early.run_until(
                    now_s + interval_s, stop=keeping, lasted_s=now_s - began_s
                )
            await asyncio.wait(
                [keeping], timeout=max(now_s + interval_s - loop.time(), 0.0)
            )
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
