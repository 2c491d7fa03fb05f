# SPDX-License-Identifier: Apache-2.0
"""The same bad luck on real ptys: host, pty, injector, pty, firmware in its process.

What is checked here is that nothing hangs, that the line comes back, and that latch and
counter are told right; that no message is believed out of place is checked message by
message in ``test_faults``, with the same ends and the same injector.
"""

import asyncio
import os
import pty
import secrets
import tty
from pathlib import Path

import pytest

from firmware_bridge.errors import BridgeError, FaultError
from firmware_bridge.pairing import pair
from firmware_bridge.panel import Panel, PanelSettings
from firmware_bridge.panel_events import Tamper
from tests.firmware_bridge.faults import Dice, Injector
from tests.firmware_bridge.firmwares import PROGRAMS, SIMULATOR_HASH, Bench, bench

SEQUENCES = 20
SOAK = int(os.environ.get("SALTKEEP_PTY_FAULTS_SOAK", "300"))


class Cable:
    """Two ptys and an injector between them."""

    def __init__(self, device: str, dice: Dice) -> None:
        self._far = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._near, self._end = pty.openpty()
        for end in (self._near, self._end):
            tty.setraw(end)
        os.set_blocking(self._near, False)
        self.device = os.ttyname(self._end)
        self.to_device = Injector(dice, 6)
        self.to_host = Injector(dice, 6)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._near, self._pass, self._near, self._far, self.to_device)
        loop.add_reader(self._far, self._pass, self._far, self._near, self.to_host)
        self._open = True

    def _pass(self, source: int, sink: int, injector: Injector) -> None:
        loop = asyncio.get_running_loop()
        for delay_ms, data in injector.pass_on(os.read(source, 4096)):
            loop.call_later(delay_ms / 1000, self._put, sink, data)

    def _put(self, sink: int, data: bytes) -> None:
        if self._open:
            os.write(sink, data)

    def mend(self) -> None:
        self.to_device.healthy = self.to_host.healthy = True

    def spoil(self, dice: Dice) -> None:
        for injector in (self.to_device, self.to_host):
            injector.healthy, injector.odds = False, dice.choose((3, 6, 20))

    def close(self) -> None:
        self._open = False
        loop = asyncio.get_running_loop()
        for end in (self._near, self._far):
            loop.remove_reader(end)
        for end in (self._near, self._far, self._end):
            os.close(end)


async def misfortune(  # noqa: C901 - a table
    panel: Panel, board: Bench, dice: Dice, key: bytes
) -> None:
    """Do one thing; a fault is what it may end with, anything else is a bug."""
    try:
        match dice.below(8):
            case 0:
                board.start()  # a power cut
            case 1:
                board.set(case="open")
                await asyncio.sleep(0.03)
                board.set(case="closed")
            case 2:
                await panel.lock()
            case 3:
                await panel.request_presence(bytes(32), "Pay", timeout_s=1)
            case 4:
                await panel.counter_increment()
            case _ if panel.connected:
                await panel.counter_read()
            case _:
                await panel.connect(bytearray(key))
    except FaultError:
        pass
    except BridgeError as error:
        if error.code not in {"presence-denied", "not-authentic"}:
            raise


async def recovered(panel: Panel, key: bytes) -> Tamper:
    """Connect over the mended cable and return what is latched."""
    async with asyncio.timeout(30):
        while True:
            try:
                await panel.lock()
                attested = await panel.connect(bytearray(key))
                assert await panel.counter_read() == attested.counter
            except FaultError:
                await asyncio.sleep(0.1)
            else:
                return attested.tamper


async def play(folder: Path, interpreter: str, *, sequences: int) -> None:
    key, dice = secrets.token_bytes(32), Dice(sequences)
    with bench(folder, interpreter) as board:
        board.set(switch="maintenance", yes="down")
        await pair(board.device, bytearray(key))
        board.set(switch="run", yes="up")
        cable = Cable(board.device, dice)
        settings = PanelSettings(
            device=cable.device,
            trusted_firmware=frozenset({SIMULATOR_HASH}),
            connect_timeout_s=2,
            request_timeout_s=1,
            bad_frames_per_minute=1000,
        )
        async with Panel(settings) as panel:
            cable.mend()
            assert not await recovered(panel, key)
            await panel.arm()
            latched = Tamper(0)
            for _ in range(sequences):
                cable.spoil(dice)
                for _ in range(1 + dice.below(3)):
                    await misfortune(panel, board, dice, key)
                cable.mend()
                seen = await recovered(panel, key)
                assert seen & latched == latched, "a latch was lost"
                latched |= seen
        cable.close()


@pytest.mark.parametrize("interpreter", ["cpython"])
async def test_bad_luck_on_a_real_line(interpreter: str, tmp_path: Path) -> None:
    await play(tmp_path, interpreter, sequences=SEQUENCES)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("interpreter", PROGRAMS)
async def test_a_lot_of_bad_luck_on_a_real_line(
    interpreter: str, tmp_path: Path
) -> None:
    await play(tmp_path, interpreter, sequences=SOAK)
