# SPDX-License-Identifier: Apache-2.0
"""A serial cable between two real ptys: as slow, or as bad, as it is told to be."""

import asyncio
import contextlib
import os
import pty
import tty
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

BITS_A_BYTE = 10  # 8N1
LINE_BYTES = 4096


class Injector(Protocol):
    """What may happen to frames in one direction."""

    def pass_on(self, data: bytes) -> list[tuple[int, bytes]]: ...


class Cable:
    """Two ends with names that stay; what goes in at one comes out at the other.

    Args:
        folder: Where the names are made: ``near`` and ``far``.
        baud: Bits per second; 0: as fast as it goes.
        faults: Hits frames on their way: to the far end, to the near one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        baud: int = 0,
        faults: tuple[Injector, Injector] | None = None,
    ) -> None:
        self.near, self.far = str(folder / "near"), str(folder / "far")
        self.carried_bytes = {self.near: 0, self.far: 0}
        self._baud = baud
        self._faults = faults
        self._masters: dict[str, int] = {}
        self._slaves: dict[str, int] = {}
        self._free_s = {self.near: 0.0, self.far: 0.0}

    def __enter__(self) -> Self:
        for name in (self.near, self.far):
            self.plug(name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in list(self._masters):
            self.unplug(name)

    def plug(self, name: str) -> None:
        """Put a new pty where an end is looked for."""
        master, slave = pty.openpty()
        for end in (master, slave):
            tty.setraw(end)
        os.set_blocking(master, False)
        Path(name).unlink(missing_ok=True)
        Path(name).symlink_to(os.ttyname(slave))
        self._masters[name], self._slaves[name] = master, slave
        asyncio.get_running_loop().add_reader(master, self._pass, name)

    def unplug(self, name: str) -> None:
        """Pull the adapter out: whoever has this end open is hung up on."""
        asyncio.get_running_loop().remove_reader(self._masters[name])
        os.close(self._masters.pop(name))
        os.close(self._slaves.pop(name))
        Path(name).unlink()

    def _pass(self, source: str) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._masters[source], LINE_BYTES)
            self.carried_bytes[source] += len(data)
            sink = self.far if source == self.near else self.near
            loop = asyncio.get_running_loop()
            start_s = max(self._free_s[source], loop.time())
            held_s = len(data) * BITS_A_BYTE / self._baud if self._baud else 0
            self._free_s[source] = start_s + held_s
            for delay_ms, hit in self._hits(source, data):
                at_s = self._free_s[source] + delay_ms / 1000
                loop.call_at(at_s, self._put, sink, hit)

    def _hits(self, source: str, data: bytes) -> list[tuple[int, bytes]]:
        if self._faults is None:
            return [(0, data)]
        return self._faults[source == self.far].pass_on(data)

    def _put(self, sink: str, data: bytes) -> None:
        if sink in self._masters:
            with contextlib.suppress(BlockingIOError):  # nobody reads: it is lost
                os.write(self._masters[sink], data)
