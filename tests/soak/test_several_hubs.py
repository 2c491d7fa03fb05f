# SPDX-License-Identifier: Apache-2.0
"""Hubs that are killed and frozen at random under load: nothing twice, nothing lost.

``SALTKEEP_HUBS_SOAK_S`` says how long, in seconds; three minutes by default. What is
killed, frozen and thrown, and when, follows from a seed, which is printed;
``SALTKEEP_HUBS_SOAK_SEED`` gives it again. Processes still race as they like, so a
seed repeats the plan and not every step. ``SALTKEEP_HUBS_SOAK_COUNT`` says how many
hubs: two by default. When it fails, its folder is kept, with logs and every table.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from hub.devnet.errors import DevnetError
from tests.flows.cluster import (
    LEASE_S,
    PAID_OUT_I,
    Cluster,
    ask_any,
    running_cluster,
)
from tests.flows.hub_process import LegacyError
from tests.flows.world import Appliance, copy_appliance, make_appliance, outside_address
from tests.hub.databases import Postgresql, running_postgresql
from tests.soak.dice import Dice
from trinary.errors import TrinaryError

SOAK_S = float(os.environ.get("SALTKEEP_HUBS_SOAK_S", "180"))
SEED = os.environ.get("SALTKEEP_HUBS_SOAK_SEED") or secrets.token_hex(4)
HUBS = int(os.environ.get("SALTKEEP_HUBS_SOAK_COUNT", "2"))
USERS = 4
FAULTS = (
    ("slow-replies", 0.3),
    ("dropped-replies", 3),
    ("lagging-milestone", True),
    ("no-tips", True),
    ("stalled-confirmation", True),
    ("unsynced", True),
    ("third-party-reattachment", True),
)


@pytest.fixture
def postgresql() -> Iterator[Postgresql]:
    yield from running_postgresql()


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Appliance]:
    asyncio.run(make_appliance(tmp_path / "template"))
    made = copy_appliance(tmp_path / "template", tmp_path / "box")
    made.start()
    try:
        asyncio.run(made.wait_ready())
        yield made
    finally:
        made.stop()


async def use(cluster: Cluster, until_s: float, seen: Counter[str]) -> None:
    """Pay in and withdraw again and again, whatever the hubs answer."""
    while time.monotonic() < until_s:
        with contextlib.suppress(LegacyError, TimeoutError, aiohttp.ClientError):
            await one_user(cluster, seen)
        await asyncio.sleep(0.2)


async def one_user(cluster: Cluster, seen: Counter[str]) -> None:
    hubs = sorted(cluster.hubs, key=lambda _: secrets.randbelow(1000))
    user = secrets.token_hex(8)
    if await ask_any(hubs, "CreateUser", userId=user) is None:
        return
    reply = await ask_any(hubs, "GetDepositAddress", userId=user)
    if reply is None:
        return
    if not await paid_in(cluster, reply["address"]):
        return
    seen["paid in"] += 1
    for _ in range(100):
        balance = await ask_any(hubs, "GetBalance", userId=user)
        if balance is not None and balance["available"] != "0":
            wish = {"amount": str(PAID_OUT_I), "payoutAddress": outside_address()}
            if await ask_any(hubs, "UserWithdraw", userId=user, **wish) is not None:
                seen["withdrawn"] += 1
            return
        await asyncio.sleep(0.3)


async def paid_in(cluster: Cluster, address: str) -> bool:
    """Pay from the faucet, which can not while the network has its troubles."""
    try:
        await cluster.pay_in(address)
    except (DevnetError, TrinaryError):
        return False
    return True


async def torment(cluster: Cluster, until_s: float, seen: Counter[str]) -> None:
    """Kill or freeze a hub, one at a time; at the end all run."""
    dice = Dice(SEED, "torment")
    while time.monotonic() < until_s:
        await asyncio.sleep(dice.between(2, 6))
        hub = dice.choice(cluster.hubs)
        if dice.below(2):
            hub.kill()
            seen["killed"] += 1
            await asyncio.sleep(dice.between(0, 2 * LEASE_S))
            await asyncio.to_thread(hub.start)
        else:
            hub.pause()
            seen["frozen"] += 1
            await asyncio.sleep(dice.between(LEASE_S, 3 * LEASE_S))
            hub.resume()


async def disturb(cluster: Cluster, until_s: float, seen: Counter[str]) -> None:
    """Throw the devnet's switches, one at a time; at the end all are off."""
    dice = Dice(SEED, "disturb")
    while time.monotonic() < until_s:
        name, value = dice.choice(FAULTS)
        cluster.trouble(name, value)
        seen["faults"] += 1
        await asyncio.sleep(dice.between(1, 3))
        cluster.trouble(name, None)
        await asyncio.sleep(dice.between(0, 3))


@pytest.mark.soak
@pytest.mark.timeout(SOAK_S + 420)
async def test_hubs_that_die_and_freeze_under_load_lose_and_double_nothing(
    appliance: Appliance, tmp_path: Path, postgresql: Postgresql
) -> None:
    seen: Counter[str] = Counter()
    print(f"SALTKEEP_HUBS_SOAK_SEED={SEED}")
    async with running_cluster(appliance, tmp_path, postgresql, hubs=HUBS) as cluster:
        await asyncio.gather(*(asyncio.to_thread(h.start) for h in cluster.hubs))
        until_s = time.monotonic() + SOAK_S
        try:
            await asyncio.gather(
                torment(cluster, until_s, seen),
                disturb(cluster, until_s, seen),
                *(use(cluster, until_s, seen) for _ in range(USERS)),
            )
            begun_s = time.monotonic()
            await cluster.require_right(patience_s=300)
        except BaseException:
            cluster.keep_evidence(tmp_path / "evidence")
            raise
        settled_s = time.monotonic() - begun_s
        tokens = cluster.query("SELECT sum(fencing_token)::bigint FROM lease")
        sweeps = cluster.query("SELECT count(*) FROM sweep WHERE state = 'confirmed'")
        paid = cluster.query("SELECT count(*) FROM withdrawal WHERE state = 'paid'")
        fenced = sum(cluster.was_fenced(hub) for hub in cluster.hubs)
    print(dict(seen), f"leases taken {tokens}, sweeps {sweeps}, paid {paid}")
    print(f"hubs that were fenced: {fenced}; settled {settled_s:.0f} s after the last")
    assert min(seen["killed"], seen["frozen"], seen["withdrawn"]) > 0
