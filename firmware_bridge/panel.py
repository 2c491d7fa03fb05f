# SPDX-License-Identifier: Apache-2.0
"""A panel on a serial line, for an appliance that runs on asyncio.

The driver: it moves bytes between the line and ``panel_session``, where every
decision is taken, and keeps its deadlines. It has no task of its own: the event loop
calls it when bytes come or time is up.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from firmware_bridge.attestation import Attestation
from firmware_bridge.device_log import LogRecord, require_chain
from firmware_bridge.errors import (
    BridgeError,
    CounterWentBackError,
    DeviceRefusedError,
    MessageError,
    NoAnswerError,
    NotConnectedError,
    PresenceDeniedError,
    PresenceTimeoutError,
    RandomHealthError,
)
from firmware_bridge.event_feed import EventFeed
from firmware_bridge.health import STARTUP_SAMPLES, HealthTests
from firmware_bridge.keys import wipe
from firmware_bridge.messages import (
    RANDOM_MAX,
    Arm,
    AttestReply,
    AttestRequest,
    ClearLatch,
    CounterIncrement,
    CounterRead,
    CounterValue,
    Disarm,
    Display,
    Done,
    FirmwareInfo,
    FirmwareRead,
    LogEntry,
    LogRead,
    Message,
    PresenceCancel,
    PresenceDenied,
    PresenceGranted,
    PresenceRequest,
    RandomBytes,
    RandomRead,
    Refusal,
    RefusalCode,
    Reply,
    SelfTest,
    SelfTestResult,
    Status,
    StatusRead,
    Zeroize,
    ZeroizeAck,
)
from firmware_bridge.panel_driver import PanelDriver, PanelSettings, Tap
from firmware_bridge.panel_events import LossReason, PanelEvent, Tamper
from firmware_bridge.presence import NONCE_BYTES, TIMEOUT_S, PresenceGrant
from firmware_bridge.self_test import SelfTestReport

__all__ = ["Panel", "PanelSettings"]
_Answer = TypeVar("_Answer")
_RANDOM_MAX: Final = 4096


class Panel:
    """The host's client of one panel; one session at a time.

    Every method but ``connect``, ``watch`` and ``close`` needs a session and raises
    ``NotConnectedError`` without one, ``SessionLostError`` when it ends before the
    answer, ``NoAnswerError`` when none comes in time, and ``DeviceRefusedError`` when
    the device says no. A fault may be repeated after another ``connect``; a refusal
    and a broken invariant may not (``errors``).

    Args:
        settings: Where it is and what is expected of it.
        clock_s: The monotonic time in seconds; presence grants expire by it.
        tap: Sees every byte that comes (``in``) and goes (``out``), for a trace.
    """

    def __init__(
        self,
        settings: PanelSettings,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        tap: Tap | None = None,
    ) -> None:
        self._settings = settings
        self._clock_s = clock_s
        self._feed = EventFeed()
        self._driver = PanelDriver(
            settings, clock_s=clock_s, tell=self._feed.tell, tap=tap
        )
        self._counter = settings.counter_at_least
        self._asking = asyncio.Lock()
        self._health = HealthTests()
        self._warm = False

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self._driver.connected

    async def connect(self, key: bytearray) -> Attestation:
        """Open the line, prove the pairing both ways, and check the attestation.

        A session that is there already is ended first.

        Args:
            key: The pairing key, 32 bytes; overwritten with zeros before this
                returns or raises.

        Returns:
            What the device proved. A latched tamper or a switch that is not in RUN
            does not fail: see ``Attestation`` and ``watch``.

        Raises:
            LineError: The line can not be opened, or broke.
            NoAnswerError: No panel spoke in time.
            NotAuthenticError: It has another key, or none.
            UntrustedFirmwareError: Its firmware is not on the list.
            CounterWentBackError: Its counter is lower than it was.
        """
        try:
            await self._driver.lock()
            if self._driver.session is not None:
                self._counter = max(self._counter, self._driver.session.counter)
            await self._driver.open(key, counter_at_least=self._counter)
        finally:
            wipe(key)
        self._warm = False
        try:
            return await self.attest()
        except BaseException:
            self._driver.drop(LossReason.LOCKED)
            raise

    async def attest(self) -> Attestation:
        """Ask for a fresh attestation in the session there is.

        Returns:
            What the device proved, checked as by ``connect``.

        Raises:
            NotConnectedError: There is no session.
            BridgeError: ``UntrustedFirmwareError``, ``CounterWentBackError`` or
                ``NotAuthenticError``, as by ``connect``; the session is ended.
        """
        challenge = secrets.token_bytes(32)
        reply = await self._ask(
            AttestRequest(request=self._number(), challenge=challenge), AttestReply
        )
        session = self._driver.session
        if session is None:
            raise NotConnectedError("there is no session with the panel")
        try:
            attestation = session.check_attestation(challenge, reply)
        except BridgeError:
            self._driver.drop(LossReason.PROTOCOL)
            raise
        self._counter = max(self._counter, attestation.counter)
        return attestation

    def watch(self) -> AsyncIterator[PanelEvent]:
        """Follow what the panel tells, from now on, over all sessions.

        Every follower gets every event, except that of several ``Beat`` in a row that
        wait only the last is kept. A session's end is told as ``Lost``; the iterator
        itself ends when ``close`` was called. ``panel_events.must_lock`` says which
        events must stop an appliance.

        Returns:
            The events, oldest first.
        """
        return self._feed.follow()

    async def request_presence(
        self, digest: bytes, text: str, *, timeout_s: float = TIMEOUT_S
    ) -> PresenceGrant:
        """Show a text and wait for a person to press a button.

        Questions wait for each other: the display shows one. Cancelling the task
        clears the display.

        Args:
            digest: SHA-256 of what is to be done, 32 bytes.
            text: What the display shows, at most 96 bytes of UTF-8 in six rows of 16
                characters; a board's display has ASCII only. The device shows the
                digest's first bytes beneath and refuses (``invalid``) what would
                hide them.
            timeout_s: For the person, 1 to 120.

        Returns:
            The person's yes: redeem it within 30 s, with the very same digest.

        Raises:
            PresenceDeniedError: By the button "deny", or because the switch is OFF or
                a tamper latched.
            PresenceTimeoutError: Nobody pressed anything.
            DeviceRefusedError: ``busy``: it asks about something else.
            NoAnswerError: The panel fell silent.
        """
        async with self._asking:
            question = PresenceRequest(
                request=self._number(),
                nonce=secrets.token_bytes(NONCE_BYTES),
                digest=digest,
                text=text,
                timeout_ms=round(timeout_s * 1000),
            )
            reply = await self._question(question, timeout_s=timeout_s)
        match reply:
            case PresenceGranted():
                return PresenceGrant(
                    digest=digest,
                    nonce=reply.nonce,
                    evidence=reply.evidence,
                    expires_s=self._clock_s() + TIMEOUT_S,
                )
            case PresenceDenied(reason=RefusalCode.TIMEOUT):
                raise PresenceTimeoutError(f"nobody came in {timeout_s} s")
            case PresenceDenied():
                raise PresenceDeniedError(reply.reason)
            case Refusal():
                raise DeviceRefusedError(reply.code)
        raise NoAnswerError("the panel answered something else")

    async def counter_read(self) -> int:
        """Return the monotonic counter."""
        reply = await self._ask(CounterRead(request=self._number()), CounterValue)
        return self._counted(reply)

    async def counter_increment(self, *, expected: int | None = None) -> int:
        """Raise the monotonic counter by one, durably, before it is answered.

        Args:
            expected: What it is now. With it the call may be repeated: a counter that
                is ``expected + 1`` already is left there. None: read it first.

        Returns:
            The counter afterwards.

        Raises:
            DeviceRefusedError: ``counter-mismatch``: it is neither.
        """
        now = await self.counter_read() if expected is None else expected
        increment = CounterIncrement(request=self._number(), expected=now)
        return self._counted(await self._ask(increment, CounterValue))

    async def random(self, n: int) -> bytes:
        """Draw random bytes that passed the health tests.

        Mix them with the operating system's; never use them alone: they cross the
        line in the clear.

        Args:
            n: How many bytes, 1 to 4096.

        Returns:
            ``n`` bytes.

        Raises:
            RandomHealthError: A health test failed; the session is ended.
            MessageError: ``n`` is out of range.
        """
        if not 1 <= n <= _RANDOM_MAX:
            raise MessageError(f"1 to {_RANDOM_MAX} random bytes, not {n}")
        try:
            if not self._warm:
                await self._draw(STARTUP_SAMPLES)
                self._warm = True
            return await self._draw(n)
        except RandomHealthError:
            self._driver.drop(LossReason.PROTOCOL)
            raise

    async def display(self, text: str) -> None:
        """Show a text, at most 96 bytes of UTF-8, until the next one."""
        await self._ask(Display(request=self._number(), text=text), Done)

    async def arm(self) -> None:
        """Watch the loops from now on, over restarts too."""
        await self._ask(Arm(request=self._number()), Done)

    async def disarm(self) -> None:
        """Stop watching the loops; the device refuses unless in MAINTENANCE."""
        await self._ask(Disarm(request=self._number()), Done)

    async def clear_latch(self, latched: Tamper, *, timeout_s: float = 30.0) -> None:
        """Clear a latched tamper: the last step of the maintenance procedure.

        The device does it only in MAINTENANCE, with its loops closed, and when a
        person presses the button while it asks. The caller's part is the quorum.

        Args:
            latched: Exactly what is latched, as told before.
            timeout_s: For the person.

        Raises:
            DeviceRefusedError: ``switch``, ``loop-open``, ``latch-mismatch``,
                ``denied`` or ``timeout``: the latch stays.
        """
        async with self._asking:
            await self._driver.ask(
                ClearLatch(
                    request=self._number(),
                    latched=int(latched),
                    timeout_ms=round(timeout_s * 1000),
                ),
                Done,
                timeout_s=timeout_s + self._settings.request_timeout_s,
            )

    async def zeroize(self) -> None:
        """Make the device forget the pairing key; latch, counter and log stay.

        The session is over afterwards (``Lost``), and the device must be paired again.
        """
        await self._ask(Zeroize(request=self._number()), ZeroizeAck)
        self._driver.drop(LossReason.LOCKED)

    async def read_log(self) -> list[LogRecord]:
        """Read the device's log and check its chain.

        Returns:
            What the device keeps of it, oldest first.

        Raises:
            LogBrokenError: An entry does not follow from the one before.
        """
        status = await self.status()
        sequences = range(status.log_first, status.log_sequence + 1)
        records = [await self._log_entry(sequence) for sequence in sequences]
        require_chain(records, head=status.log_head)
        return records

    async def self_test(self) -> SelfTestReport:
        """Have the device test itself.

        Returns:
            What passed and what did not; a failure is no exception.
        """
        found = await self._ask(SelfTest(request=self._number()), SelfTestResult)
        return SelfTestReport(
            sha256=found.sha256,
            hmac=found.hmac,
            framing=found.framing,
            memory=found.memory,
            random=found.random,
            loops_closed=found.loops_closed,
        )

    async def status(self) -> Status:
        """Return the device's whole state, the newest log entry's hash included."""
        return await self._ask(StatusRead(request=self._number()), Status)

    async def firmware(self) -> FirmwareInfo:
        """Return what the device runs, authenticated by the session."""
        return await self._ask(FirmwareRead(request=self._number()), FirmwareInfo)

    async def lock(self) -> None:
        """End the session: the device takes a new handshake afterwards.

        Session keys are wiped. Nothing happens when there is none.
        """
        await self._driver.lock()

    async def close(self) -> None:
        """End the session, close the line and end every ``watch``."""
        await self._driver.lock()
        self._feed.close()

    async def __aenter__(self) -> Self:
        """Return the panel itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    async def _ask(self, message: Message, answer: type[_Answer]) -> _Answer:
        return await self._driver.ask(
            message, answer, timeout_s=self._settings.request_timeout_s
        )

    def _number(self) -> int:
        return self._driver.next_number()

    def _counted(self, reply: CounterValue) -> int:
        if reply.counter < self._counter:
            self._driver.drop(LossReason.COUNTER_BACK)
            raise CounterWentBackError(reply.counter, self._counter)
        self._counter = reply.counter
        return reply.counter

    async def _question(self, question: PresenceRequest, *, timeout_s: float) -> Reply:
        """Ask; whatever ends the waiting ends the question on the device as well."""
        try:
            return await self._driver.ask_any(
                question, timeout_s=timeout_s + self._settings.request_timeout_s
            )
        except (asyncio.CancelledError, NoAnswerError):
            if self._driver.session is not None:
                self._driver.session.withdraw(question.nonce)
            self._driver.say(PresenceCancel(nonce=question.nonce))
            raise

    async def _draw(self, n: int) -> bytes:
        out = b""
        while len(out) < n:
            size = min(RANDOM_MAX, n - len(out))
            reply = await self._ask(
                RandomRead(request=self._number(), size=size), RandomBytes
            )
            if len(reply.data) != size:
                raise RandomHealthError("the panel drew another number of bytes")
            self._health.require_healthy(reply.data)
            out += reply.data
        return out

    async def _log_entry(self, sequence: int) -> LogRecord:
        entry = await self._ask(
            LogRead(request=self._number(), sequence=sequence), LogEntry
        )
        return LogRecord(
            sequence=entry.sequence,
            kind=entry.event,
            value=entry.value,
            boots=entry.boots,
            uptime_ms=entry.uptime_ms,
            previous=entry.previous,
            digest=entry.digest,
        )
