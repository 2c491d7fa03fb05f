# SPDX-License-Identifier: Apache-2.0
"""Frames on the line: see the host's ``frames`` for the drawing."""

import binascii
import struct

from firmware_bridge.firmware import cobs, mac

CONTROL = 0
PANEL = 1
ACK = 4
PAYLOAD_BYTES = 256
_HEADER = ">BBBBIH"
_HEADER_BYTES = 10
_OVERHEAD_BYTES = 30
_LONGEST = 289  # 286 bytes, stuffed
_NO_TAG = bytes(16)


def encode(
    kind: int, flags: int, chan: int, seq: int, payload: bytes, key: bytes | None
) -> bytes:
    """Write a frame, delimiters included; without a key its tag is zero."""
    signed = struct.pack(_HEADER, 1, kind, flags, chan, seq, len(payload)) + payload
    body = signed + (_NO_TAG if key is None else mac.hmac(key, signed)[:16])
    crc = binascii.crc32(body) & 0xFFFFFFFF
    return b"\x00" + cobs.encode(body + struct.pack(">I", crc)) + b"\x00"


class Frame:
    """A frame whose length and CRC are right; ``authentic`` checks the tag."""

    def __init__(self, body: bytes) -> None:
        self.signed = body[:-16]
        self.tag = body[-16:]
        head = struct.unpack(_HEADER, self.signed[:_HEADER_BYTES])
        self.version, self.kind, self.flags, self.chan, self.seq, self.size = head
        self.payload = self.signed[_HEADER_BYTES:]

    def sound(self) -> bool:
        """Say whether the header is one that we know."""
        known = self.version == 1 and self.chan in (CONTROL, PANEL)
        if self.size > PAYLOAD_BYTES:
            return False
        return known and self.flags in (0, ACK) and self.size == len(self.payload)

    def authentic(self, key: bytes | None) -> bool:
        """Say whether the tag is by this key."""
        tag = _NO_TAG if key is None else mac.hmac(key, self.signed)[:16]
        return mac.same(tag, self.tag)


class Reader:
    """Reads frames out of whatever comes."""

    def __init__(self) -> None:
        self.bad = 0
        self._pending = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that these bytes complete."""
        frames = []
        for byte in data:
            if byte:
                self._keep(byte)
                continue
            frame = self._finish()
            if frame is not None:
                frames.append(frame)
        return frames

    def _keep(self, byte: int) -> None:
        if len(self._pending) >= _LONGEST:
            self._skipping = True
        else:
            self._pending.append(byte)

    def _finish(self) -> Frame | None:
        stuffed, skipping = bytes(self._pending), self._skipping
        self._pending = bytearray()
        self._skipping = False
        if not stuffed:
            return None
        whole = None if skipping else cobs.decode(stuffed)
        if whole is not None and len(whole) >= _OVERHEAD_BYTES:
            body = whole[:-4]
            crc = binascii.crc32(body) & 0xFFFFFFFF
            if struct.pack(">I", crc) == whole[-4:]:
                frame = Frame(body)
                if frame.sound():
                    return frame
        self.bad += 1
        return None
