# SPDX-License-Identifier: Apache-2.0
"""Bytes and deadlines between a serial line and a ``PanelSession``.

No task and no thread: the event loop calls when the line is readable and when the
session's deadline has come, and every call ends with the line fed, the events told and
the next deadline set.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from firmware_bridge.errors import (
    BridgeError,
    CounterWentBackError,
    DeviceRefusedError,
    LineError,
    NoAnswerError,
    NotConnectedError,
    SessionLostError,
)
from firmware_bridge.messages import Message, Refusal, Reply
from firmware_bridge.panel_events import LossReason, PanelEvent
from firmware_bridge.panel_session import Expectations, PanelSession, State
from firmware_bridge.serial_line import SerialLine

_Answer = TypeVar("_Answer")
_REQUESTS: Final = 2**32
_PENDING_BYTES: Final = 1 << 16  # a line that takes nothing for so long is dead
_LOCK_S: Final = 0.5

Tap = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSettings:
    """Where the panel is and what is expected of it.

    Attributes:
        device: The serial device, best by its stable name under
            ``/dev/serial/by-id``.
        trusted_firmware: SHA-256 hashes of the firmware that may run there.
        counter_at_least: The highest counter known before; 0 for none. It rises by
            itself while the ``Panel`` lives.
        baud: Bits per second of the line.
        connect_timeout_s: For opening, authentication and attestation together.
        request_timeout_s: For an answer that needs no person.
        bad_frames_per_minute: More than this, and ``Degraded`` is told.
    """

    device: str
    trusted_firmware: frozenset[bytes]
    counter_at_least: int = 0
    baud: int = 115200
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 3.0
    bad_frames_per_minute: int = 30


class PanelDriver:
    """One line, one session, and who waits for what.

    Args:
        settings: Where the panel is and what is expected of it.
        clock_s: The monotonic time in seconds.
        tell: Takes each event.
        tap: Sees every byte, with ``in`` or ``out``, for a trace.

    Attributes:
        session: The one there is, or the one that is over; None before the first.
    """

    def __init__(
        self,
        settings: PanelSettings,
        *,
        clock_s: Callable[[], float],
        tell: Callable[[PanelEvent], None],
        tap: Tap | None,
    ) -> None:
        self.session: PanelSession | None = None
        self._settings = settings
        self._clock_s = clock_s
        self._tell = tell
        self._tap = tap
        self._line: SerialLine | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pending = bytearray()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._opening: asyncio.Future[None] | None = None
        self._settled = asyncio.Event()  # all we said is acknowledged, or never will be

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self.session is not None and self.session.state is State.OPEN

    async def open(self, key: bytearray, *, counter_at_least: int) -> None:
        """Open the line and agree on a session.

        Args:
            key: The pairing key, read until this returns.
            counter_at_least: The highest counter known.

        Raises:
            LineError: The line can not be opened, or broke.
            NoAnswerError: No panel spoke in time.
        """
        now_s = self._clock_s()
        expectations = Expectations(
            trusted_firmware=self._settings.trusted_firmware,
            counter_at_least=counter_at_least,
            bad_frames_per_minute=self._settings.bad_frames_per_minute,
        )
        self.session = PanelSession(
            key, expectations=expectations, entropy=secrets.token_bytes, now_s=now_s
        )
        loop = asyncio.get_running_loop()
        try:
            self._line = SerialLine(self._settings.device, baud=self._settings.baud)
            loop.add_reader(self._line.fileno(), self._readable)
            self._opening = loop.create_future()
            self._turn()
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await self._opening
        except TimeoutError:
            raise NoAnswerError(
                f"no panel agreed on a session in {self._settings.connect_timeout_s} s"
            ) from None
        finally:
            self._opening = None
            if not self.connected:
                self.drop(LossReason.LOCKED)

    async def ask(
        self, message: Message, answer: type[_Answer], *, timeout_s: float
    ) -> _Answer:
        """Send a request and wait for its answer.

        Args:
            message: The request; its number is ``next_number``.
            answer: The type its answer has.
            timeout_s: How long to wait.

        Returns:
            The answer.

        Raises:
            NotConnectedError: There is no session.
            NoAnswerError: Nothing came in time.
            DeviceRefusedError: The device said no.
        """
        reply = await self.ask_any(message, timeout_s=timeout_s)
        if isinstance(reply, Refusal):
            raise DeviceRefusedError(reply.code)
        if not isinstance(reply, answer):
            self.drop(LossReason.PROTOCOL)
            raise NoAnswerError("the panel answered something else")
        return reply

    async def ask_any(self, message: Message, *, timeout_s: float) -> Reply:
        """Send a request and wait for whatever answers it.

        Args:
            message: The request; its number is ``next_number``.
            timeout_s: How long to wait.

        Returns:
            The answer, a refusal included.

        Raises:
            NotConnectedError: There is no session.
            NoAnswerError: Nothing came in time.
        """
        if self.session is None or not self.connected:
            raise NotConnectedError("there is no session with the panel")
        number: int = message.request  # type: ignore[union-attr] # each request has one
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self.session.send(message, self._clock_s())
            self._turn()
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise NoAnswerError(f"the panel did not answer in {timeout_s} s") from None
        finally:
            self._waiting.pop(number, None)
            if future.done() and not future.cancelled():
                future.exception()  # seen, also when the task was cancelled meanwhile

    def next_number(self) -> int:
        """Return a number for a request."""
        return next(self._numbers) % _REQUESTS

    def say(self, message: Message) -> None:
        """Send a message that nobody waits for, if there is a session."""
        if self.session is not None and self.connected:
            self.session.send(message, self._clock_s())
            self._turn()

    async def lock(self) -> None:
        """Tell the device that the session is over, and end it."""
        if self.session is not None and self.connected:
            self.session.say_lock(self._clock_s())
            self._turn()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOCK_S):
                    await self._settled.wait()
        self.drop(LossReason.LOCKED)

    def drop(self, reason: LossReason) -> None:
        """End the session here, tell so, and close the line.

        Args:
            reason: Why.
        """
        if self.session is not None:
            self.session.lose(reason)
            self._deliver(self.session)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._line.fileno())
            loop.remove_writer(self._line.fileno())
            self._line.close()
            self._line = None
        self._pending.clear()
        self._settled.set()
        futures: list[asyncio.Future[Any]] = [*self._waiting.values()]
        futures += [] if self._opening is None else [self._opening]
        for future in futures:
            if not future.done():
                future.set_exception(self._loss(reason))

    def _loss(self, otherwise: LossReason) -> BridgeError:
        session = self.session
        reason = otherwise if session is None else session.reason
        if session is not None and reason is LossReason.COUNTER_BACK:
            return CounterWentBackError(session.counter_told, session.counter)
        return SessionLostError(reason.value)

    def _readable(self) -> None:
        if self._line is None or self.session is None:
            return
        try:
            data = self._line.read()
            self._taps("in", data)
            self.session.receive(data, self._clock_s())
        except LineError as error:
            self._fail(error, LossReason.UNPLUGGED)
        except BridgeError as error:
            self._fail(error, LossReason.PROTOCOL)
        else:
            self._turn()

    def _fail(self, error: BridgeError, reason: LossReason) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.set_exception(error)
        self.drop(reason)

    def _turn(self) -> None:
        """Do what is due, feed the line, tell what happened, set the next deadline."""
        session = self.session
        if session is None or self._line is None:
            return
        session.tick(self._clock_s())
        try:
            self._feed(session.take_output())
        except LineError as error:
            self._fail(error, LossReason.UNPLUGGED)
            return
        self._deliver(session)
        if session.idle:
            self._settled.set()
        else:
            self._settled.clear()
        if session.state is State.LOST:
            self.drop(LossReason.LOCKED)  # its own reason was told
            return
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0.0, session.deadline_s - self._clock_s())
        # What lies in the line already is heard before anybody is called late.
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._readable)

    def _feed(self, data: bytes) -> None:
        if self._line is None:
            return
        self._taps("out", data)
        self._pending += data
        if self._pending:
            del self._pending[: self._line.write(bytes(self._pending))]
        if len(self._pending) > _PENDING_BYTES:
            raise LineError("the serial line takes nothing")
        loop = asyncio.get_running_loop()
        if self._pending:
            loop.add_writer(self._line.fileno(), self._turn)
        else:
            loop.remove_writer(self._line.fileno())

    def _taps(self, way: str, data: bytes) -> None:
        if self._tap is not None and data:
            self._tap(way, data)

    def _deliver(self, session: PanelSession) -> None:
        if session.state is State.OPEN:
            self._opened()
        for reply in session.take_replies():
            future = self._waiting.get(reply.request)
            if future is not None and not future.done():
                future.set_result(reply)
        for event in session.take_events():
            self._tell(event)

    def _opened(self) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.set_result(None)
