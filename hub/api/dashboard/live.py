# SPDX-License-Identifier: Apache-2.0
"""Tells an open page that something has happened, by server-sent events.

It says no more than up to which position events were published: the page is then
asked for again, by the path that everything goes. The stream ends with its session.
Source: WHATWG HTML, section 9.2 (server-sent events).
"""

import asyncio
import logging
from collections import Counter
from typing import Final

from aiohttp import web

from hub.api.dashboard.sessions import Sessions
from hub.api.dashboard.visits import Visit
from hub.errors import FaultError
from hub.operators import SessionDigest
from hub.publisher import Publisher
from hub.store import Store

_log = logging.getLogger(__name__)
_STALL_S: Final = 30.0
_PAUSE_S: Final = 0.5
"""Pages are not asked for more often, however much happens."""
MOST_STREAMS: Final = 8


class Live:
    """Streams of one dashboard.

    Args:
        store: The database.
        publisher: Tells when there is more.
        sessions: Who is still logged in.
        heartbeat_s: Longest silence, in seconds.
    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        sessions: Sessions,
        *,
        heartbeat_s: float,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._sessions = sessions
        self._heartbeat_s = heartbeat_s
        self._open: Counter[SessionDigest] = Counter()

    async def stream(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Stream until the page is left, its session is over, or the hub stops.

        Args:
            request: As it came.
            visit: Whose.

        Returns:
            The reply, ended.
        """
        owner = visit.session.digest
        if self._open[owner] >= MOST_STREAMS:
            return web.Response(status=204)  # tells the browser to ask no more
        self._open[owner] += 1
        try:
            return await self._run(request, owner)
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]

    async def _run(
        self, request: web.Request, owner: SessionDigest
    ) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        try:
            position = await self._last()
            await _send(reply, "retry: 2000\n\n")
            while not self._publisher.closed:
                await _send(reply, f"event: news\ndata: {position}\n\n")
                await asyncio.sleep(_PAUSE_S)
                await self._publisher.wait_beyond(position, timeout_s=self._heartbeat_s)
                if await self._sessions.still(owner) is None:
                    await _send(reply, "event: over\ndata: the session is over\n\n")
                    break
                position = await self._last()
            await reply.write_eof()
        except (ConnectionError, TimeoutError):
            _cut(request)  # it does not take what it is sent
        except FaultError as error:
            _log.warning("dashboard: a stream ends: %s", error.code)
            _cut(request)
        return reply

    async def _last(self) -> int:
        async with self._store.looking() as tx:
            return await tx.published.last_position()


async def _send(reply: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(_STALL_S):
        await reply.write(text.encode())


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
