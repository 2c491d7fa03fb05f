# SPDX-License-Identifier: Apache-2.0
"""The main job in both dialects: deposit, sweep, withdrawal."""

from pathlib import Path

from hub.model import SweepState, WithdrawalState
from tests.flows.world import Appliance, World, running_world


async def test_a_deposit_is_credited_when_a_signed_sweep_has_taken_it(
    world: World,
) -> None:
    await world.user("alice")
    address = await world.deposit_address("alice")
    await world.devnet.deposit(address, 1_000)
    assert await world.hub.deposits.tick() == 0  # not confirmed yet
    await world.devnet.tick()
    assert await world.hub.deposits.tick() == 1
    assert await world.hub.deposits.tick() == 0  # and once only
    alice = await world.account("alice")
    assert (alice.available_i, alice.unswept_i) == (0, 1_000)
    await world.sweep()
    alice = await world.account("alice")
    assert (alice.available_i, alice.unswept_i) == (1_000, 0)
    assert [s.state for s in await world.sweeps()] == [SweepState.CONFIRMED]
    assert await world.on_tangle(address) == 0


async def test_a_withdrawal_is_paid_with_its_tag_and_the_rest_comes_back(
    world: World,
) -> None:
    await world.funded_user("alice", 1_000)
    await world.sweep()
    uuid, payout = await world.withdraw("alice", 300, tag="HELLO")
    await world.sweep()
    assert (await world.withdrawal(uuid)).state is WithdrawalState.PAID
    assert await world.on_tangle(payout) == 300
    assert (await world.account("alice")).available_i == 700
    (tail,) = world.devnet.node.tangle.by_address.get(payout)
    record = world.devnet.node.tangle.get(tail)
    assert record is not None
    assert record.tx.tag == "HELLO".ljust(27, "9")
    async with world.hub.store.reading() as tx:
        report = await tx.books.verify()
    assert report.assets_i == 700


async def test_a_withdrawal_of_everything_has_no_remainder(world: World) -> None:
    """W19: never an output of nothing."""
    await world.funded_user("alice", 1_000)
    await world.sweep()
    _, payout = await world.withdraw("alice", 1_000)
    await world.sweep()
    (_, last) = await world.sweeps()
    assert last.state is SweepState.CONFIRMED
    assert (last.plan.remainder_address_id, last.plan.remainder_i) == (None, 0)
    assert await world.on_tangle(payout) == 1_000


async def test_deposits_of_several_users_and_withdrawals_share_a_sweep(
    world: World,
) -> None:
    await world.funded_user("alice", 1_000)
    await world.funded_user("bob", 500)
    await world.sweep()
    await world.pay_in(await world.deposit_address("bob"), 50)
    payouts = [await world.withdraw("alice", 400), await world.withdraw("bob", 450)]
    await world.sweep()
    assert [await world.on_tangle(address) for _, address in payouts] == [400, 450]
    assert (await world.account("alice")).available_i == 600
    assert (await world.account("bob")).available_i == 100
    assert len(await world.sweeps()) == 2


async def test_nothing_to_do_plans_nothing(world: World) -> None:
    await world.user("alice")
    await world.deposit_address("alice")
    await world.sweep()
    assert await world.sweeps() == []


async def test_what_goes_beyond_the_limit_of_a_day_waits_for_the_next(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    async with running_world(
        shared_appliance,
        tmp_path,
        withdrawals={"limit_total_i": 500, "window_s": 3_600},
    ) as world:
        await world.funded_user("alice", 1_000)
        await world.sweep()
        first, _ = await world.withdraw("alice", 400)
        second, _ = await world.withdraw("alice", 200)
        await world.sweep()
        assert (await world.withdrawal(first)).state is WithdrawalState.PAID
        assert (await world.withdrawal(second)).state is WithdrawalState.REQUESTED
        world.clock.advance(by_s=3_601)
        await world.devnet.tick()
        await world.sweep()
        assert (await world.withdrawal(second)).state is WithdrawalState.PAID
