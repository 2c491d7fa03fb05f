# SPDX-License-Identifier: Apache-2.0
"""What survives a restart: one record, written whole, before anything is answered.

``hal.store`` returns when the record is durable. A record that is damaged is not taken
for a new device's: the pairing is gone and the memory latch closed.
"""

import binascii
import struct

from firmware_bridge.firmware.hal import Hal

NAME = "state"
LOG = "log"
CASE = 1
MESH = 2
MEMORY = 4
_MAGIC = b"SKP1"
_LAYOUT = ">4sQHBI32s"
_BYTES = 51


class Memory:
    """The device's durable state; change a field, then ``save``."""

    def __init__(self, hal: Hal) -> None:
        self._hal = hal
        self.counter = 0
        self.latched = 0
        self.armed = False
        self.boots = 0
        self.key = b""
        self.damaged = False
        data = hal.load(NAME)
        if data is None:
            # A device that has a log is not new: somebody took its record away.
            data = b"" if hal.load(LOG) is not None else None
        if data is not None:
            self._read(data)

    def _read(self, data: bytes) -> None:
        crc = struct.pack(">I", binascii.crc32(data[:-4]) & 0xFFFFFFFF)
        if len(data) != _BYTES + 4 or data[-4:] != crc or data[:4] != _MAGIC:
            self.latched = MEMORY
            self.damaged = True
            return
        fields = struct.unpack(_LAYOUT, data[:-4])
        self.counter = fields[1]
        self.latched = fields[2]
        self.armed = bool(fields[3])
        self.boots = fields[4]
        self.key = fields[5] if fields[5] != bytes(32) else b""

    def record(self) -> bytes:
        """Return the record as it is stored."""
        body = struct.pack(
            _LAYOUT,
            _MAGIC,
            self.counter,
            self.latched,
            int(self.armed),
            self.boots,
            self.key or bytes(32),
        )
        return body + struct.pack(">I", binascii.crc32(body) & 0xFFFFFFFF)

    def save(self) -> None:
        """Store the record; what it holds may be told afterwards."""
        self._hal.store(NAME, self.record())

    def reads_back(self) -> bool:
        """Say whether what is stored is what we hold."""
        stored: bytes | None = self._hal.load(NAME)
        return stored == self.record()
