# SPDX-License-Identifier: Apache-2.0
"""Panels to test with: the reference firmware in its own process, on a pty."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from firmware_bridge.firmware_identity import firmware_hash
from firmware_bridge.simulator import Simulator

MICROPYTHON = Path(sys.executable).with_name("micropython")
PROGRAMS = {"cpython": sys.executable, "micropython": str(MICROPYTHON)}
INTERPRETERS = ["cpython"] + ["micropython"] * MICROPYTHON.exists()
SIMULATOR_HASH = firmware_hash("host")


class Bench(Simulator):
    """A simulated panel in RUN, and what a person does to it."""

    plugged = True

    def set(self, **changes: str) -> None:
        """Do what a person does."""
        for name, way in changes.items():
            self.do(name, way)

    def pause(self) -> None:
        """Have the firmware hang; the power stays on."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on."""
        self._signal(signal.SIGCONT)

    def run_on(self, interpreter: str) -> None:
        """Cut the power, and start on another board: a program of its own."""
        self._interpreter = interpreter
        self.start()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)

    def unplug(self) -> None:
        """Pull the cable: the line hangs up."""
        if self.plugged:
            self.plugged = False
            self.close()


@contextlib.contextmanager
def bench(folder: Path, interpreter: str = "cpython") -> Iterator[Bench]:
    """Lend a panel that is switched on."""
    lent = Bench(folder, interpreter=PROGRAMS[interpreter])
    try:
        lent.set(switch="run")
        lent.start()
        yield lent
    finally:
        lent.unplug()
