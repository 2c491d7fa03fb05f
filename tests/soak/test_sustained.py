# SPDX-License-Identifier: Apache-2.0
"""Hours of work leave an appliance as it was: run by hand with ``make soak``.

``SALTKEEP_SOAK_S`` says how long, in seconds; ten minutes by default.
"""

import asyncio
import os
import time
from pathlib import Path

import pytest

from appliance.pytest_plugin import ApplianceProcess
from appliance.wire import (
    CeremonyReport,
    IssueAddress,
    Issued,
    RunCeremony,
    Signed,
)
from tests.appliance.bundles import Coin, bundle, new_uuid

SOAK_S = float(os.environ.get("SALTKEEP_SOAK_S", "600"))
CLIENTS = 4
ROTATE_EVERY_S = 20.0


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def work(process: ApplianceProcess, until_s: float, done: list[float]) -> None:
    """Issue and sign until the time is over; any other reply fails the test."""
    async with process.client("hub") as client:
        while time.monotonic() < until_s:
            uuid = new_uuid()
            request = IssueAddress(request_id="i", seed_uuid=uuid)
            issued = await client.expect(request, Issued)
            coin = Coin(uuid, issued.address, 100, issued.generation)
            await client.expect(bundle([coin]), Signed)
            done.append(time.monotonic())


async def rotate(process: ApplianceProcess, until_s: float) -> int:
    count = 0
    async with process.client("operator-1") as operator:
        while time.monotonic() + ROTATE_EVERY_S < until_s:
            await asyncio.sleep(ROTATE_EVERY_S)
            kind = ("rotate-kek", "rotate-mac")[count % 2]
            request = RunCeremony(request_id="r", ceremony=kind)
            await operator.expect(request, CeremonyReport)
            count += 1
    return count


@pytest.mark.soak
@pytest.mark.timeout(SOAK_S * 2 + 120)
async def test_throughput_memory_and_descriptors_stay_flat(
    saltkeep_appliance: ApplianceProcess,
) -> None:
    process = saltkeep_appliance
    assert process.process is not None
    pid = process.process.pid
    done: list[float] = []
    start_s = time.monotonic()
    until_s = start_s + SOAK_S
    workers = [
        asyncio.create_task(work(process, until_s, done)) for _ in range(CLIENTS)
    ]
    rotating = asyncio.create_task(rotate(process, until_s))
    await asyncio.sleep(SOAK_S * 0.2)
    warm_kib, warm_descriptors = resident_kib(pid), descriptors(pid)
    await asyncio.gather(*workers)
    rotations = await rotating
    early = sum(0.2 * SOAK_S <= at - start_s < 0.5 * SOAK_S for at in done)
    late = sum(at - start_s >= 0.7 * SOAK_S for at in done)
    grown_kib = resident_kib(pid) - warm_kib
    print(
        f"{len(done)} bundles, {rotations} rotations; {early} then {late} in equal"
        f" times; resident {warm_kib} KiB and {grown_kib:+} KiB"
    )
    assert late > 0.7 * early
    assert grown_kib < 0.2 * warm_kib
    assert descriptors(pid) <= warm_descriptors + CLIENTS
