# SPDX-License-Identifier: Apache-2.0
"""Appliances with a panel: the real firmware on a pty, paired and enrolled."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from appliance.wire import ActReport, RunCeremony
from firmware_bridge.pairing import pair
from tests.appliance.box import Box
from tests.firmware_bridge.firmwares import SIMULATOR_HASH, Bench, bench


@contextlib.contextmanager
def panel_of(folder: Path, home: Path) -> Iterator[Bench]:
    """Lend a panel that the configuration names; it is not paired yet."""
    home.mkdir()
    with bench(home) as panel:
        with (folder / "appliance.toml").open("a") as file:
            file.write(
                f'\n[panel]\ndevice = "{panel.device}"\nkey_file = "panel.key"\n'
                f'firmware_hashes = ["{SIMULATOR_HASH.hex()}"]\n'
            )
        yield panel


async def pairing(folder: Path, panel: Bench) -> None:
    """Pair as a person does at the bench; afterwards the switch is in RUN."""
    key = secrets.token_bytes(32)
    (folder / "panel.key").write_bytes(key)
    (folder / "panel.key").chmod(0o600)
    panel.set(switch="maintenance", yes="down")
    await pair(panel.device, bytearray(key))
    panel.set(switch="run", yes="up")


async def enrol(box: Box) -> ActReport:
    """Have two operators enrol the panel that is there."""
    act = RunCeremony(request_id="", ceremony="enrol-panel")
    proposed = await box.propose(act)
    await box.approve(proposed, 1)
    return await box.approve(proposed, 2)


async def ready(box: Box) -> bool:
    """Check until it is up or sealed: a panel may be starting, or hold on to a host.

    Returns:
        Whether it is up.
    """
    for _ in range(100):
        if await box.appliance.check() or box.appliance.life.latch.seal:
            break
        await asyncio.sleep(0.1)
    return box.appliance.life.running is not None


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Box]:
    """Start an appliance in this process, and stop it at the end."""
    box = Box(folder)
    try:
        await ready(box)
        yield box
    finally:
        await box.close()


def counted(panel: Bench) -> int:
    """Return what the panel's flash holds, read past the line."""
    return int.from_bytes((panel.folder / "state").read_bytes()[4:12])
