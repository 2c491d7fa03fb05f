# SPDX-License-Identifier: Apache-2.0
"""The publisher's loop ends when it is told to."""

import asyncio

import pytest

from hub.publisher import Publisher
from hub.store import Store


@pytest.mark.parametrize("turns", range(8))
async def test_a_loop_that_is_rung_and_cancelled_at_once_ends(
    store: Store, turns: int
) -> None:
    """Whichever of the two the loop meets first: it must not lose the cancelling."""
    publisher = Publisher(store, interval_s=0.05)

    async def loop() -> None:
        while True:
            await publisher.tick()

    running = asyncio.create_task(loop())
    await asyncio.sleep(0)
    publisher.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=5)
    try:
        assert done
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
