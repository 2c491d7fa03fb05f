# SPDX-License-Identifier: Apache-2.0
"""Round trips with a simulated panel: ``python -m benchmarks.panel [INTERPRETER]``.

Once on a raw pty, once on one that passes bytes on as slowly as 115200 baud does.
"""

import asyncio
import os
import pty
import secrets
import sys
import tempfile
import time
import tty
from pathlib import Path

from firmware_bridge.firmware_identity import firmware_hash
from firmware_bridge.pairing import pair
from firmware_bridge.panel import Panel, PanelSettings
from firmware_bridge.simulator import Simulator

ROUNDS = 300
BITS_A_BYTE = 10  # 8N1
BAUD = 115200


class SlowCable:
    """Two ptys; each direction holds a byte as long as a UART would."""

    def __init__(self, device: str) -> None:
        far = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        near, self.end = pty.openpty()
        for descriptor in (near, self.end):
            tty.setraw(descriptor)
        self.device = os.ttyname(self.end)
        self._free_s = {near: 0.0, far: 0.0}
        loop = asyncio.get_running_loop()
        loop.add_reader(near, self._pass, near, far)
        loop.add_reader(far, self._pass, far, near)
        self._ends = (near, far)

    def _pass(self, source: int, sink: int) -> None:
        loop = asyncio.get_running_loop()
        data = os.read(source, 4096)
        start_s = max(self._free_s[source], loop.time())
        self._free_s[source] = start_s + len(data) * BITS_A_BYTE / BAUD
        loop.call_at(self._free_s[source], os.write, sink, data)

    def close(self) -> None:
        """Unplug it."""
        loop = asyncio.get_running_loop()
        for end in self._ends:
            loop.remove_reader(end)
            os.close(end)
        os.close(self.end)


async def rate(device: str, key: bytes) -> float:
    """Return round trips per second."""
    settings = PanelSettings(
        device=device, trusted_firmware=frozenset({firmware_hash("host")})
    )
    async with Panel(settings) as panel:
        await panel.connect(bytearray(key))
        started_s = time.perf_counter()
        for _ in range(ROUNDS):
            await panel.counter_read()
        return ROUNDS / (time.perf_counter() - started_s)


async def main(interpreter: str) -> None:
    """Pair a simulator and measure it."""
    key = secrets.token_bytes(32)
    with tempfile.TemporaryDirectory() as folder:
        simulator = Simulator(Path(folder), interpreter=interpreter)
        simulator.do("switch", "maintenance")
        simulator.do("yes", "down")
        simulator.start()
        await pair(simulator.device, bytearray(key))
        simulator.do("yes", "up")
        print(f"raw pty: {await rate(simulator.device, key):.0f} round trips/s")
        cable = SlowCable(simulator.device)
        print(f"at {BAUD} baud: {await rate(cable.device, key):.0f} round trips/s")
        cable.close()
        simulator.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else sys.executable))
