# SPDX-License-Identifier: Apache-2.0
"""An appliance with a panel, and a person who answers what its display asks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.appliance.box import Box
from tests.appliance.panelled import enrol, opened, pairing, panel_of
from tests.firmware_bridge.firmwares import Bench

_Answer = TypeVar("_Answer")


class Panelled(NamedTuple):
    """An appliance and its panel."""

    box: Box
    panel: Bench

    async def question(self) -> str:
        """Wait until the display asks something, and return what."""
        async with asyncio.timeout(20):
            while "YES / NO" not in self.panel.shown():
                await asyncio.sleep(0.01)
        return self.panel.shown()

    async def answered(self, button: str, asking: Awaitable[_Answer]) -> _Answer:
        """Have something asked, press a button when it is, and return what came."""
        task = asyncio.ensure_future(asking)
        showing = asyncio.ensure_future(self.question())
        await asyncio.wait([task, showing], return_when=asyncio.FIRST_COMPLETED)
        showing.cancel()
        await asyncio.sleep(0.05)  # it must be seen up first
        self.panel.set(**{button: "down"})
        try:
            return await task
        finally:
            self.panel.set(**{button: "up"})


@contextlib.asynccontextmanager
async def panelled(folder: Path, home: Path) -> AsyncIterator[Panelled]:
    """Lend a ready appliance whose panel is paired, enrolled and in RUN."""
    with panel_of(folder, home) as panel:
        await pairing(folder, panel)
        async with opened(folder) as box:
            assert box.appliance.life.running, box.appliance.life.unready
            await enrol(box)
            yield Panelled(box, panel)


async def sealed(box: Box) -> str:
    """Wait until it is sealed and holds nothing, and return why."""
    life = box.appliance.life
    async with asyncio.timeout(20):
        while life.running or not life.latch.seal:
            await asyncio.sleep(0.01)
    return life.latch.seal.code
