# SPDX-License-Identifier: Apache-2.0
"""What happened before a golden test asks.

ana has deposited 100 i that a sweep has taken, has withdrawn 30 i that the same sweep
paid, and has sold 5 i to bob; bob has requested 2 i and cancelled.
"""

import re
from dataclasses import dataclass

from hub.model import CreditPolicy, SweepId, TransactionHash, UserId
from hub.store import Store
from hub.transfers import Transfer, process_batch
from tests.hub import bookkeeping as books


@dataclass(frozen=True)
class Story:
    """The random names of the story, each with how a reply spells it."""

    names: dict[str, str]

    def fill(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(f"<{name}>", value)
        assert not re.search("<[a-z_0-9]+>", text), text
        return text


async def play(store: Store, clock: books.ManualClock) -> Story:
    ana = await books.open_user(store, "ana")
    bob = await books.open_user(store, "bob")
    source = await books.give_address(store, ana)
    fresh = await books.give_address(store, ana)
    recorded = await books.arrive(store, source, 60)
    clock.advance(by_ms=1000)
    top_up = await books.give_address(store, ana)
    early = await books.arrive(store, top_up, 40, credit=CreditPolicy.CONFIRMATION)
    clock.advance(by_ms=1000)
    uuid = await books.request_withdrawal(store, ana, 30)
    rest = await books.hub_address(store)
    clock.advance(by_ms=1000)
    sweep_id = await books.plan_sweep(store, [source], [uuid], rest)
    await books.sign_sweep(store, sweep_id)
    clock.advance(by_ms=1000)
    await process_batch(
        store, [Transfer(UserId("ana"), -5), Transfer(UserId("bob"), 5)]
    )
    clock.advance(by_ms=1000)
    cancelled = await books.request_withdrawal(store, bob, 2)
    clock.advance(by_ms=1000)
    async with store.transaction() as tx:
        await tx.withdrawals.cancel(cancelled)
    tails = await _attach_twice(store, clock, sweep_id)
    async with store.reading() as tx:
        sweep = await tx.sweeps.by_id(sweep_id)
        own = [await tx.addresses.by_id(i) for i in (source, fresh, top_up, rest)]
    names = ("source", "fresh", "top_up", "rest")
    return Story(
        {
            **{name: a.address for name, a in zip(names, own, strict=True)},
            "tail": recorded.deposit.seen.tail_hash,  # type: ignore[union-attr]
            "early_tail": early.deposit.seen.tail_hash,  # type: ignore[union-attr]
            "bundle": sweep.plan.bundle_hash,
            "trytes": sweep.signed_trytes[0],
            "paid": uuid,
            "cancelled": cancelled,
            "old_tail": tails[0],
            "new_tail": tails[1],
            **{f"t{n}": str(books.T0_MS + 1000 * n) for n in range(8)},
        }
    )


async def _attach_twice(
    store: Store, clock: books.ManualClock, sweep_id: SweepId
) -> list[TransactionHash]:
    tails = [TransactionHash(books.trytes()) for _ in range(2)]
    for tail in tails:
        clock.advance(by_ms=1000)
        async with store.transaction() as tx:
            await tx.sweeps.attach(sweep_id, tail)
    return tails
