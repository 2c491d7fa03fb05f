# SPDX-License-Identifier: Apache-2.0
"""Events for several followers, none of whom can hold the others up."""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator

from firmware_bridge.panel_events import Beat, PanelEvent


class EventFeed:
    """Hands every event to every follower."""

    def __init__(self) -> None:
        # Weak: a follower lives as long as the iterator that somebody holds.
        self._followers: weakref.WeakSet[_Follower] = weakref.WeakSet()

    def follow(self) -> AsyncIterator[PanelEvent]:
        """Follow from now on.

        Returns:
            The events; dropping the iterator ends it.
        """
        follower = _Follower()
        self._followers.add(follower)
        return _events(follower)

    def tell(self, event: PanelEvent) -> None:
        """Hand an event out."""
        for follower in self._followers:
            follower.take(event)

    def close(self) -> None:
        """Let every follower end after what it has not seen yet."""
        for follower in self._followers:
            follower.end()


async def _events(follower: "_Follower") -> AsyncIterator[PanelEvent]:
    while (event := await follower.next()) is not None:
        yield event


class _Follower:
    def __init__(self) -> None:
        self._waiting: deque[PanelEvent] = deque()
        self._woken = asyncio.Event()
        self._ended = False

    def take(self, event: PanelEvent) -> None:
        if isinstance(event, Beat) and self._waiting:
            last = self._waiting[-1]
            if isinstance(last, Beat):
                self._waiting.pop()
        self._waiting.append(event)
        self._woken.set()

    def end(self) -> None:
        self._ended = True
        self._woken.set()

    async def next(self) -> PanelEvent | None:
        while not self._waiting:
            if self._ended:
                return None
            self._woken.clear()
            await self._woken.wait()
        return self._waiting.popleft()
