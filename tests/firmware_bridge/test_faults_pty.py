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
from dataclasses import dataclass
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
    """Two ptys and an injector between them; the host's end has a name that stays."""

    def __init__(self, device: str, dice: Dice, link: Path) -> None:
        self.device = str(link)
        self._dice = dice
        self.to_device = Injector(dice, 6)
        self.to_host = Injector(dice, 6)
        self._far = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._near = self._end = -1
        loop = asyncio.get_running_loop()
        loop.add_reader(self._far, self._from_device)
        self.plug()

    def plug(self) -> None:
        """Put a new pty where the host looks for it."""
        self._near, self._end = pty.openpty()
        for end in (self._near, self._end):
            tty.setraw(end)
        os.set_blocking(self._near, False)
        link = Path(self.device)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self._end))
        asyncio.get_running_loop().add_reader(self._near, self._from_host)

    def unplug(self) -> None:
        """Pull it out at the host: its line hangs up."""
        asyncio.get_running_loop().remove_reader(self._near)
        os.close(self._near)
        os.close(self._end)
        self._near = self._end = -1

    def _from_host(self) -> None:
        self._pass(self.to_device, os.read(self._near, 4096), to_host=False)

    def _from_device(self) -> None:
        self._pass(self.to_host, os.read(self._far, 4096), to_host=True)

    def _pass(self, injector: Injector, data: bytes, *, to_host: bool) -> None:
        loop = asyncio.get_running_loop()
        for delay_ms, hit in injector.pass_on(data):
            loop.call_later(delay_ms / 1000, self._put, hit, to_host)

    def _put(self, data: bytes, to_host: bool) -> None:  # noqa: FBT001 - a callback
        sink = self._near if to_host else self._far
        if sink >= 0:
            os.write(sink, data)

    def mend(self) -> None:
        self.to_device.healthy = self.to_host.healthy = True

    def spoil(self) -> None:
        for injector in (self.to_device, self.to_host):
            injector.healthy, injector.odds = False, self._dice.choose((3, 6, 20))

    def close(self) -> None:
        self.unplug()
        asyncio.get_running_loop().remove_reader(self._far)
        os.close(self._far)
        self._far = -1


@dataclass
class Desk:
    """A panel on a bad cable, and its host."""

    board: Bench
    cable: Cable
    panel: Panel
    key: bytes
    dice: Dice

    async def misfortune(self) -> None:
        """Do one thing; a fault is what it may end with, anything else is a bug."""
        deeds = (self._cut, self._tamper, self._pull, *[self._ask] * 5)
        try:
            await self.dice.choose(deeds)()
        except FaultError:
            pass
        except BridgeError as error:
            if error.code not in {"presence-denied", "not-authentic"}:
                raise

    async def _cut(self) -> None:
        self.board.start()

    async def _tamper(self) -> None:
        self.board.set(case="open")
        await asyncio.sleep(0.05)
        self.board.set(case="closed")

    async def _pull(self) -> None:
        self.cable.unplug()
        await asyncio.sleep(0.05)
        self.cable.plug()

    async def _ask(self) -> None:
        match self.dice.below(5):
            case 0:
                await self.panel.lock()
            case 1:
                await self.panel.request_presence(bytes(32), "Pay", timeout_s=1)
            case 2:
                await self.panel.counter_increment()
            case _ if self.panel.connected:
                await self.panel.counter_read()
            case _:
                await self.panel.connect(bytearray(self.key))

    async def recovered(self) -> Tamper:
        """Connect over the mended cable and return what is latched."""
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.panel.lock()
                    attested = await self.panel.connect(bytearray(self.key))
                    assert await self.panel.counter_read() == attested.counter
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
        cable = Cable(board.device, dice, folder / "line")
        settings = PanelSettings(
            device=cable.device,
            trusted_firmware=frozenset({SIMULATOR_HASH}),
            connect_timeout_s=2,
            request_timeout_s=1,
            bad_frames_per_minute=1000,
        )
        async with Panel(settings) as panel:
            await through(Desk(board, cable, panel, key, dice), sequences)
        cable.close()


async def through(desk: Desk, sequences: int) -> None:
    """Go through bad luck again and again, and check what is left of it."""
    desk.cable.mend()
    assert not await desk.recovered()
    await desk.panel.arm()
    latched = Tamper(0)
    for _ in range(sequences):
        desk.cable.spoil()
        for _ in range(1 + desk.dice.below(3)):
            await desk.misfortune()
        desk.cable.mend()
        seen = await desk.recovered()
        assert seen & latched == latched, "a latch was lost"
        latched |= seen


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
