# SPDX-License-Identifier: Apache-2.0
"""Bytes between a serial line and an event loop; it understands none of them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firmware_bridge.errors import LineError
from firmware_bridge.serial_line import SerialLine

_PENDING_BYTES: Final = 64 * 1024
"""Stop and wait keeps a frame or two in hand: with more the line takes nothing."""


BAUD: Final = 115_200
"""The usual speed, in bits per second."""


@dataclass(frozen=True, slots=True)
class LinePlace:
    """A serial line.

    Attributes:
        device: Its path, best one under ``/dev/serial/by-id``.
        baud: Bits per second.
    """

    device: str
    baud: int = BAUD


class WirePump:
    """An open line; whoever made it closes it.

    Args:
        place: Which line.
        heard: Takes what has come; nothing, when the time asked for is there.
        lost: Told once that the line broke; the pump is closed then.

    Raises:
        LineError: If it can not be opened.
    """

    def __init__(
        self,
        place: LinePlace,
        *,
        heard: Callable[[bytes], None],
        lost: Callable[[LineError], None],
    ) -> None:
        self._heard = heard
        self._lost = lost
        self._pending = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._line: SerialLine | None = SerialLine(place.device, baud=place.baud)
        self._loop.add_reader(self._line.fileno(), self._readable)

    def put(self, data: bytes, *, wake_s: float) -> None:
        """Send bytes, and ask to be woken.

        Args:
            data: For the line.
            wake_s: When to call ``heard`` at the latest, on the loop's clock.
        """
        self._pending += data
        self._write()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line is not None and wake_s < float("inf"):
            # What lies in the line already is heard before anybody is called late.
            self._timer = self._loop.call_at(wake_s, self._readable)

    def close(self) -> None:
        """Give the line back; safe to repeat."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line is not None:
            self._loop.remove_reader(self._line.fileno())
            self._loop.remove_writer(self._line.fileno())
            self._line.close()
            self._line = None

    def _readable(self) -> None:
        if self._line is None:
            return
        try:
            data = self._line.read()
        except LineError as error:
            self._break(error)
        else:
            self._heard(data)

    def _write(self) -> None:
        if self._line is None:
            return
        try:
            if self._pending:
                del self._pending[: self._line.write(bytes(self._pending))]
        except LineError as error:
            self._break(error)
            return
        if len(self._pending) > _PENDING_BYTES:
            self._break(LineError("the serial line takes nothing"))
        elif self._pending:
            self._loop.add_writer(self._line.fileno(), self._write)
        else:
            self._loop.remove_writer(self._line.fileno())

    def _break(self, error: LineError) -> None:
        self.close()
        self._lost(error)
