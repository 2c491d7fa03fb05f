# SPDX-License-Identifier: Apache-2.0
"""A panel on a serial line, for an appliance that runs on asyncio.

The driver: it moves bytes between the line and ``panel_session``, where every
decision is taken, and keeps its deadlines.
"""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from firmware_bridge.attestation import Attestation
from firmware_bridge.device_log import LogRecord
from firmware_bridge.panel_events import PanelEvent, Tamper
from firmware_bridge.presence import TIMEOUT_S, PresenceGrant
from firmware_bridge.self_test import SelfTestReport


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSettings:
    """Where the panel is and what is expected of it.

    Attributes:
        device: The serial device, best by its stable name under
            ``/dev/serial/by-id``.
        trusted_firmware: SHA-256 hashes of the firmware that may run there.
        counter_at_least: The highest counter known before; 0 for none. It rises by
            itself while this object lives.
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
    """

    def __init__(
        self, settings: PanelSettings, *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        raise NotImplementedError

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def attest(self) -> Attestation:
        """Ask for a fresh attestation in the session there is.

        Returns:
            What the device proved, checked as by ``connect``.

        Raises:
            UntrustedFirmwareError: Its firmware is not on the list.
            CounterWentBackError: Its counter is lower than it was.
        """
        raise NotImplementedError

    def watch(self) -> AsyncIterator[PanelEvent]:
        """Follow what the panel tells, from now on, over all sessions.

        Every follower gets every event, except that of several ``Beat`` in a row that
        wait only the last is kept. A session's end is told as ``Lost``; the iterator
        itself ends when ``close`` was called. ``panel_events.must_lock`` says which
        events must stop an appliance.

        Returns:
            The events, oldest first.
        """
        raise NotImplementedError

    async def request_presence(
        self, digest: bytes, text: str, *, timeout_s: float = TIMEOUT_S
    ) -> PresenceGrant:
        """Show a text and wait for a person to press a button.

        Questions wait for each other: the display shows one. Cancelling the task
        clears the display.

        Args:
            digest: SHA-256 of what is to be done, 32 bytes.
            text: What the display shows, at most 96 bytes of UTF-8.
            timeout_s: For the person, 1 to 120.

        Returns:
            The person's yes: redeem it with the very same digest.

        Raises:
            PresenceDeniedError: By the button "deny", or because the switch is OFF or
                a tamper latched.
            PresenceTimeoutError: Nobody pressed anything.
        """
        raise NotImplementedError

    async def counter_read(self) -> int:
        """Return the monotonic counter."""
        raise NotImplementedError

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
        raise NotImplementedError

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
        """
        raise NotImplementedError

    async def display(self, text: str) -> None:
        """Show a text, at most 96 bytes of UTF-8, until the next one."""
        raise NotImplementedError

    async def arm(self) -> None:
        """Watch the loops from now on, over restarts too."""
        raise NotImplementedError

    async def disarm(self) -> None:
        """Stop watching the loops; the device refuses unless in MAINTENANCE."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def zeroize(self) -> None:
        """Make the device forget the pairing key; latch, counter and log stay.

        The session is over afterwards (``Lost``), and the device must be paired again.
        """
        raise NotImplementedError

    async def read_log(self) -> list[LogRecord]:
        """Read the device's log and check its chain.

        Returns:
            What the device keeps of it, oldest first.

        Raises:
            LogBrokenError: An entry does not follow from the one before.
        """
        raise NotImplementedError

    async def self_test(self) -> SelfTestReport:
        """Have the device test itself.

        Returns:
            What passed and what did not; a failure is no exception.
        """
        raise NotImplementedError

    async def lock(self) -> None:
        """End the session: the device takes a new handshake afterwards.

        Session keys are wiped. Nothing happens when there is none.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """End the session, close the line and end every ``watch``."""
        raise NotImplementedError

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
