# SPDX-License-Identifier: Apache-2.0
"""The link of one session and channel: each message once, in order, or not at all.

Stop and wait: one frame is under way, repeated until its acknowledgement comes.
Sequence numbers begin at 1 with the session and rise by one; whatever has another
number is a repetition or a replay. No I/O and no clock: bytes and times come in, bytes
go out.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

from firmware_bridge.errors import MessageError
from firmware_bridge.frames import SEQUENCE_MAX, Channel, Flags, Frame, Key, encode

RETRY_S: Final = 0.2
RETRIES: Final = 5
QUEUE_MAX: Final = 64
ALARM_WINDOW_S: Final = 60.0


class Arrived(Enum):
    """What a frame was to the link."""

    NEW = "new"
    """The next message: act on it."""
    REPEATED = "repeated"
    """The last message again; its acknowledgement was sent again."""
    ACKNOWLEDGED = "acknowledged"
    """The other side has what we sent."""
    STALE = "stale"
    """Of no use: an old number, or one that can not come yet."""


@dataclass(slots=True)
class _UnderWay:
    sequence: int
    data: bytes
    tries: int
    due_s: float


class Link:
    """One end of a session's channel.

    Args:
        channel: Which one.
        key: The key for what we send, 32 bytes, or a cipher; read where it lies, never
            copied.
        retry_s: How long an acknowledgement is waited for; a slow line needs longer.

    Attributes:
        failed: The other side acknowledged nothing, however often it was told.
    """

    def __init__(self, channel: Channel, *, key: Key, retry_s: float = RETRY_S) -> None:
        self.failed = False
        self._channel = channel
        self._key = key
        self._retry_s = retry_s
        self._waiting: deque[tuple[int, Flags, bytes]] = deque()
        self._under_way: _UnderWay | None = None
        self._sent = 0
        self._received = 0
        self._out = bytearray()

    def send(
        self, kind: int, payload: bytes, *, now_s: float, flags: Flags = Flags.NONE
    ) -> None:
        """Queue a message.

        Args:
            kind: Its type, 0 to 255.
            payload: Its content.
            now_s: The monotonic time.
            flags: Whether it is a part of a longer one.

        Raises:
            MessageError: If more wait than a sound caller lets wait.
        """
        if len(self._waiting) >= QUEUE_MAX:
            raise MessageError("too many messages wait for the line")
        self._waiting.append((kind, flags, payload))
        self._next(now_s)

    def receive(self, frame: Frame, *, now_s: float) -> Arrived:
        """Take a frame of this channel whose tag was checked.

        Args:
            frame: The frame.
            now_s: The monotonic time.

        Returns:
            What it is; the caller acts on ``NEW`` alone.
        """
        if frame.flags & Flags.ACK:
            return self._acknowledged(frame.sequence, now_s)
        if frame.sequence == self._received + 1:
            self._received += 1
            self._acknowledge(frame.sequence)
            return Arrived.NEW
        if frame.sequence == self._received and self._received:
            self._acknowledge(frame.sequence)
            return Arrived.REPEATED
        return Arrived.STALE

    def tick(self, now_s: float) -> None:
        """Repeat what is due; give up after the last repetition."""
        waiting = self._under_way
        if waiting is None or now_s < waiting.due_s or self.failed:
            return
        if waiting.tries > RETRIES:
            self.failed = True
            return
        self._out += waiting.data
        waiting.tries += 1
        waiting.due_s = now_s + self._retry_s

    @property
    def deadline_s(self) -> float:
        """When ``tick`` has something to do; infinity if nothing is under way."""
        if self._under_way is None or self.failed:
            return float("inf")
        return self._under_way.due_s

    @property
    def idle(self) -> bool:
        """Whether everything sent was acknowledged."""
        return self._under_way is None and not self._waiting

    def take_output(self) -> bytes:
        """Return the bytes for the line, once."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def _acknowledged(self, sequence: int, now_s: float) -> Arrived:
        if self._under_way is None or sequence != self._under_way.sequence:
            return Arrived.STALE
        self._under_way = None
        self._next(now_s)
        return Arrived.ACKNOWLEDGED

    def _acknowledge(self, sequence: int) -> None:
        self._out += encode(Frame(0, Flags.ACK, self._channel, sequence), self._key)

    def _next(self, now_s: float) -> None:
        if self._under_way is not None or not self._waiting:
            return
        if self._sent >= SEQUENCE_MAX:
            self.failed = True  # a new session begins at 1 again, with a new key
            return
        kind, flags, payload = self._waiting.popleft()
        self._sent += 1
        frame = Frame(kind, flags, self._channel, self._sent, payload)
        data = encode(frame, self._key)
        self._out += data
        self._under_way = _UnderWay(self._sent, data, 1, now_s + self._retry_s)


class FrameAlarm:
    """Tells once when bad frames pile up, and again after a quiet minute.

    Args:
        per_minute: How many are still ordinary.
    """

    def __init__(self, *, per_minute: int) -> None:
        self._per_minute = per_minute
        self._times: deque[float] = deque(maxlen=per_minute + 1)
        self._raised = False

    def count(self, now_s: float) -> bool:
        """Take note of a bad frame.

        Args:
            now_s: The monotonic time.

        Returns:
            True when it is the first too many.
        """
        while self._times and self._times[0] <= now_s - ALARM_WINDOW_S:
            self._times.popleft()
        if not self._times:
            self._raised = False
        self._times.append(now_s)
        if len(self._times) <= self._per_minute or self._raised:
            return False
        self._raised = True
        return True
