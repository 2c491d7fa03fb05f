# SPDX-License-Identifier: Apache-2.0
"""What a panel's client holds on to: nothing that grows."""

import asyncio
import gc
import time
import tracemalloc
from pathlib import Path

from tests.firmware_bridge.conftest import Desk
from tests.firmware_bridge.test_panel import DIGEST, press, shows


async def test_a_hundred_questions_leave_nothing_behind(plain_desk: Desk) -> None:
    bench, panel = plain_desk.bench, plain_desk.panel
    await plain_desk.connect()

    async def ask(number: int) -> None:
        text = f"Question {number}."
        asking = asyncio.create_task(panel.request_presence(DIGEST, text))
        await shows(bench, text)
        await press(bench, "yes", asking)
        (await asking).redeem(DIGEST, now_s=time.monotonic())
        bench.set(yes="up")

    def held() -> tuple[int, int, int]:
        gc.collect()
        tasks = len(asyncio.all_tasks())
        return len(list(Path("/proc/self/fd").iterdir())), tasks, len(gc.get_objects())

    for number in range(10):
        await ask(number)
    descriptors, tasks, objects = held()
    tracemalloc.start()
    for number in range(10, 110):
        await ask(number)
    now = held()
    grown_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now[:2] == (descriptors, tasks)
    assert now[2] - objects < 200, "a hundred questions, not two objects each"
    assert grown_bytes < 100 * 1024, grown_bytes
