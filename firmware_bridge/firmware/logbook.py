# SPDX-License-Identifier: Apache-2.0
"""The device's log: a chain of hashes, of which the newest entries are kept."""

import struct

from firmware_bridge.firmware import mac
from firmware_bridge.firmware.hal import Hal
from firmware_bridge.firmware.memory import LOG

BOOT = 1
PAIRED = 2
SESSION = 3
TAMPER = 4
CLEARED = 5
ARMED = 6
DISARMED = 7
ZEROIZED = 8
FORGOTTEN = 9
GRANTED = 10
DENIED = 11
KEPT = 64
_NUMBERS = ">IBIIQ"
_ENTRY_BYTES = 85  # previous 32, numbers 21, digest 32


class Logbook:
    """Appends entries and finds them again."""

    def __init__(self, hal: Hal, boots: int) -> None:
        self._hal = hal
        self._boots = boots
        data = hal.load(LOG) or b""
        count = len(data) // _ENTRY_BYTES
        self._entries = [
            data[place * _ENTRY_BYTES : (place + 1) * _ENTRY_BYTES]
            for place in range(count)
        ]

    def append(self, kind: int, value: int, now_ms: int) -> None:
        """Write an entry down."""
        previous = self.head()
        seq = self.last() + 1
        numbers = struct.pack(
            _NUMBERS, seq, kind, value & 0xFFFFFFFF, self._boots, now_ms
        )
        self._entries.append(previous + numbers + mac.sha256(previous, numbers))
        self._entries = self._entries[-KEPT:]
        self._hal.store(LOG, b"".join(self._entries))

    def head(self) -> bytes:
        """Return the newest entry's hash; zeros before the first."""
        return self._entries[-1][-32:] if self._entries else bytes(32)

    def last(self) -> int:
        """Return the newest entry's number; 0 before the first."""
        return self._number(self._entries[-1]) if self._entries else 0

    def first(self) -> int:
        """Return the number of the oldest entry that is kept."""
        return self._number(self._entries[0]) if self._entries else 1

    def find(self, seq: int) -> dict | None:
        """Return an entry's fields by their keys in ``LogEntry``."""
        for entry in self._entries:
            if self._number(entry) == seq:
                numbers = struct.unpack(_NUMBERS, entry[32:53])
                fields: dict = {}
                for place, number in enumerate(numbers):
                    fields[place + 1] = number
                fields[6] = entry[:32]
                fields[7] = entry[53:]
                return fields
        return None

    def _number(self, entry: bytes) -> int:
        number: int = struct.unpack(">I", entry[32:36])[0]
        return number
