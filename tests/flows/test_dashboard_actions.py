# SPDX-License-Identifier: Apache-2.0
"""What an operator does at the dashboard, down to the nodes."""

import pytest

from hub.errors import ReattachmentRefusedError
from hub.model import SweepState
from hub.store.audit import Done
from tests.flows.world import World

DONE = Done("operator:ana", "r", "reattach-sweep", "a sweep")


async def test_a_sweep_attached_once_more_by_hand_confirms_and_then_never_again(
    world: World,
) -> None:
    hub = world.hub
    await world.funded_user("alice", 1000)
    await hub.sweeps.tick()
    await hub.attachments.tick()
    (sweep,) = await world.sweeps(SweepState.ATTACHED)
    name = sweep.plan.bundle_hash
    tail = await hub.attachments.reattach(name, DONE, store=hub.store)
    async with hub.store.reading() as tx:
        tails = await tx.tails.of_sweep(sweep.sweep_id)
        lines = await tx.audit.page(before_id=None, limit=10)
    assert tail in {one.tail_hash for one in tails}
    assert len(tails) == 2
    assert [line.actor for line in lines] == ["operator:ana"]
    assert sweep.journal_sequence is not None
    journal = await world.appliance.journal()
    signed = [row.sequence for row in journal if row.kind == "signed"]
    assert signed[-1] == sweep.journal_sequence
    await world.settle()
    (confirmed,) = await world.sweeps(SweepState.CONFIRMED)
    assert confirmed.plan.bundle_hash == name
    with pytest.raises(ReattachmentRefusedError):
        await hub.attachments.reattach(name, DONE, store=hub.store)
    await world.require_sound()
