# SPDX-License-Identifier: Apache-2.0
"""A hint brings the next round forward, and a thousand do not bring a thousand."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from hub.bell import Bell, EarlyRounds
from hub.leases import Lease, run_leased
from hub.store import Store

LATER_S = 3600.0
PAUSE_S = 0.1


@dataclass
class Flow:
    """A flow that notes when its rounds begin and end."""

    lasts_s: float = 0.0
    regular: int = 0
    early: list[tuple[float, float]] = field(default_factory=list)
    bell: Bell = field(default_factory=Bell)

    async def one_round(self) -> None:
        self.regular += 1

    async def early_round(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.sleep(self.lasts_s)
        self.early.append((began_s, loop.time()))

    def gaps_s(self) -> list[float]:
        return [
            later[0] - before[1]
            for before, later in zip(self.early, self.early[1:], strict=False)
        ]


@asynccontextmanager
async def running(
    store: Store, flow: Flow, *, interval_s: float = LATER_S
) -> AsyncGenerator[None]:
    lease = Lease(store, "deposits", holder="test", duration_s=5.0)
    early = EarlyRounds(
        one_round=flow.early_round, least_pause_s=PAUSE_S, bell=flow.bell
    )
    task = asyncio.create_task(
        run_leased(lease, flow.one_round, interval_s=interval_s, early=early)
    )
    await until(lambda: flow.regular > 0)
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.005)


async def shouting(flow: Flow, until_done: Awaitable[None]) -> None:
    """Ring without a pause until something is done."""
    waiting = asyncio.ensure_future(until_done)
    while not waiting.done():
        flow.bell.ring()
        await asyncio.sleep(0)
    await waiting


async def test_a_hint_brings_a_round_long_before_its_time(store: Store) -> None:
    flow = Flow()
    async with running(store, flow):
        flow.bell.ring()
        await until(lambda: len(flow.early) == 1)
    assert flow.regular == 1


async def test_a_flood_of_hints_brings_no_more_rounds_than_the_pause_allows(
    store: Store,
) -> None:
    flow = Flow()
    async with running(store, flow):
        await shouting(flow, until(lambda: len(flow.early) == 5))
    assert min(flow.gaps_s()) >= PAUSE_S * 0.99


async def test_rounds_that_take_long_are_followed_by_pauses_as_long(
    store: Store,
) -> None:
    flow = Flow(lasts_s=3 * PAUSE_S)
    async with running(store, flow):
        await shouting(flow, until(lambda: len(flow.early) == 3))
    assert min(flow.gaps_s()) >= 3 * PAUSE_S * 0.99


async def test_a_flood_of_hints_does_not_put_off_the_rounds_by_the_clock(
    store: Store,
) -> None:
    flow = Flow()
    async with running(store, flow, interval_s=3 * PAUSE_S):
        await shouting(flow, until(lambda: flow.regular == 3))
    assert flow.early


async def test_a_hint_during_a_round_is_heard_after_it(store: Store) -> None:
    flow = Flow(lasts_s=PAUSE_S)
    async with running(store, flow):
        flow.bell.ring()
        await until(lambda: not flow.bell.is_rung)
        flow.bell.ring()
        await until(lambda: len(flow.early) == 2)


async def test_without_hints_the_clock_alone_counts(store: Store) -> None:
    flow = Flow()
    async with running(store, flow, interval_s=PAUSE_S):
        await until(lambda: flow.regular == 3)
    assert flow.early == []
