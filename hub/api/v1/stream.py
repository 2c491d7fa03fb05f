# SPDX-License-Identifier: Apache-2.0
"""Events as they are published: server-sent events, resumable by position.

A reader that does not take what it is sent is cut; ``Last-Event-ID`` brings it back
to the same place. A heartbeat names the last position looked at, so that a reader
whose filters let little through does not begin far behind.
Source: WHATWG HTML, section 9.2 (server-sent events).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from hub.api.v1.bodies import StreamQuery
from hub.api.v1.errors import RateLimitedError, RequestMalformedError
from hub.api.v1.event_types import Reason, event_of, reasons_of
from hub.api.v1.history import split_types
from hub.api.v1.operations import Call, Operation
from hub.api.v1.resources import Event
from hub.api_keys import Scope
from hub.errors import FaultError
from hub.model import Happening, UserId
from hub.publisher import Publisher
from hub.store import Store

_log = logging.getLogger(__name__)
MEDIA_TYPE: Final = "text/event-stream"
_BATCH: Final = 200
_BUSY_RETRY_S: Final = 5.0
_MAX_POSITION: Final = (1 << 53) - 1
_MAX_DIGITS: Final = 16


class StreamOperations:
    """The stream of events.

    Args:
        store: The database.
        publisher: Tells when there is more.
        heartbeat_s: Longest silence, in seconds.
        stall_s: How long a reader may take nothing, in seconds.
        max_streams: Streams per API key.
    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        *,
        heartbeat_s: float,
        stall_s: float,
        max_streams: int,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._heartbeat_s = heartbeat_s
        self._stall_s = stall_s
        self._max_streams = max_streams
        self._open: Counter[str] = Counter()

    def operations(self) -> list[Operation]:
        """List them."""
        return [
            Operation(
                name="stream-events",
                method="GET",
                path="/v1/events/stream",
                summary="Stream events as server-sent events.",
                scope=Scope.READ,
                query=StreamQuery,
                reply=Event,
                stream=self.stream,
            )
        ]

    async def stream(self, call: Call, request: web.Request) -> web.StreamResponse:
        """Stream until the reader leaves, stalls, or the hub stops.

        Args:
            call: The request as read.
            request: As it came.

        Returns:
            The reply, ended.

        Raises:
            RateLimitedError: If the key has as many streams open as it may.
        """
        assert call.key is not None, "the stream has a scope"
        owner = call.key.key_id
        position = _begin(call.query, request)
        reasons = reasons_of(split_types(call.query.types))
        if self._open[owner] >= self._max_streams:
            raise RateLimitedError(
                f"{self._max_streams} streams are open", retry_after_s=_BUSY_RETRY_S
            )
        self._open[owner] += 1
        try:
            return await self._run(call, request, position, reasons)
        finally:
            self._open[owner] -= 1

    async def _run(
        self,
        call: Call,
        request: web.Request,
        position: int,
        reasons: Sequence[Reason],
    ) -> web.StreamResponse:
        reply = web.StreamResponse(
            headers={
                "Content-Type": MEDIA_TYPE,
                "Cache-Control": "no-store",
                "X-Request-Id": call.request_id,
            }
        )
        await reply.prepare(request)
        try:
            await self._send(reply, b"retry: 1000\n\n")
            while not self._publisher.closed:
                position = await self._catch_up(call, reply, position, reasons)
                await self._publisher.wait_beyond(position, timeout_s=self._heartbeat_s)
            await reply.write_eof()
        except (ConnectionError, TimeoutError):
            _cut(request)  # a stalled reader: nothing more fits in
        except FaultError as error:
            _log.warning("v1 stream ends: %s, request %s", error.code, call.request_id)
            _cut(request)
        except Exception:  # noqa: BLE001 - the reply has begun: no problem fits in
            _log.exception("v1 stream failed: request %s", call.request_id)
            _cut(request)
        return reply

    async def _catch_up(
        self,
        call: Call,
        reply: web.StreamResponse,
        position: int,
        reasons: Sequence[Reason],
    ) -> int:
        """Send what there is after a position, then the heartbeat."""
        user_id = call.query.user_id
        while True:
            async with self._store.reading() as tx:
                last = await tx.published.last_position()
                found = await tx.published.after(
                    position,
                    limit=_BATCH,
                    reasons=reasons,
                    user_id=None if user_id is None else UserId(user_id),
                    until=last,
                )
            await self._send(reply, b"".join(_frame(one) for one in found))
            if len(found) < _BATCH:
                position = max(position, last)
                await self._send(reply, f": \nid: {position}\n\n".encode())
                return position
            position = found[-1].position

    async def _send(self, reply: web.StreamResponse, data: bytes) -> None:
        if data:
            async with asyncio.timeout(self._stall_s):
                await reply.write(data)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _begin(query: StreamQuery, request: web.Request) -> int:
    shown = request.headers.get("Last-Event-ID")
    if shown is None:
        return query.after or 0
    digits = shown.isascii() and shown.isdecimal() and len(shown) <= _MAX_DIGITS
    if not digits or int(shown) > _MAX_POSITION:
        raise RequestMalformedError("Last-Event-ID is a position")
    return int(shown)


def _frame(happening: Happening) -> bytes:
    event = event_of(happening)
    data = msgspec.json.encode(event)
    head = f"id: {event.position}\nevent: {event.type}\ndata: ".encode()
    return head + data + b"\n\n"
