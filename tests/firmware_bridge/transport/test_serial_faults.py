# SPDX-License-Identifier: Apache-2.0
"""Bad luck on the line: every fault of the bridge's injector, on real ptys.

Whatever happens, a reply is the one to the request it is given to and to the client
that asked, nothing hangs, and the line works again once it has been mended.
"""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from firmware_bridge.errors import FaultError
from firmware_bridge.transport.carrier import SerialCarrier
from tests.firmware_bridge.faults import Dice, Injector
from tests.firmware_bridge.transport.lines import (
    Guests,
    carrier,
    listening_at,
    reply_to,
)
from tests.simulators.cable import Cable

BAUD = 2_000_000  # retries come soon
ROUNDS = 8
SOAK = int(os.environ.get("SALTKEEP_SERIAL_FAULTS_SOAK", "300"))
NAMES = ("hub", "operator", "auditor")


async def play(folder: Path, *, seed: int, rounds: int) -> int:
    """Ask over a line that is spoilt and mended; return how many were answered."""
    dice, answered = Dice(seed), 0
    injectors = (Injector(dice, 4, healthy=True), Injector(dice, 4, healthy=True))
    guests = Guests(folder)
    guests.held.set()
    keys = {name: guests.invite(name) for name in NAMES}
    with Cable(folder, faults=injectors) as cable:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(listening_at(cable, guests, baud=BAUD))
            clients = {
                name: await stack.enter_async_context(
                    carrier(cable, key, timeout_s=4, baud=BAUD)
                )
                for name, key in keys.items()
            }
            for number in range(rounds):
                for injector in injectors:
                    injector.healthy, injector.odds = False, dice.choose((3, 6, 20))
                answered += await misfortune(clients, cable, dice, number)
                for injector in injectors:
                    injector.healthy = True
                name = dice.choose(NAMES)
                await answer_comes(clients[name], name)
    return answered


async def misfortune(
    clients: dict[str, SerialCarrier], cable: Cable, dice: Dice, number: int
) -> int:
    """Have one or two clients ask several things at once; return how many came back."""
    asking = []
    for name in (dice.choose(NAMES), dice.choose(NAMES)):
        for size in (10, 1 + dice.below(4000)):
            body = f"{number} {name} ".encode() + dice.bytes(size)
            asking.append(ask(clients[name], name, body))
    tasks = [asyncio.create_task(one) for one in asking]
    if dice.one_in(4):
        await asyncio.sleep(0.02)
        end = dice.choose((cable.near, cable.far))
        cable.unplug(end)
        await asyncio.sleep(0.02)
        cable.plug(end)
    async with asyncio.timeout(30):
        return sum(await asyncio.gather(*tasks))


async def ask(client: SerialCarrier, name: str, body: bytes) -> bool:
    """Ask once; a fault is what it may end with, anything else is a bug."""
    try:
        status, reply = await client.exchange(body)
    except (FaultError, TimeoutError):
        return False
    assert (status, reply) == (200, reply_to(name, body))
    return True


async def answer_comes(client: SerialCarrier, name: str) -> None:
    """The line was mended: the very same is answered, soon."""
    async with asyncio.timeout(20):
        while not await ask(client, name, b"the very same"):
            await asyncio.sleep(0.05)


async def test_bad_luck_on_a_serial_line(tmp_path: Path) -> None:
    answered = await play(tmp_path, seed=1, rounds=ROUNDS)
    assert answered, "the line was so bad that nothing was tried"


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_lot_of_bad_luck_on_a_serial_line(tmp_path: Path) -> None:
    assert await play(tmp_path, seed=SOAK, rounds=SOAK)
