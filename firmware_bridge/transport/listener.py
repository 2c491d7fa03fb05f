# SPDX-License-Identifier: Apache-2.0
"""The appliance's end of a serial line, open for as long as it listens.

A line that breaks is opened again for ever. What a client asked for is worked on
whatever becomes of the line: only the reply may find nobody.
"""

import asyncio
import contextlib
import logging
from typing import Final, Protocol

from firmware_bridge.errors import LineError
from firmware_bridge.transport.listening_end import Heard, ListeningEnd, Visit
from firmware_bridge.transport.parts import Rejected, Rejection, Whole
from firmware_bridge.transport.session import Limits, retry_s
from firmware_bridge.transport.wire_pump import LinePlace, WirePump

_log = logging.getLogger(__name__)
_REOPEN_S: Final = 0.5
_SETTLE_S: Final = 10.0


class Door(Protocol):
    """Who decides what becomes of those on the line."""

    def find(self, key_id: bytes) -> bytearray | None:
        """Return the pre-shared key of an id, to be wiped, if it may connect."""

    def turned_away(self, why: str) -> None:
        """Take note of a stranger."""

    async def answer(self, key_id: bytes, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the reply to a request."""

    def rejected(self, why: Rejection) -> bytes:
        """Return the body of the reply to a request that was not taken."""


class SerialListener:
    """Listens on one line; use ``start`` and ``cleanup``.

    Args:
        place: Which line.
        door: Who answers.
        limits: What is taken of one client.
    """

    def __init__(self, place: LinePlace, door: Door, *, limits: Limits) -> None:
        self._place = place
        self._door = door
        self._end = ListeningEnd(door.find, limits=limits, retry_s=retry_s(place.baud))
        self._pump: WirePump | None = None
        self._again: asyncio.TimerHandle | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._closing = False
        self._quiet = asyncio.Event()

    def start(self) -> None:
        """Open the line.

        Raises:
            LineError: If it can not be opened.
        """
        self._pump = WirePump(self._place, heard=self._heard, lost=self._broke)

    async def cleanup(self) -> None:
        """Take no more requests, send the replies under way, close the line."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                self._look()
                await self._quiet.wait()
        self._end.drop()
        if self._again is not None:
            self._again.cancel()
        if self._pump is not None:
            self._pump.close()
        for task in self._answers:
            task.cancel()

    def _heard(self, data: bytes) -> None:
        now_s = asyncio.get_running_loop().time()
        self._act_on(self._end.receive(data, now_s=now_s))
        self._act_on(self._end.tick(now_s))
        self._flush()

    def _act_on(self, heard: Heard) -> None:
        for why in heard.strangers:
            self._door.turned_away(why)
        for visit, asked in heard.requests:
            request: Whole | Rejected = asked
            if self._closing:
                request = Rejected(asked.number, Rejection.STOPPING)
            task = asyncio.create_task(self._answer(visit, request))
            self._answers.add(task)
            task.add_done_callback(self._answered)

    async def _answer(self, visit: Visit, request: Whole | Rejected) -> None:
        if isinstance(request, Rejected):
            status, body = request.why.value, self._door.rejected(request.why)
        else:
            status, body = await self._door.answer(visit.key_id, request.body)
        reply = Whole(request.number, status, body)
        now_s = asyncio.get_running_loop().time()
        if self._end.reply(visit, reply, now_s=now_s):
            self._flush()
        else:
            _log.info("a reply found nobody key=%s", visit.key_id.hex())

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answers.discard(task)
        self._look()

    def _flush(self) -> None:
        if self._pump is not None:
            data = self._end.take_output()
            self._pump.put(data, wake_s=self._end.deadline_s)
        self._look()

    def _look(self) -> None:
        if not self._answers and self._end.settled:
            self._quiet.set()
        else:
            self._quiet.clear()

    def _broke(self, error: LineError) -> None:
        _log.warning("%s device=%s", error, self._place.device)
        self._pump = None
        self._end.drop()
        self._look()
        self._reopen()

    def _reopen(self) -> None:
        if self._closing:
            return
        try:
            self.start()
        except LineError:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(_REOPEN_S, self._reopen)
        else:
            _log.info("the line is open again device=%s", self._place.device)
