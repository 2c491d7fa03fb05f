# SPDX-License-Identifier: Apache-2.0
"""Tamper loops and key switch: what is latched stays latched, over restarts too."""

from firmware_bridge.firmware import logbook
from firmware_bridge.firmware.hal import Hal
from firmware_bridge.firmware.memory import Memory


class Guard:
    """Watches the inputs. No method but ``clear`` takes anything out of the latch."""

    def __init__(self, hal: Hal, memory: Memory, log: logbook.Logbook) -> None:
        self._hal = hal
        self._memory = memory
        self._log = log
        self.switch = hal.switch()

    def look(self, now_ms: int) -> tuple[bool, bool]:
        """Read the inputs; say whether a latch closed and whether the key was turned.

        The latch is stored before anybody is told. If it can not be stored it stays
        closed in memory.
        """
        new = self._hal.loops_open() & ~self._memory.latched
        latched = bool(new) and self._memory.armed
        if latched:
            self._memory.latched |= new
            try:
                self._memory.save()
                self._log.append(logbook.TAMPER, self._memory.latched, now_ms)
            except OSError:
                pass
        position = self._hal.switch()
        turned = position != self.switch
        self.switch = position
        return latched, turned

    def clear(self, now_ms: int) -> None:
        """Open the latch: the caller has asked a person in MAINTENANCE."""
        before = self._memory.latched
        self._memory.latched = 0
        try:
            self._memory.save()
        except OSError:
            self._memory.latched = before
            raise
        self._log.append(logbook.CLEARED, before, now_ms)
