# SPDX-License-Identifier: Apache-2.0
"""A tamper under load: how soon it is sealed, and what is left in memory."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

from appliance.argon2_engines import Argon2Parameters
from appliance.client import ApplianceClient
from appliance.pytest_plugin import make_appliance
from appliance.wire import IssueAddress, Issued, Signed
from tests.appliance.bundles import Coin, bundle, new_uuid
from tests.appliance.memory_scan import Needle, children, hashed, occurrences
from tests.appliance.panelled import enrol, opened, pairing, panel_of
from tests.appliance.test_secrets import seeds_of

COST = Argon2Parameters(time_cost=4, memory_kib=65_536)
SIGNING = 6
DERIVING = 24


async def new_coin(client: ApplianceClient) -> Coin:
    uuid = new_uuid()
    request = IssueAddress(request_id="i", seed_uuid=uuid)
    return Coin(uuid, (await client.expect(request, Issued)).address)


async def derive_for_ever(client: ApplianceClient) -> None:
    while True:
        await new_coin(client)


async def sign_for_ever(client: ApplianceClient, coin: Coin) -> None:
    """The same bundle again and again: its seed is derived every time."""
    request = bundle([coin])
    while True:
        await client.expect(request, Signed)


def seen(pid: int, needles: list[Needle]) -> bool:
    return any(occurrences(pid, needle) for needle in needles)


@contextlib.asynccontextmanager
async def loaded(
    client: ApplianceClient, coins: list[Coin]
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Keep both cores busy with signatures and new addresses, more than fit."""
    tasks = [asyncio.create_task(sign_for_ever(client, coin)) for coin in coins]
    tasks += [asyncio.create_task(derive_for_ever(client)) for _ in range(DERIVING)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_tamper_under_load_leaves_no_salt_and_no_seed_in_memory(
    tmp_path: Path,
) -> None:
    salt = secrets.token_hex(16).encode()
    (tmp_path / "salt").touch(mode=0o600)
    (tmp_path / "salt").write_bytes(salt)
    costs = ("--argon2-memory-kib", str(COST.memory_kib))
    costs += ("--argon2-time", str(COST.time_cost))
    folder = tmp_path / "box"
    appliance = make_appliance(folder, [*costs, "--salt-from", str(tmp_path / "salt")])
    with panel_of(folder, tmp_path / "panel") as panel:
        await pairing(folder, panel)
        async with opened(folder) as box:
            await enrol(box)
        appliance.start()
        assert appliance.process
        pid = appliance.process.pid
        try:
            async with appliance.client("hub") as client:
                coins = [await new_coin(client) for _ in range(SIGNING)]
                secret = [salt, *await seeds_of(coins, salt, COST)]
                needles = [hashed(one) for one in secret]
                async with loaded(client, coins) as load:
                    async with asyncio.timeout(30):
                        while not await asyncio.to_thread(seen, pid, needles):
                            pass  # else finding nothing afterwards says nothing
                    assert not [task for task in load if task.done()]
                    began_s = time.monotonic()
                    panel.set(case="open")
                    await asyncio.to_thread(appliance.wait_for, " sealed latch=")
                    print(f"tamper to sealed {time.monotonic() - began_s:.2f} s")
                    for process in (pid, *children(pid)):
                        assert not await asyncio.to_thread(seen, process, needles)
        finally:
            appliance.stop()
