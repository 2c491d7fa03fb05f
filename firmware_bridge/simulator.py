# SPDX-License-Identifier: Apache-2.0
"""The reference firmware on a pty, for anybody without a board."""

import os
import pty
import subprocess
import sys
import tty
from pathlib import Path
from typing import Final

from firmware_bridge.errors import MessageError

INPUTS: Final = {
    "switch": ("off", "run", "maintenance"),
    "case": ("closed", "open"),
    "mesh": ("closed", "open"),
    "yes": ("up", "down"),
    "no": ("up", "down"),
}
"""What a person can do, and how; the first of each is where it begins."""


class Simulator:
    """A panel without a board.

    Args:
        folder: Where it keeps its state, and where its inputs and display are.
        interpreter: The program that runs the firmware: Python, or MicroPython.

    Attributes:
        device: The serial device that a host opens.
    """

    def __init__(self, folder: Path, *, interpreter: str = sys.executable) -> None:
        self.folder = folder
        self._interpreter = interpreter
        self._inputs = {name: ways[0] for name, ways in INPUTS.items()}
        self._ours, self._theirs = pty.openpty()
        for end in (self._ours, self._theirs):
            tty.setraw(end)
        self.device = os.ttyname(self._theirs)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Power on; what is stored is as it was."""
        self.stop()
        self._write()
        root = str(Path(__file__).parents[1])
        self._process = subprocess.Popen(  # noqa: S603 - an interpreter of our own
            [
                self._interpreter,
                "-m",
                "firmware_bridge.firmware.hal_host",
                str(self.folder.resolve()),
            ],
            cwd=root,
            stdin=self._ours,
            env={**os.environ, "MICROPYPATH": root},
        )

    def stop(self) -> None:
        """Cut the power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Cut the power and pull the cable."""
        self.stop()
        os.close(self._ours)
        os.close(self._theirs)

    def do(self, name: str, way: str) -> None:
        """Turn the switch, open a loop, press a button.

        Args:
            name: A key of ``INPUTS``.
            way: One of its values.

        Raises:
            MessageError: If there is no such thing to do.
        """
        if way not in INPUTS.get(name, ()):
            raise MessageError(f"there is no {name} to be {way}")
        self._inputs[name] = way
        self._write()

    def shown(self) -> str:
        """Return what the display shows."""
        display = self.folder / "display"
        return display.read_text() if display.exists() else ""

    def _write(self) -> None:
        words = " ".join(f"{name}={way}" for name, way in self._inputs.items())
        new = self.folder / "inputs.new"
        new.write_text(words)
        new.replace(self.folder / "inputs")
