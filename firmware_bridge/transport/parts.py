# SPDX-License-Identifier: Apache-2.0
"""Messages cut into frames, and put together again.

::

    first part    number u32 | status u16 | length of the whole u32 | content
    any other     number u32 | content

A message has the number of its request. Parts of several messages take turns, so that a
short one does not wait for a long one; within a message they are in order, since the
link below loses and reorders nothing. The first part tells the whole length: what is
too large is known before it has come.
"""

import struct
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from firmware_bridge.errors import MessageError
from firmware_bridge.frames import TRANSPORT_PAYLOAD_BYTES, Flags

_NUMBER: Final = struct.Struct(">I")
_FIRST: Final = struct.Struct(">IHI")
NUMBERS: Final = 2**32


class Kind(IntEnum):
    """Frames of a session."""

    REQUEST = 0x01
    """The first part of a request; its status is 0."""
    REPLY = 0x02
    """The first part of a reply."""
    PART = 0x03
    """Any other part of either."""
    GIVE_UP = 0x04
    """The client wants no reply to this number any more."""
    PING = 0x05
    """Nothing but to be acknowledged."""
    READY = 0x06
    """The appliance has the session too."""


class Rejection(Enum):
    """Why a message was not taken whole; the value is an HTTP status, as on TLS."""

    TOO_SLOW = 408
    """Its next part did not come in time."""
    TOO_LARGE = 413
    """Its first part announced more than is taken."""
    TOO_MANY = 429
    """As many messages as are taken at once are under way already."""
    STOPPING = 503
    """The listener is being closed: what is under way is answered, no more taken."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What goes into one frame."""

    number: int
    kind: Kind
    flags: Flags
    payload: bytes


@dataclass(frozen=True, slots=True)
class Whole:
    """A message that has come.

    Attributes:
        number: Of its request.
        status: Of a reply; 0 of a request.
        body: Its content.
    """

    number: int
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that was not taken."""

    number: int
    why: Rejection


@dataclass(slots=True)
class _Leaving:
    number: int
    kind: Kind
    head: bytes
    body: bytes
    sent: int = 0

    def next(self) -> Piece:
        room = TRANSPORT_PAYLOAD_BYTES - len(self.head)
        content = self.body[self.sent : self.sent + room]
        alone = not self.sent and len(content) == len(self.body)
        self.sent += len(content)
        flags = Flags.NONE if alone else Flags.FRAGMENT
        if not alone and self.done:
            flags |= Flags.LAST
        piece = Piece(self.number, self.kind, flags, self.head + content)
        self.kind, self.head = Kind.PART, _NUMBER.pack(self.number)
        return piece

    @property
    def done(self) -> bool:
        return self.sent >= len(self.body)


class Outbox:
    """What is on its way out, a piece of each in turn."""

    def __init__(self) -> None:
        self._leaving: deque[_Leaving] = deque()

    def put(self, kind: Kind, whole: Whole) -> None:
        """Take a message."""
        head = _FIRST.pack(whole.number, whole.status, len(whole.body))
        self._leaving.append(_Leaving(whole.number, kind, head, whole.body))

    def take(self) -> Piece | None:
        """Return the next piece; None if there is none."""
        if not self._leaving:
            return None
        leaving = self._leaving.popleft()
        piece = leaving.next()
        if not leaving.done:
            self._leaving.append(leaving)
        return piece

    def drop(self, number: int) -> None:
        """Forget what is left of a message."""
        self._leaving = deque(one for one in self._leaving if one.number != number)

    def __len__(self) -> int:
        """Return how many messages are on their way."""
        return len(self._leaving)


@dataclass(slots=True)
class _Coming:
    status: int
    length: int
    heard_s: float
    body: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Inbox:
    """What is coming in.

    Attributes:
        opens: The kind that begins a message here.
        largest_bytes: The longest message that is taken.
        most: How many may be under way at once.
    """

    opens: Kind
    largest_bytes: int
    most: int
    _coming: dict[int, _Coming] = field(default_factory=dict)

    def take(
        self, kind: Kind, payload: bytes, *, now_s: float
    ) -> Whole | Rejected | None:
        """Take a part.

        Args:
            kind: ``opens`` or ``PART``.
            payload: The frame's.
            now_s: The monotonic time.

        Returns:
            The message if this ends it, or why it is not taken; parts of one that was
            dropped are passed over.

        Raises:
            MessageError: If the other side breaks the rules.
        """
        if kind is Kind.PART:
            return self._more(payload, now_s)
        if kind is not self.opens or len(payload) < _FIRST.size:
            raise MessageError("a part that can not come here")
        number, status, length = _FIRST.unpack_from(payload)
        if number in self._coming:
            raise MessageError("a message began twice")
        if length > self.largest_bytes:
            return Rejected(number, Rejection.TOO_LARGE)
        if len(self._coming) >= self.most:
            return Rejected(number, Rejection.TOO_MANY)
        self._coming[number] = _Coming(status, length, now_s)
        return self._add(number, payload[_FIRST.size :], now_s)

    def _more(self, payload: bytes, now_s: float) -> Whole | None:
        if len(payload) <= _NUMBER.size:
            raise MessageError("a part without content")
        number = _NUMBER.unpack_from(payload)[0]
        if number not in self._coming:
            return None
        return self._add(number, payload[_NUMBER.size :], now_s)

    def _add(self, number: int, content: bytes, now_s: float) -> Whole | None:
        coming = self._coming[number]
        coming.body += content
        coming.heard_s = now_s
        if len(coming.body) > coming.length:
            raise MessageError("a message is longer than it said")
        if len(coming.body) < coming.length:
            return None
        del self._coming[number]
        return Whole(number, coming.status, bytes(coming.body))

    def late(self, *, patience_s: float, now_s: float) -> list[Rejected]:
        """Drop what did not go on in time, and return it."""
        late = [
            number
            for number, coming in self._coming.items()
            if now_s >= coming.heard_s + patience_s
        ]
        for number in late:
            del self._coming[number]
        return [Rejected(number, Rejection.TOO_SLOW) for number in late]

    def next_late_s(self, *, patience_s: float) -> float:
        """Return when ``late`` has something; infinity if nothing is coming."""
        heard = [coming.heard_s for coming in self._coming.values()]
        return min(heard, default=float("inf")) + patience_s

    def drop(self, number: int) -> None:
        """Forget a message."""
        self._coming.pop(number, None)


def number_of(payload: bytes) -> int:
    """Return the number that a frame's payload begins with.

    Args:
        payload: Of any frame of a message.

    Returns:
        The number.

    Raises:
        MessageError: If there is none.
    """
    if len(payload) < _NUMBER.size:
        raise MessageError("a frame without a number")
    number: int = _NUMBER.unpack_from(payload)[0]
    return number


def numbered(number: int) -> bytes:
    """Return the payload of a frame that says a number and no more."""
    return _NUMBER.pack(number)
