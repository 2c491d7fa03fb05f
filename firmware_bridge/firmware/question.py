# SPDX-License-Identifier: Apache-2.0
"""A question to a person: shown on the display, answered by a fresh press."""

from firmware_bridge.firmware import hal as board

PRESENCE = 1
CLEAR = 2
YES = "yes"
HOLD_MS = 30  # shorter presses are bounces of the contact


class Question:
    """One question; at most one is open."""

    def __init__(self, purpose: int, fields: dict, until_ms: int) -> None:
        self.purpose = purpose
        self.fields = fields
        self._until_ms = until_ms
        self._released = False
        self._since_ms = -1

    def answer(self, hal: board.Hal, latched: int, now_ms: int) -> str:
        """Return "" while it is open, else ``yes`` or the reason for no.

        The button must be seen up once after the question came: one that is held
        down, or stuck, says nothing.
        """
        refused = self._forbidden(hal.switch(), latched)
        if refused:
            return refused
        if hal.deny():
            return "denied"
        if now_ms >= self._until_ms:
            return "timeout"
        if not hal.confirm():
            self._released = True
            self._since_ms = -1
        elif self._released and self._since_ms < 0:
            self._since_ms = now_ms
        elif self._released and now_ms - self._since_ms >= HOLD_MS:
            return YES
        return ""

    def deadline_ms(self) -> int:
        """Return when the person is out of time."""
        return self._until_ms

    def _forbidden(self, switch: int, latched: int) -> str:
        if self.purpose == CLEAR:
            return "" if switch == board.MAINTENANCE else "switch"
        if switch == board.OFF:
            return "switch"
        return "tamper" if latched else ""
