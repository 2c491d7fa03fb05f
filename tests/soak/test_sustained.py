# SPDX-License-Identifier: Apache-2.0
"""Hours of work at full load leave an appliance as it was: by hand with ``make soak``.

The full Argon2 cost, both cores busy, more asked for than its line takes: what is put
off must be put off by the line's limit, and by nothing else. ``SALTKEEP_SOAK_S`` says
how long, in seconds; ten minutes by default.
"""

import asyncio
import os
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.client import ApplianceClient
from appliance.pytest_plugin import ApplianceProcess, make_appliance
from appliance.wire import (
    CeremonyReport,
    Deferred,
    IssueAddress,
    Issued,
    Reply,
    Request,
    RunCeremony,
    Signed,
)
from tests.appliance.bundles import Coin, bundle, new_uuid

SOAK_S = float(os.environ.get("SALTKEEP_SOAK_S", "600"))
SWEEPERS = 3
INPUTS = 6
ISSUERS = 14
MAX_WAITING = 24
ROTATE_EVERY_S = 60.0
PARTS = 6
_ASK_AGAIN_S = 0.5


@dataclass
class Load:
    """What was done, and when."""

    process: ApplianceProcess
    until_s: float
    addresses: list[float] = field(default_factory=list)
    inputs: list[float] = field(default_factory=list)
    coins: deque[Coin] = field(default_factory=deque)
    put_off: Counter[str] = field(default_factory=Counter)

    async def ask(self, client: ApplianceClient, request: Request) -> Reply:
        """Ask until it is done; whatever puts it off is counted."""
        while True:
            reply = await client.ask(request)
            if not isinstance(reply, Deferred):
                return reply
            self.put_off[reply.code] += 1
            await asyncio.sleep(_ASK_AGAIN_S)

    async def coin(self, client: ApplianceClient) -> Coin:
        uuid = new_uuid()
        asked = IssueAddress(request_id="i", seed_uuid=uuid)
        issued = await self.ask(client, asked)
        assert isinstance(issued, Issued), issued
        self.addresses.append(time.monotonic())
        return Coin(uuid, issued.address, 100, issued.generation)

    async def issue(self) -> None:
        async with self.process.client("hub") as client:
            while time.monotonic() < self.until_s:
                self.coins.append(await self.coin(client))

    async def sweep(self) -> None:
        """Have addresses signed for that others have got, a sweep's inputs at once."""
        async with self.process.client("hub") as client:
            while time.monotonic() < self.until_s:
                if len(self.coins) < INPUTS:
                    await asyncio.sleep(_ASK_AGAIN_S)
                    continue
                coins = [self.coins.popleft() for _ in range(INPUTS)]
                signed = await self.ask(client, bundle(coins))
                assert isinstance(signed, Signed), signed
                self.inputs += [time.monotonic()] * INPUTS

    async def rotate(self) -> int:
        count = 0
        async with self.process.client("operator-1") as operator:
            while time.monotonic() + ROTATE_EVERY_S < self.until_s:
                await asyncio.sleep(ROTATE_EVERY_S)
                kind = ("rotate-kek", "rotate-mac")[count % 2]
                request = RunCeremony(request_id="r", ceremony=kind)
                await operator.expect(request, CeremonyReport)
                count += 1
        return count


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def in_parts(times: list[float], *, start_s: float) -> list[int]:
    part_s = SOAK_S / PARTS
    counts = Counter(int((at - start_s) // part_s) for at in times)
    return [counts[part] for part in range(PARTS)]


@pytest.mark.soak
@pytest.mark.timeout(SOAK_S * 2 + 120)
async def test_throughput_memory_and_descriptors_stay_flat(tmp_path: Path) -> None:
    process = make_appliance(tmp_path / "box", ())
    path = process.folder / "appliance.toml"
    text = path.read_text().replace(
        "[derivation]\n", f"[derivation]\nmax_waiting = {MAX_WAITING}\n"
    )
    path.write_text(text)
    process.start()
    try:
        await watch(process)
    finally:
        process.stop()


async def watch(process: ApplianceProcess) -> None:
    assert process.process is not None
    pid = process.process.pid
    start_s = time.monotonic()
    load = Load(process, start_s + SOAK_S)
    workers = [asyncio.create_task(load.issue()) for _ in range(ISSUERS)]
    workers += [asyncio.create_task(load.sweep()) for _ in range(SWEEPERS)]
    rotating = asyncio.create_task(load.rotate())
    await asyncio.sleep(SOAK_S / PARTS)
    seen = [(resident_kib(pid), descriptors(pid))]
    for _ in range(PARTS - 2):
        await asyncio.sleep(SOAK_S / PARTS)
        seen.append((resident_kib(pid), descriptors(pid)))
    await asyncio.gather(*workers)
    rotations = await rotating
    seen.append((resident_kib(pid), descriptors(pid)))
    runs = sorted(load.addresses * 2 + load.inputs)  # an address takes two
    parts = in_parts(runs, start_s=start_s)
    print(
        f"{len(load.addresses)} addresses, {len(load.inputs)} inputs signed,"
        f" {rotations} rotations; Argon2 runs in each sixth {parts};"
        f" resident KiB and descriptors {seen}; put off {dict(load.put_off)}"
    )
    assert parts[-1] > 0.9 * max(parts)  # other work here may cost a part in between
    assert seen[-1][0] < 1.1 * seen[0][0]
    assert seen[-1][1] <= seen[0][1] + 4
    assert len(load.inputs) > INPUTS * PARTS
    assert set(load.put_off) == {"derivations-queued"}
