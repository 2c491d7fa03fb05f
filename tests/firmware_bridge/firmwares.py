# SPDX-License-Identifier: Apache-2.0
"""Panels to test with: the reference firmware in its own process, on a pty."""

import contextlib
import os
import pty
import subprocess
import sys
import tty
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from firmware_bridge.firmware_identity import firmware_hash

ROOT = Path(__file__).parents[2]
MICROPYTHON = Path(sys.executable).with_name("micropython")
INTERPRETERS = ["cpython"] + ["micropython"] * MICROPYTHON.exists()
SIMULATOR_HASH = firmware_hash("host")


@dataclass
class Bench:
    """A simulated panel: its folder, its line, and what a person does to it."""

    folder: Path
    interpreter: str
    inputs: dict[str, str] = field(
        default_factory=lambda: {
            "switch": "run",
            "case": "closed",
            "mesh": "closed",
            "yes": "up",
            "no": "up",
        }
    )
    process: subprocess.Popen[bytes] | None = None
    device: str = ""
    _ends: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Power on."""
        if not self._ends:
            self._ends = list(pty.openpty())
            for end in self._ends:
                tty.setraw(end)
            self.device = os.ttyname(self._ends[1])
        self.set()
        program = {"cpython": sys.executable, "micropython": str(MICROPYTHON)}
        self.process = subprocess.Popen(
            [
                program[self.interpreter],
                "-m",
                "firmware_bridge.firmware.hal_host",
                str(self.folder),
            ],
            cwd=ROOT,
            stdin=self._ends[0],
            env={**os.environ, "MICROPYPATH": str(ROOT)},
        )

    def stop(self) -> None:
        """Cut the power; the cable stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def unplug(self) -> None:
        """Pull the cable: the line hangs up."""
        for end in self._ends:
            os.close(end)
        self._ends = []

    def set(self, **changes: str) -> None:
        """Do what a person does."""
        self.inputs.update(changes)
        words = " ".join(f"{name}={value}" for name, value in self.inputs.items())
        new = self.folder / "inputs.new"
        new.write_text(words)
        new.rename(self.folder / "inputs")

    def shown(self) -> str:
        """Return what the display shows."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "display").read_text()
        return ""


@contextlib.contextmanager
def bench(folder: Path, interpreter: str = "cpython") -> Iterator[Bench]:
    """Lend a panel that is switched on."""
    lent = Bench(folder, interpreter)
    try:
        lent.start()
        yield lent
    finally:
        lent.stop()
        lent.unplug()
