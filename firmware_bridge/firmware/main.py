# SPDX-License-Identifier: Apache-2.0
"""The loop that runs a panel for ever."""

from firmware_bridge.firmware.hal import Hal
from firmware_bridge.firmware.sentinel import Sentinel

LOOK_MS = 20  # inputs are read at least this often


class Board(Hal):
    """A board with a line and a clock."""

    def now_ms(self) -> int:
        """Return milliseconds since some start; never goes back."""
        raise NotImplementedError

    def read(self, wait_ms: int) -> bytes:
        """Wait for bytes from the line; none if the time is over."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send bytes."""
        raise NotImplementedError


def run(board: Board) -> None:
    """Be a panel."""
    sentinel = Sentinel(board, board.now_ms())
    while True:
        now_ms = board.now_ms()
        wait_ms = min(LOOK_MS, sentinel.deadline_ms(now_ms) - now_ms)
        data = board.read(max(0, wait_ms))
        out = sentinel.step(board.now_ms(), data)
        if out:
            board.write(out)
