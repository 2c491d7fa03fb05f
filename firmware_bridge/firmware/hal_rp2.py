# SPDX-License-Identifier: Apache-2.0
"""An RP2040 or RP2350 board: pins as drawn in ``docs/panel.md``.

UART 0 on GP0 and GP1 is the line. Loops, key switch and buttons pull their pin to
ground when closed, turned or pressed, so a cut wire opens a loop and turns the switch
to OFF. The display is an SSD1306 of 128 x 64 pixels on I2C 0.
"""

import os
import time

import framebuf
import machine
from micropython import const

from firmware_bridge.firmware import hal, identity, main

_UART_TX = const(0)
_UART_RX = const(1)
_DISPLAY_SDA = const(4)
_DISPLAY_SCL = const(5)
_LOOP_CASE = const(6)
_LOOP_MESH = const(7)
_SWITCH_RUN = const(8)
_SWITCH_MAINTENANCE = const(9)
_BUTTON_YES = const(10)
_BUTTON_NO = const(11)
_BAUD = const(115200)
_COLUMNS = const(16)
_ROWS = const(8)
_DISPLAY = const(0x3C)
# Source: SSD1306 data sheet, section 4 of the application note: power-up sequence.
_WAKE = (
    b"\xae\xd5\x80\xa8\x3f\xd3\x00\x40\x8d\x14\x20\x00\xa1\xc8"
    b"\xda\x12\x81\x8f\xd9\xf1\xdb\x40\xa4\xa6\xaf"
)


class Rp2Board(main.Board):
    """Pins, a UART and flash."""

    model = "rp2"

    def __init__(self) -> None:
        self._uart = machine.UART(
            0,
            _BAUD,
            tx=machine.Pin(_UART_TX),
            rx=machine.Pin(_UART_RX),
            rxbuf=1024,
            txbuf=1024,
        )
        self._pins = {}
        for number in range(_LOOP_CASE, _BUTTON_NO + 1):
            self._pins[number] = machine.Pin(
                number, machine.Pin.IN, machine.Pin.PULL_UP
            )
        self._watchdog = None
        self._ticks = time.ticks_ms()
        self._now_ms = 0
        self._screen = bytearray(1024)
        self._drawing = framebuf.FrameBuffer(self._screen, 128, 64, framebuf.MONO_VLSB)
        self._i2c = machine.I2C(
            0, sda=machine.Pin(_DISPLAY_SDA), scl=machine.Pin(_DISPLAY_SCL), freq=400000
        )
        self._wake()
        if machine.reset_cause() == machine.WDT_RESET:
            self.boot_reason = 1

    def _down(self, number: int) -> bool:
        return self._pins[number].value() == 0

    def switch(self) -> int:
        """Return where the key switch stands; OFF if it says two things at once."""
        running = self._down(_SWITCH_RUN)
        maintained = self._down(_SWITCH_MAINTENANCE)
        if running == maintained:
            return hal.OFF
        return hal.RUN if running else hal.MAINTENANCE

    def loops_open(self) -> int:
        """Return which tamper loops are open."""
        opened = 0 if self._down(_LOOP_CASE) else 1
        return opened | (0 if self._down(_LOOP_MESH) else 2)

    def confirm(self) -> bool:
        """Say whether "yes" is down."""
        return self._down(_BUTTON_YES)

    def deny(self) -> bool:
        """Say whether "no" is down."""
        return self._down(_BUTTON_NO)

    def show(self, text: str) -> None:
        """Show a text; a board without a display works, blindly."""
        self._drawing.fill(0)
        row = 0
        for line in text.split("\n"):
            for start in range(0, max(1, len(line)), _COLUMNS):
                if row < _ROWS:
                    self._drawing.text(line[start : start + _COLUMNS], 0, row * 8)
                row += 1
        try:
            self._i2c.writeto(_DISPLAY, b"\x00\x21\x00\x7f\x22\x00\x07")
            self._i2c.writeto(_DISPLAY, b"\x40" + self._screen)
        except OSError:
            pass

    def _wake(self) -> None:
        try:
            self._i2c.writeto(_DISPLAY, b"\x00" + _WAKE)
        except OSError:
            pass

    def random(self, size: int) -> bytes:
        """Draw bytes from the ring oscillator."""
        return os.urandom(size)

    def load(self, name: str) -> bytes | None:
        """Return what was stored last."""
        try:
            with open("/" + name + ".bin", "rb") as file:
                return file.read()
        except OSError as error:
            return None if error.errno == hal.ENOENT else b""

    def store(self, name: str, data: bytes) -> None:
        """Replace a file whole: littlefs renames in one step and syncs on closing."""
        with open("/" + name + ".new", "wb") as file:
            file.write(data)
        os.rename("/" + name + ".new", "/" + name + ".bin")

    def firmware_hash(self) -> bytes:
        """Return the hash of what runs."""
        folder = __file__.rsplit("/", 1)[0]
        return identity.firmware_hash(folder, "hal_rp2.py")

    def now_ms(self) -> int:
        """Return milliseconds since the start."""
        ticks = time.ticks_ms()
        self._now_ms += time.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        return self._now_ms

    def read(self, wait_ms: int) -> bytes:
        """Wait for bytes from the line, and feed the watchdog."""
        if self._watchdog is None:
            self._watchdog = machine.WDT(timeout=4000)
        self._watchdog.feed()
        until_ms = self.now_ms() + wait_ms
        while not self._uart.any() and self.now_ms() < until_ms:
            time.sleep_ms(1)
        return self._uart.read() or b""

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._uart.write(data)


if __name__ == "__main__":
    main.run(Rp2Board())
