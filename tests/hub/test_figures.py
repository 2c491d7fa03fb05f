# SPDX-License-Identifier: Apache-2.0
"""What waits is counted, and its age told."""

from hub.store import Store
from hub.store.figures import Waiting
from tests.hub import bookkeeping as books
from tests.hub.bookkeeping import ManualClock


async def test_what_waits_is_counted_and_its_age_told(
    store: Store, clock: ManualClock
) -> None:
    user = await books.funded_user(store, "ana", 100)
    paid = await books.request_withdrawal(store, user, 10)
    clock.now_ms += 60_000
    await books.request_withdrawal(store, user, 20)
    own = await books.hub_address(store)
    await books.arrive(store, own, 10)
    sweep = await books.plan_sweep(store, [own], [paid])
    clock.now_ms += 1_500
    async with store.reading() as tx:
        withdrawals = {one.state: one for one in await tx.figures.withdrawals()}
        sweeps = {one.state: one for one in await tx.figures.sweeps()}
        unpublished = await tx.figures.unpublished_events()
    assert withdrawals["requested"] == Waiting("requested", 1, 1.5)
    assert withdrawals["planned"] == Waiting("planned", 1, 61.5)
    assert withdrawals["awaiting-approval"] == Waiting("awaiting-approval", 0, 0.0)
    assert sweeps["planned"] == Waiting("planned", 1, 1.5)
    assert unpublished > 0
    await books.sign_sweep(store, sweep)
    async with store.reading() as tx:
        signed = {one.state: one for one in await tx.figures.sweeps()}
        left = {one.state: one.count for one in await tx.figures.withdrawals()}
    assert (signed["planned"].count, signed["signed"].count) == (0, 1)
    assert (left["planned"], left["requested"]) == (0, 1)
