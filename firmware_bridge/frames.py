# SPDX-License-Identifier: Apache-2.0
"""Frames: what a byte on the line belongs to.

::

    ver u8 | type u8 | flags u8 | chan u8 | seq u32 | len u16 | payload | tag | crc

All big endian, the whole COBS-encoded, a zero byte before and after. The
CRC-32 guards against the line; the tag, HMAC-SHA256 cut to 128 bits over header and
payload, against people. The control channel has no tag (zeros) and carries the
handshake alone; every other channel has nothing else than tagged frames, and none
before it has a key. A channel with a cipher for a key has its payloads encrypted, and
the cipher's tag in the tag's place.
"""

import hmac
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, IntEnum, IntFlag
from typing import Final, Protocol, TypeAlias

from firmware_bridge import cobs
from firmware_bridge.errors import MessageError

VERSION: Final = 1
TAG_BYTES: Final = 16
KEY_BYTES: Final = 32
PAYLOAD_BYTES: Final = 256
TRANSPORT_PAYLOAD_BYTES: Final = 1024
SEQUENCE_MAX: Final = 2**32 - 1
_HEADER: Final = struct.Struct(">BBBBIH")
_CRC: Final = struct.Struct(">I")
_OVERHEAD_BYTES: Final = _HEADER.size + TAG_BYTES + _CRC.size
_NO_TAG: Final = bytes(TAG_BYTES)


class Channel(IntEnum):
    """Who on the other side is meant."""

    CONTROL = 0
    """Handshake and pairing; not authenticated by frame."""
    PANEL = 1
    """The session with a panel."""
    TRANSPORT = 2
    """An appliance's wire protocol."""


class Flags(IntFlag):
    """What a frame is besides its type."""

    NONE = 0
    FRAGMENT = 1
    """Part of a longer message; the transport's alone."""
    LAST = 2
    """The last part."""
    ACK = 4
    """Acknowledges the frame of this sequence number; no payload."""


class BadFrame(Enum):
    """Why a frame was dropped."""

    STUFFING = "stuffing"
    """It is not COBS."""
    LENGTH = "length"
    """Too short, too long, or not as long as it says."""
    CRC = "crc"
    """It was damaged on the line."""
    HEADER = "header"
    """A version, a channel or a flag that we do not have."""
    NO_SESSION = "no-session"
    """Its channel has no key yet."""
    TAG = "tag"
    """It came whole, and not from this session."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that was checked.

    Attributes:
        kind: The type of message, 0 to 255.
        flags: See ``Flags``.
        channel: See ``Channel``.
        sequence: 0 to 2**32 - 1.
        payload: At most 256 bytes, 1024 on the transport's channel.
    """

    kind: int
    flags: Flags
    channel: Channel
    sequence: int
    payload: bytes = b""


class FrameCipher(Protocol):
    """Authenticated encryption of one direction of a session."""

    def seal(self, header: bytes, payload: bytes) -> bytes:
        """Return the encrypted payload, as long as the plain one, and a tag."""

    def open(self, header: bytes, sealed: bytes) -> bytes | None:
        """Return the plain payload; None if header or content are not the sender's."""


Arrival: TypeAlias = Frame | BadFrame
Key: TypeAlias = bytes | bytearray | FrameCipher
Keys: TypeAlias = Mapping[Channel, Key]


def payload_limit(channel: Channel) -> int:
    """Return how many bytes a frame of this channel may carry."""
    if channel is Channel.TRANSPORT:
        return TRANSPORT_PAYLOAD_BYTES
    return PAYLOAD_BYTES


_LONGEST: Final = cobs.longest_encoding(TRANSPORT_PAYLOAD_BYTES + _OVERHEAD_BYTES)


def encode(frame: Frame, key: Key | None) -> bytes:
    """Write a frame, delimiters included.

    Args:
        frame: What to send.
        key: The session's key of this direction, 32 bytes, or its cipher; None on the
            control channel.

    Returns:
        The bytes for the line. The leading delimiter ends whatever the line made up
        before.

    Raises:
        MessageError: If the payload is too long, or channel and key do not fit.
    """
    if (key is None) != (frame.channel is Channel.CONTROL):
        raise MessageError("the control channel has no key, and every other has one")
    if len(frame.payload) > payload_limit(frame.channel):
        raise MessageError(f"a payload of {len(frame.payload)} bytes is too long")
    header = _HEADER.pack(
        VERSION,
        frame.kind,
        frame.flags,
        frame.channel,
        frame.sequence,
        len(frame.payload),
    )
    body = header + _protect(header, frame.payload, key)
    whole = body + _CRC.pack(zlib.crc32(body))
    return cobs.DELIMITER + cobs.encode(whole) + cobs.DELIMITER


