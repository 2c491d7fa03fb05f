# SPDX-License-Identifier: Apache-2.0
"""What arrives late, twice, without a history or never: each alone, none blocking."""

from pathlib import Path

import pytest

from hub.deposits import UNEXPLAINED_TICKS
from hub.devnet.config import Dialect
from hub.inputs import MAX_HOLD_MS
from hub.model import (
    AddressState,
    CreditPolicy,
    DepositState,
    SweepState,
    Tag,
    WithdrawalUuid,
)
from tests.flows.world import Appliance, World, outside_address, running_world


async def test_w14_a_late_deposit_to_a_spent_address_is_quarantined_and_blocks_nothing(
    world: World,
) -> None:
    address = await world.funded_user("alice", 1_000)
    await world.sweep()
    await world.pay_in(address, 77)
    alice = await world.account("alice")
    assert (alice.available_i, alice.quarantined_i) == (1_000, 77)
    await world.funded_user("bob", 500)
    await world.sweep()
    assert (await world.account("bob")).available_i == 500
    assert len(await world.sweeps(SweepState.CONFIRMED)) == 2
    assert await world.on_tangle(address) == 77


async def test_w15_a_refund_after_a_sweep_never_makes_the_hub_replay_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """hub#205: the hub attaches nothing more; what a stranger replays is an alarm."""
    address = await world.funded_user("alice", 1_000)
    await world.sweep()
    _, payout = await world.withdraw("alice", 300)
    await world.sweep()
    tails = len(world.devnet.node.tangle.by_address.get(address))
    await world.devnet.late_deposit(address, 1_000)  # the swept address is refilled
    for _ in range(3):
        await world.settle()
    assert await world.on_tangle(payout) == 300
    assert await world.on_tangle(address) == 1_000
    # two spends of the first sweep (value and rest of signature), then the refund
    assert len(world.devnet.node.tangle.by_address.get(address)) == tails + 1
    assert (await world.account("alice")).quarantined_i == 1_000
    world.trouble("second-confirmation")
    for _ in range(3):
        await world.settle()
    assert await world.on_tangle(address) == 0  # drained by its old signature
    assert "value is gone that we did not move" in caplog.text
    assert (await world.account("alice")).available_i == 700  # nothing credited twice


async def test_w13_value_without_history_is_quarantined_and_never_counted_twice(
    iri_world: World,
) -> None:
    world = iri_world
    await world.user("alice")
    address = await world.deposit_address("alice")
    await world.devnet.deposit(address, 500)
    await world.devnet.tick()
    world.trouble("pruned-history")
    for _ in range(UNEXPLAINED_TICKS):
        await world.hub.deposits.tick()
    alice = await world.account("alice")
    assert (alice.unswept_i, alice.quarantined_i) == (0, 500)
    assert (await world.own(address)).state is AddressState.QUARANTINED
    world.devnet.faults.clear()
    await world.hub.deposits.tick()
    await world.pay_in(address, 30)  # now the whole history is looked at again
    alice = await world.account("alice")
    assert (alice.unswept_i, alice.quarantined_i) == (30, 500)
    assert (await world.own(address)).balance_i == 530


async def test_w12_one_address_without_history_does_not_hold_up_the_others(
    iri_world: World,
) -> None:
    world = iri_world
    await world.user("alice")
    odd = await world.deposit_address("alice")
    await world.devnet.deposit(odd, 500)
    await world.devnet.tick()
    pruned_until = world.devnet.node.latest.index
    world.devnet.faults.set("pruned-history", pruned_until)
    await world.funded_user("bob", 200)
    await world.sweep()
    assert (await world.account("bob")).available_i == 200
    assert (await world.account("alice")).available_i == 0


async def test_w9_a_deposit_that_confirms_in_two_attachments_is_no_end_of_the_hub(
    world: World,
) -> None:
    """The second confirms only if the payer's address was refilled: value for value."""
    await world.user("alice")
    address = await world.deposit_address("alice")
    tail = await world.devnet.deposit(address, 100)
    bundle = world.devnet.node.bundles[tail].tail.tx.bundle
    await world.devnet.reattach(bundle)
    await world.devnet.tick()
    await world.devnet.tick()
    await world.hub.deposits.tick()
    await world.hub.deposits.tick()
    assert (await world.account("alice")).unswept_i == await world.on_tangle(address)
    await world.sweep()
    assert (await world.account("alice")).available_i == 100


