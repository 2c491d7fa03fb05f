# SPDX-License-Identifier: Apache-2.0
"""A panel without a board: CPython, or MicroPython's unix port, on file descriptor 0.

Started as ``python -m firmware_bridge.firmware.hal_host FOLDER`` (or ``micropython``)
with one end of a pty as standard input. The folder holds the stored state; the file
``inputs`` in it is what a person does, as words: ``switch=run case=closed mesh=closed
yes=up no=up``; the file ``display`` is what a person sees.
"""

import os
import select
import sys
import time

from firmware_bridge.firmware import hal, identity, main

_SWITCH = {"off": 0, "run": 1, "maintenance": 2}
# MicroPython's read(n) waits for n bytes.
_BURST = 1 if sys.implementation.name == "micropython" else 4096
_FULL = 4096


class HostBoard(main.Board):
    """Files instead of pins."""

    model = "simulator"

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._line = open(0, "r+b", buffering=0)  # noqa: SIM115
        self._poll = select.poll()
        self._poll.register(self._line, select.POLLIN)
        self._inputs: dict = {}
        self._ticks = 0
        self._now_ms = 0
        self._look()

    def _look(self) -> None:
        try:
            with open(self._folder + "/inputs") as file:
                words = file.read().split()
        except OSError:
            words = []
        self._inputs = dict(word.split("=") for word in words if "=" in word)

    def switch(self) -> int:
        """Return where the key switch stands."""
        return _SWITCH.get(self._inputs.get("switch", "off"), 0)

    def loops_open(self) -> int:
        """Return which tamper loops are open."""
        case = self._inputs.get("case") == "open"
        return int(case) | (2 if self._inputs.get("mesh") == "open" else 0)

    def confirm(self) -> bool:
        """Say whether "yes" is down."""
        return bool(self._inputs.get("yes") == "down")

    def deny(self) -> bool:
        """Say whether "no" is down."""
        return bool(self._inputs.get("no") == "down")

    def show(self, text: str) -> None:
        """Show a text."""
        self.store("display", text.encode())

    def random(self, size: int) -> bytes:
        """Draw bytes from the operating system."""
        return os.urandom(size)

    def load(self, name: str) -> bytes | None:
        """Return what was stored last."""
        try:
            with open(self._folder + "/" + name, "rb") as file:
                return file.read()
        except OSError as error:
            return None if error.errno == hal.ENOENT else b""

    def store(self, name: str, data: bytes) -> None:
        """Replace a file whole."""
        path = self._folder + "/" + name
        with open(path + ".new", "wb") as file:
            file.write(data)
            file.flush()
            if hasattr(os, "fsync"):  # MicroPython's unix port has none
                os.fsync(file.fileno())
        os.rename(path + ".new", path)

    def firmware_hash(self) -> bytes:
        """Return the hash of what runs."""
        folder = __file__.rsplit("/", 1)[0]
        return identity.firmware_hash(folder, "hal_host.py")

    def now_ms(self) -> int:
        """Return milliseconds since some start."""
        if hasattr(time, "monotonic_ns"):
            return time.monotonic_ns() // 1_000_000
        ticks = time.ticks_ms()  # type: ignore[attr-defined]
        gone = time.ticks_diff(ticks, self._ticks)  # type: ignore[attr-defined]
        self._now_ms += gone if self._ticks else 0
        self._ticks = ticks
        return self._now_ms

    def read(self, wait_ms: int) -> bytes:
        """Wait for bytes from the line."""
        data = b""
        if self._poll.poll(wait_ms):
            data = self._some()
        self._look()
        return data

    def _some(self) -> bytes:
        data = b""
        try:
            while len(data) < _FULL:
                piece = self._line.read(_BURST)
                data += piece or b""
                if not piece or not self._poll.poll(0):
                    break
        except OSError:
            time.sleep(0.01)  # nobody has the other end open
        return data

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._line.write(data)
        except OSError:
            pass  # as above; the link repeats what matters


if __name__ == "__main__":
    main.run(HostBoard(sys.argv[1]))