def _protect(header: bytes, payload: bytes, key: Key | None) -> bytes:
    if key is None:
        return payload + _NO_TAG
    if isinstance(key, bytes | bytearray):
        return payload + tag_of(header + payload, key)
    return key.seal(header, payload)


def tag_of(signed: bytes, key: bytes | bytearray) -> bytes:
    """Return the tag of header and payload, 16 bytes."""
    return hmac.digest(key, signed, "sha256")[:TAG_BYTES]


class FrameDecoder:
    """Reads frames out of whatever comes; never raises, never grows.

    Attributes:
        keys: The key of each channel that has one; the owner changes it.
        counts: How many frames were dropped, by reason.
    """

    def __init__(self) -> None:
        self.keys: dict[Channel, Key] = {}
        self.counts: dict[BadFrame, int] = dict.fromkeys(BadFrame, 0)
        self._pending = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[Arrival]:
        """Take bytes from the line.

        The keys are those of the moment: whoever changes them on a frame feeds the
        bytes one frame at a time (``feed_until_frame``).

        Args:
            data: Any bytes.

        Returns:
            What they completed, in order: checked frames, and why others were not.
        """
        arrivals = []
        rest = data
        while rest:
            arrival, rest = self.feed_until_frame(rest)
            if arrival is not None:
                arrivals.append(arrival)
        return arrivals

    def feed_until_frame(self, data: bytes) -> tuple[Arrival | None, bytes]:
        """Take bytes up to the end of one frame.

        Args:
            data: Any bytes.

        Returns:
            The frame, or why it is none, or None when the bytes did not end one; and
            the bytes that were not taken.
        """
        end = data.find(cobs.DELIMITER)
        self._keep(data if end < 0 else data[:end])
        if end < 0:
            return None, b""
        return self._finish(), data[end + 1 :]

    def _keep(self, piece: bytes) -> None:
        if self._skipping:
            return
        if len(self._pending) + len(piece) > _LONGEST:
            self._pending.clear()
            self._skipping = True
        else:
            self._pending += piece

    def _finish(self) -> Arrival | None:
        stuffed, too_long = bytes(self._pending), self._skipping
        self._pending.clear()
        self._skipping = False
        if not stuffed and not too_long:
            return None  # two delimiters in a row
        arrival = BadFrame.LENGTH if too_long else _read(stuffed, self.keys)
        if isinstance(arrival, BadFrame):
            self.counts[arrival] += 1
        return arrival


def read_unchecked(stuffed: bytes) -> Arrival:
    """Read a frame without its keys: for a trace, never for acting on it.

    Args:
        stuffed: What stood between two delimiters.

    Returns:
        The frame, or why it is none; its tag is not looked at.
    """
    body = _body(stuffed)
    return body if isinstance(body, BadFrame) else _parse(body[:-TAG_BYTES])


def _read(stuffed: bytes, keys: Keys) -> Arrival:
    body = _body(stuffed)
    if isinstance(body, BadFrame):
        return body
    frame = _parse(body[:-TAG_BYTES])
    if isinstance(frame, BadFrame):
        return frame
    key = keys.get(frame.channel)
    if frame.channel is not Channel.CONTROL and key is None:
        return BadFrame.NO_SESSION
    payload = _verify(body, key)
    return BadFrame.TAG if payload is None else replace(frame, payload=payload)


def _verify(body: bytes, key: Key | None) -> bytes | None:
    header, protected = body[: _HEADER.size], body[_HEADER.size :]
    if key is not None and not isinstance(key, bytes | bytearray):
        return key.open(header, protected)
    expected = _NO_TAG if key is None else tag_of(body[:-TAG_BYTES], key)
    if not hmac.compare_digest(expected, body[-TAG_BYTES:]):
        return None
    return protected[:-TAG_BYTES]


def _body(stuffed: bytes) -> bytes | BadFrame:
    whole = cobs.decode(stuffed)
    if whole is None:
        return BadFrame.STUFFING
    if len(whole) < _OVERHEAD_BYTES:
        return BadFrame.LENGTH
    body = whole[: -_CRC.size]
    if _CRC.unpack(whole[-_CRC.size :])[0] != zlib.crc32(body):
        return BadFrame.CRC
    return body


def _parse(signed: bytes) -> Arrival:
    version, kind, flags, chan, sequence, size = _HEADER.unpack_from(signed)
    payload = signed[_HEADER.size :]
    if version != VERSION or chan not in _CHANNELS or flags not in _FLAGS:
        return BadFrame.HEADER
    channel = Channel(chan)
    if size != len(payload) or size > payload_limit(channel):
        return BadFrame.LENGTH
    return Frame(kind, Flags(flags), channel, sequence, payload)


_CHANNELS: Final = frozenset(Channel)
_FLAGS: Final = frozenset(
    {Flags.NONE, Flags.ACK, Flags.FRAGMENT, Flags.FRAGMENT | Flags.LAST}
)
