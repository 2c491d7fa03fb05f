# SPDX-License-Identifier: Apache-2.0
"""Publishes events: gives each its position, and wakes whoever waits for one.

Several hubs on one database may publish; each also sees what the others published.
"""

import asyncio
import contextlib
from typing import Final

from failpoints import failpoint
from hub.store import Store

BATCH: Final = 500
"""Events that one transaction publishes at most."""
INTERVAL_S: Final = 0.2
"""How long events of other processes may wait to be noticed."""
_AFTER_FAILURE_S: Final = 5.0


class Publisher:
    """The one flow that gives positions.

    Args:
        store: The database.
        interval_s: Pause between two looks when nobody wakes it, in seconds.
    """

    def __init__(self, store: Store, *, interval_s: float = INTERVAL_S) -> None:
        self._store = store
        self._interval_s = interval_s
        self._bell = asyncio.Event()
        self._news = asyncio.Condition()
        self._last = 0
        self.closed = False

    def wake(self) -> None:
        """Look at once: something was committed."""
        self._bell.set()

    async def tick(self) -> None:
        """Wait for the bell or the interval; then publish all there is.

        Raises:
            Exception: What the database raised, after a pause.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s):
                await self._bell.wait()
        self._bell.clear()
        try:
            await self.publish()
        except Exception:
            await asyncio.sleep(_AFTER_FAILURE_S)  # or the log would fill
            raise

    async def publish(self) -> int:
        """Publish everything that is committed.

        Returns:
            The last position given, by whatever process.
        """
        while True:
            async with self._store.reading() as tx:
                waiting = await tx.published.has_unpublished()
                last = await tx.published.last_position()
            if not waiting:
                break
            await self._store.run(lambda tx: tx.published.publish(limit=BATCH))
            failpoint("hub.events.published")
        await self._tell(last)
        return last

    async def look(self) -> None:
        """Tell readers here of what another hub has published."""
        async with self._store.reading() as tx:
            last = await tx.published.last_position()
        await self._tell(last)

    async def _tell(self, last: int) -> None:
        if last != self._last:
            async with self._news:
                self._last = last
                self._news.notify_all()

    async def wait_beyond(self, position: int, *, timeout_s: float) -> bool:
        """Wait until there is an event after a position.

        Args:
            position: The last one seen.
            timeout_s: How long, in seconds.

        Returns:
            Whether there is one; also False when the hub is about to stop.
        """
        async with self._news:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._news.wait_for(
                        lambda: self._last > position or self.closed
                    )
        return self._last > position and not self.closed

    async def close(self) -> None:
        """Send whoever waits away: the hub stops."""
        self.closed = True
        async with self._news:
            self._news.notify_all()
