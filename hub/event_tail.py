# SPDX-License-Identifier: Apache-2.0
"""The event history read to its end, and on from there: nothing lost, nothing twice.

Times can not mark the place, since two events share a millisecond and clocks are set
back. Row numbers nearly can: on PostgreSQL a transaction that commits late shows rows
below those already read. So the place moves on only to where the end was a while
ago, longer than a transaction lives, and what was seen behind it is left out.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from hub.model import Event, EventReason
from hub.store import Store

SETTLED_S: Final = 60.0
"""Rows older than this have no predecessor any more that is not committed."""


class EventTail:
    """One reader's place in the history.

    Args:
        store: The database.
        reasons: Which events count.
        newer_than_ms: Those before this time do not; it is inclusive.
        clock_s: A clock that never steps back, in seconds.
    """

    def __init__(
        self,
        store: Store,
        reasons: Iterable[EventReason],
        *,
        newer_than_ms: int,
        clock_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._reasons = tuple(reasons)
        self._newer_than_ms = newer_than_ms
        self._clock_s = clock_s
        self._seen: set[int] = set()
        self._place: int | None = None
        self._ends: deque[tuple[float, int]] = deque()

    async def fresh(self) -> list[Event]:
        """Read what was not read before.

        Returns:
            The events, the oldest first; at first everything there is.
        """
        begun_s = self._clock_s()
        events = await self._unread()
        self._seen.update(event.event_id for event in events)
        self._move_on(begun_s)
        return events

    async def _unread(self) -> list[Event]:
        async with self._store.reading() as tx:
            if self._place is None:
                self._place = await tx.events.settled(age_ms=int(SETTLED_S * 1000))
                return await tx.events.since(self._newer_than_ms, self._reasons)
            found = await tx.events.after(self._place, self._reasons)
        return [
            event
            for event in found
            if event.event_id not in self._seen
            and event.created_at_ms >= self._newer_than_ms
        ]

    def _move_on(self, begun_s: float) -> None:
        """Put the place where the end was ``SETTLED_S`` ago."""
        if self._seen:
            self._ends.append((begun_s, max(self._seen)))
        while self._ends and self._ends[0][0] <= begun_s - SETTLED_S:
            self._place = max(self._place or 0, self._ends.popleft()[1])
        place = self._place or 0
        self._seen = {one for one in self._seen if one > place}
