# SPDX-License-Identifier: Apache-2.0
"""Panels to test with: the reference firmware in its own process, on a pty."""

import contextlib
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
