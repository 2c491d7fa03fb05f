# SPDX-License-Identifier: Apache-2.0
"""An open line with a session on it, and who waits for which reply."""

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import Final, Self

from firmware_bridge.errors import BridgeError, LineError, NoAnswerError
from firmware_bridge.frames import Channel, Frame, FrameDecoder
from firmware_bridge.transport.handshake import Agreed, ClientHandshake
from firmware_bridge.transport.parts import NUMBERS, Kind, Rejected, Whole
from firmware_bridge.transport.session import (
    End,
    Event,
    Limits,
    Progress,
    Ready,
    Session,
    retry_s,
)
from firmware_bridge.transport.wire_pump import LinePlace, WirePump

_HANDSHAKE_S: Final = 5.0
_LIMITS: Final = Limits(largest_bytes=64 << 20, most=64, patience_s=float("inf"))
"""Of replies: an appliance is trusted to end what it begins; each has a deadline."""


@dataclass(slots=True)
class _Waiting:
    reply: asyncio.Future[tuple[int, bytes]]
    deadline: asyncio.Timeout
    timeout_s: float


class Connection:
    """One line, one session; made by ``open``.

    Args:
        place: Which line.
        key: The pre-shared key, read until ``open`` returns.

    Attributes:
        lost: Whether it is over.
    """

    def __init__(self, place: LinePlace, key: bytearray) -> None:
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._retry_s = retry_s(place.baud)
        self._handshake: ClientHandshake | None = ClientHandshake(
            key, retry_s=self._retry_s
        )
        self._decoder = FrameDecoder()
        self._session: Session | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._pump = WirePump(place, heard=self._heard, lost=self._fail)

    @classmethod
    async def open(cls, place: LinePlace, key: bytearray) -> Self:
        """Open a line and agree on a session.

        Args:
            place: Which line.
            key: The pre-shared key.

        Returns:
            The connection.

        Raises:
            LineError: If the line can not be opened, or broke.
            NoAnswerError: If no appliance answered in time.
            NotAuthenticError: If it has not the key, or does not take it.
        """
        self = cls(place, key)
        try:
            self._turn()
            async with asyncio.timeout(_HANDSHAKE_S):
                await asyncio.shield(self._opened)
        except TimeoutError:
            raise NoAnswerError(
                f"no appliance agreed on a session in {_HANDSHAKE_S:.0f} s"
            ) from None
        finally:
            self._handshake = None
            if not self._opened.done() or self._opened.exception() is not None:
                self.close()
        return self

    @property
    def age_s(self) -> float:
        """How long the line has been ours."""
        return self._loop.time() - self._began_s

    async def exchange(self, body: bytes, *, timeout_s: float) -> tuple[int, bytes]:
        """Send a request and wait for its reply.

        Args:
            body: The request.
            timeout_s: How long nothing of it may move.

        Returns:
            Status and body of the reply.

        Raises:
            LineError: If the line is lost.
            TimeoutError: If nothing moved for so long.
        """
        if self.lost or self._session is None:
            raise LineError("the serial line is lost")
        session, number = self._session, next(self._numbers) % NUMBERS
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                reply: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
                self._waiting[number] = _Waiting(reply, deadline, timeout_s)
                whole = Whole(number, 0, body)
                session.send(Kind.REQUEST, whole, now_s=self._loop.time())
                self._turn()
                return await reply
        finally:
            waiting = self._waiting.pop(number)
            if waiting.reply.cancelled() or not waiting.reply.done():
                session.give_up(number, now_s=self._loop.time())
            else:
                session.drop(number)  # "too large" comes before all was sent
                waiting.reply.exception()  # seen, also when we were cancelled meanwhile
            self._turn()

    def close(self) -> None:
        """Give the line back; whoever still waits is told that it failed."""
        self._fail(LineError("the serial line was closed"))

    def _heard(self, data: bytes) -> None:
        rest = data
        try:
            while rest:
                arrival, rest = self._decoder.feed_until_frame(rest)
                if isinstance(arrival, Frame):
                    self._take(arrival)
        except BridgeError as error:
            self._fail(error)
        self._turn()

    def _take(self, frame: Frame) -> None:
        now_s = self._loop.time()
        if frame.channel is Channel.TRANSPORT and self._session is not None:
            for event in self._session.receive(frame, now_s=now_s):
                self._act_on(event)
        elif frame.channel is Channel.CONTROL and self._handshake is not None:
            agreed = self._handshake.receive(frame)
            if agreed is not None:
                self._begin(agreed)

    def _begin(self, agreed: Agreed) -> None:
        ciphers = agreed.ciphers
        self._decoder.keys[Channel.TRANSPORT] = ciphers.to_client
        self._session = Session(
            End.CLIENT, ciphers.to_appliance, _LIMITS, self._retry_s
        )

    def _act_on(self, event: Event) -> None:
        match event:
            case Ready():
                self._handshake = None
                if not self._opened.done():
                    self._opened.set_result(None)
            case Progress(number=number) if number in self._waiting:
                waiting = self._waiting[number]
                if not waiting.deadline.expired():
                    later_s = self._loop.time() + waiting.timeout_s
                    waiting.deadline.reschedule(later_s)
            case Whole(number=number) if number in self._waiting:
                waiting = self._waiting[number]
                if not waiting.reply.done():
                    waiting.reply.set_result((event.status, event.body))
            case Rejected():
                self._fail(LineError("the appliance sent more than is taken"))

    def _turn(self) -> None:
        """Do what is due, feed the line, set the next time to look."""
        now_s, out, wake_s = self._loop.time(), b"", float("inf")
        if self.lost:
            return
        if self._handshake is not None:
            out += self._handshake.tick(now_s)
            wake_s = self._handshake.deadline_s
        if self._session is not None:
            self._session.waits = bool(self._waiting)
            self._session.tick(now_s)
            if self._session.failed:
                self._fail(LineError("the appliance fell silent"))
                return
            out += self._session.take_output()
            wake_s = min(wake_s, self._session.deadline_s)
        self._pump.put(out, wake_s=wake_s)

    def _fail(self, error: BridgeError) -> None:
        if self.lost:
            return
        self.lost = True
        self._pump.close()
        if not self._opened.done():
            self._opened.set_exception(error)
            with contextlib.suppress(BridgeError):
                self._opened.result()  # seen, also when nobody waits any more
        for waiting in self._waiting.values():
            if not waiting.reply.done():
                waiting.reply.set_exception(LineError(str(error)))