async def test_w9_a_spend_of_a_deposit_address_is_an_alarm_and_ends_nothing(
    iri_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Value that leaves without us: said once, the others go on."""
    world = iri_world
    address = await world.funded_user("alice", 300)
    del world.devnet.node.balances[address]  # as if somebody had the key
    await world.funded_user("bob", 200)
    await world.sweep()
    await world.hub.deposits.tick()
    assert caplog.text.count("value is gone that we did not move") == 1
    assert (await world.account("bob")).available_i == 200
    assert (await world.account("alice")).unswept_i == 300  # not swept: not there
    assert (await world.own(address)).state is AddressState.OPEN


async def test_w16_a_sweep_waits_while_more_is_on_its_way(world: World) -> None:
    address = await world.funded_user("alice", 1_000)
    world.trouble("stalled-confirmation")
    await world.devnet.deposit(address, 5)  # unconfirmed
    await world.hub.sweeps.tick()
    assert await world.sweeps() == []
    world.devnet.faults.clear()
    await world.devnet.tick()
    await world.hub.deposits.tick()
    await world.sweep()
    assert (await world.account("alice")).available_i == 1_005


async def test_an_incoming_bundle_that_never_confirms_holds_an_address_for_a_time_only(
    iri_world: World,
) -> None:
    world = iri_world
    address = await world.funded_user("alice", 1_000)
    world.trouble("stalled-confirmation")
    await world.devnet.deposit(address, 5)
    await world.hub.sweeps.tick()
    assert await world.sweeps() == []
    world.clock.advance(by_s=MAX_HOLD_MS / 1000)
    await world.devnet.tick()  # milestones go on
    await world.hub.sweeps.tick()
    assert [s.state for s in await world.sweeps()] == [SweepState.SIGNED]


async def test_a_balance_that_differs_from_the_ledger_is_not_swept(
    iri_world: World,
) -> None:
    world = iri_world
    address = await world.funded_user("alice", 1_000)
    world.devnet.node.balances[address] = 999
    await world.hub.sweeps.tick()
    assert await world.sweeps() == []
    world.devnet.node.balances[address] = 1_000
    await world.hub.sweeps.tick()
    assert len(await world.sweeps()) == 1


async def test_a_deposit_is_credited_at_once_where_the_policy_says_so(
    shared_appliance: Appliance, dialect: Dialect, tmp_path: Path
) -> None:
    policy: dict[str, object] = {"credit": CreditPolicy.CONFIRMATION.value}
    async with running_world(
        shared_appliance, tmp_path, dialect=dialect, deposits=policy
    ) as world:
        address = await world.funded_user("alice", 1_000)
        assert (await world.account("alice")).available_i == 1_000
        await world.sweep()
        assert (await world.account("alice")).available_i == 1_000
        assert await world.on_tangle(address) == 0
        async with world.hub.store.reading() as tx:
            (deposit,) = await tx.deposits.in_state(DepositState.CREDITED)
        assert deposit.seen.amount_i == 1_000


async def test_a_payout_to_an_address_of_ours_arrives_as_a_deposit(
    iri_world: World,
) -> None:
    """It is not swept away while the payment is under way."""
    world = iri_world
    await world.funded_user("alice", 1_000)
    await world.user("bob")
    bobs = await world.deposit_address("bob")
    await world.sweep()
    await world.withdraw("alice", 250, to=bobs)
    await world.hub.sweeps.tick()  # signed, not attached
    await world.pay_in(bobs, 40)
    await world.hub.sweeps.tick()  # must leave bob's address alone
    assert len(await world.sweeps()) == 2
    await world.settle()
    await world.sweep()
    assert (await world.account("bob")).available_i == 290


async def test_a_withdrawal_to_an_address_of_ours_that_was_spent_meanwhile_waits(
    iri_world: World,
) -> None:
    world = iri_world
    address = await world.funded_user("alice", 1_000)
    await world.funded_user("bob", 400)
    await world.sweep()
    spent = await world.own(address)
    assert spent.state is AddressState.SPENT
    world.trouble("spent-set-lost")
    async with world.hub.store.transaction() as tx:  # requested before the sweep
        bob = await world.account("bob")
        await tx.withdrawals.request(
            WithdrawalUuid("0" * 36),
            bob.account_id,
            amount_i=100,
            payout_address=address,
            tag=Tag("9" * 27),
        )
    _, payout = await world.withdraw("bob", 50, to=outside_address())
    await world.sweep()
    assert await world.on_tangle(payout) == 50
    assert await world.on_tangle(address) == 0
