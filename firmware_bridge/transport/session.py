# SPDX-License-Identifier: Apache-2.0
"""An agreed session, either end: messages in, messages out, and whether it still lives.

No I/O and no clock: frames and times come in, bytes and events go out.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

from firmware_bridge.errors import MessageError
from firmware_bridge.frames import TRANSPORT_PAYLOAD_BYTES, Channel, Frame
from firmware_bridge.link import RETRY_S, Arrived, Link
from firmware_bridge.transport.pairing_keys import SessionCipher
from firmware_bridge.transport.parts import (
    Inbox,
    Kind,
    Outbox,
    Rejected,
    Whole,
    number_of,
    numbered,
)

PING_S: Final = 2.0
"""After so much silence a client that waits asks whether anybody is there."""
_BITS_A_BYTE: Final = 10  # 8N1
_FRAME_BYTES: Final = TRANSPORT_PAYLOAD_BYTES + 40
_UNREAD: Final = 4
_FRAMES_AHEAD: Final = 3  # ours, one of theirs, and what a driver keeps in hand


def retry_s(baud: int) -> float:
    """Return how long to wait for an acknowledgement on a line of this speed.

    A frame takes 92 ms at 115,200 baud, and its acknowledgement may stand behind
    another frame.
    """
    return RETRY_S + _FRAMES_AHEAD * _FRAME_BYTES * _BITS_A_BYTE / baud


@dataclass(frozen=True, slots=True)
class Progress:
    """A part of this message came, or was acknowledged."""

    number: int


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The client wants no reply any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The other side has the session too."""


Event: TypeAlias = Whole | Rejected | Progress | GivenUp | Ready


class End(IntEnum):
    """Which end of the line this is; its value is what begins a message there."""

    APPLIANCE = Kind.REQUEST
    """Takes requests."""
    CLIENT = Kind.REPLY
    """Takes replies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one end takes.

    Attributes:
        largest_bytes: The longest message.
        most: How many messages may be coming at once.
        patience_s: How long the next part of one may take.
    """

    largest_bytes: int
    most: int
    patience_s: float


@dataclass(slots=True)
class Session:
    """One end of a session.

    Attributes:
        end: Which.
        cipher: Of what we send.
        limits: What we take.
        retry_s: See ``retry_s``.
        failed: The other side is gone, or broke the rules.
        waits: Whether a reply is waited for, so that silence is looked into.
    """

    end: End
    cipher: SessionCipher
    limits: Limits
    retry_s: float
    failed: bool = False
    waits: bool = False
    _heard_s: float = float("-inf")
    _under_way: int | None = None
    _link: Link = field(init=False)
    _inbox: Inbox = field(init=False)
    _outbox: Outbox = field(default_factory=Outbox)

    def __post_init__(self) -> None:
        self._link = Link(Channel.TRANSPORT, key=self.cipher, retry_s=self.retry_s)
        self._inbox = Inbox(Kind(self.end), self.limits.largest_bytes, self.limits.most)

    def send(self, kind: Kind, whole: Whole, *, now_s: float) -> None:
        """Send a request or a reply."""
        self._outbox.put(kind, whole)
        # Who asks without end and takes no reply fills no memory of ours.
        self.failed = self.failed or len(self._outbox) > _UNREAD * self.limits.most
        self._feed(now_s)

    def say(self, kind: Kind, number: int, *, now_s: float) -> None:
        """Send a frame that is no part of a message."""
        try:
            self._link.send(kind, numbered(number), now_s=now_s)
        except MessageError:  # more wait than a sound line lets wait
            self.failed = True

    def give_up(self, number: int, *, now_s: float) -> None:
        """Forget a request, and tell the appliance so."""
        self.drop(number)
        if not self.failed:
            self.say(Kind.GIVE_UP, number, now_s=now_s)

    def drop(self, number: int) -> None:
        """Forget what is left of a message, either way."""
        self._inbox.drop(number)
        self._outbox.drop(number)

    def receive(self, frame: Frame, *, now_s: float) -> list[Event]:
        """Take a frame of this session's channel whose tag was checked.

        Args:
            frame: The frame.
            now_s: The monotonic time.

        Returns:
            What it meant.
        """
        self._heard_s = now_s
        try:
            match self._link.receive(frame, now_s=now_s):
                case Arrived.NEW:
                    return self._read(frame, now_s)
                case Arrived.ACKNOWLEDGED:
                    return self._acknowledged(now_s)
        except (MessageError, ValueError):  # ValueError: a kind that we do not have
            self.failed = True
        return []

    def _read(self, frame: Frame, now_s: float) -> list[Event]:
        kind = Kind(frame.kind)
        match kind:
            case Kind.PING:
                return []
            case Kind.READY:
                return [Ready()]
            case Kind.GIVE_UP:
                number = number_of(frame.payload)
                self.drop(number)
                return [GivenUp(number)]
        arrived = self._inbox.take(kind, frame.payload, now_s=now_s)
        if arrived is None:
            return [Progress(number_of(frame.payload))]
        return [arrived]

    def _acknowledged(self, now_s: float) -> list[Event]:
        number, self._under_way = self._under_way, None
        self._feed(now_s)
        return [] if number is None else [Progress(number)]

    def tick(self, now_s: float) -> list[Event]:
        """Repeat what is due, and drop what does not go on.

        Args:
            now_s: The monotonic time.

        Returns:
            What was dropped.
        """
        self._link.tick(now_s)
        self.failed = self.failed or self._link.failed
        if now_s >= self._ping_due_s and not self.failed:
            self.say(Kind.PING, 0, now_s=now_s)
        return list(self._inbox.late(patience_s=self.limits.patience_s, now_s=now_s))

    def _feed(self, now_s: float) -> None:
        """Give the link its next piece, one at a time, so that messages take turns."""
        if not self._link.idle:
            return
        piece = self._outbox.take()
        if piece is not None:
            self._under_way = piece.number
            self._link.send(piece.kind, piece.payload, now_s=now_s, flags=piece.flags)

    @property
    def idle(self) -> bool:
        """Whether all that was sent is acknowledged."""
        return self._link.idle and not self._outbox

    @property
    def unread(self) -> int:
        """How many messages are still on their way out."""
        return len(self._outbox)

    @property
    def _ping_due_s(self) -> float:
        silent = self.waits and self._link.idle
        return self._heard_s + PING_S if silent else float("inf")

    @property
    def deadline_s(self) -> float:
        """When ``tick`` has something to do; infinity if never."""
        return min(
            self._link.deadline_s,
            self._ping_due_s,
            self._inbox.next_late_s(patience_s=self.limits.patience_s),
        )

    def take_output(self) -> bytes:
        """Return the bytes for the line, once."""
        return self._link.take_output()
