# SPDX-License-Identifier: Apache-2.0
"""Every trouble a node can make: the hub decides nothing wrong and goes on after."""

from pathlib import Path

import pytest

from hub.addresses import was_spent
from hub.devnet.config import Dialect
from hub.errors import FaultError, NodeUnavailableError
from hub.model import SweepState, UserId
from hub.transfers import Transfer, process_batch
from tests.flows.world import Appliance, World, running_world

HORNET = pytest.mark.parametrize("dialect", [Dialect.HORNET], ids=str)


@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("unsynced", True),
        ("stale-milestone", 600),
        pytest.param("slow-replies", 2.5, marks=pytest.mark.slow),
        ("dropped-replies", True),
    ],
)
async def test_while_a_node_is_not_to_be_believed_nothing_is_decided(
    fault: str, value: float, world: World
) -> None:
    """K9, W10, W11: each tick fails as a fault, and the next one works."""
    address = await world.funded_user("alice", 1_000)
    await world.hub.sweeps.tick()
    await world.devnet.deposit(address, 5)
    world.trouble(fault, value=value)
    await world.devnet.tick()
    for flow in (world.hub.deposits, world.hub.sweeps, world.hub.attachments):
        with pytest.raises(NodeUnavailableError):
            await flow.tick()
    world.devnet.faults.clear()
    await world.devnet.tick()
    await world.settle()
    alice = await world.account("alice")
    assert (alice.available_i, alice.quarantined_i) == (1_000, 5)
    assert [s.state for s in await world.sweeps()] == [SweepState.CONFIRMED]


async def test_a_solid_milestone_one_behind_only_delays(world: World) -> None:
    world.trouble("lagging-milestone")
    address = await world.funded_user("alice", 100)
    assert (await world.account("alice")).unswept_i == 0
    await world.devnet.tick()
    await world.hub.deposits.tick()
    assert (await world.account("alice")).unswept_i == 100
    await world.sweep()
    await world.settle()
    assert (await world.account("alice")).available_i == 100
    assert await world.on_tangle(address) == 0


@pytest.mark.parametrize("fault", ["store-refused", "stalled-confirmation"])
async def test_w11_a_sweep_that_nodes_do_not_take_is_attached_until_they_do(
    fault: str, world: World
) -> None:
    await world.funded_user("alice", 100)
    await world.hub.sweeps.tick()
    world.trouble(fault)
    for _ in range(2):
        await world.hub.attachments.tick()
        await world.devnet.tick()
    assert SweepState.CONFIRMED not in [s.state for s in await world.sweeps()]
    world.devnet.faults.clear()
    await world.settle()
    await world.settle()
    assert [s.state for s in await world.sweeps()] == [SweepState.CONFIRMED]


@HORNET
async def test_without_tips_a_sweep_waits(world: World) -> None:
    await world.funded_user("alice", 100)
    await world.hub.sweeps.tick()
    world.trouble("no-tips")
    await world.hub.attachments.tick()
    assert [s.state for s in await world.sweeps()] == [SweepState.SIGNED]
    world.devnet.faults.clear()
    await world.settle()
    assert [s.state for s in await world.sweeps()] == [SweepState.CONFIRMED]


async def test_w29_a_conflicting_tail_is_reattached_in_either_dialect(
    world: World,
) -> None:
    """HORNET's checkConsistency says yes to everything: getTipInfo is asked."""
    await world.funded_user("alice", 100)
    await world.hub.sweeps.tick()
    world.trouble("conflicting-spend")
    for _ in range(2):
        await world.hub.attachments.tick()
        await world.devnet.tick()
    (sweep,) = await world.sweeps()
    assert sweep.state is SweepState.ATTACHED
    world.devnet.faults.clear()
    for _ in range(3):
        await world.settle()
    (sweep,) = await world.sweeps()
    assert sweep.state is SweepState.CONFIRMED
    assert (await world.account("alice")).available_i == 100
    async with world.hub.store.reading() as tx:
        tails = await tx.tails.of_sweep(sweep.sweep_id)
    if world.devnet.config.dialect is Dialect.HORNET:
        assert len(tails) > 1  # IRI keeps the conflict out; the first tail may do


async def test_a_stranger_s_attachment_that_confirms_counts(world: World) -> None:
    await world.funded_user("alice", 100)
    await world.hub.sweeps.tick()
    await world.hub.attachments.tick()
    world.trouble("third-party-reattachment")
    await world.devnet.tick()
    await world.hub.attachments.tick()
    (sweep,) = await world.sweeps()
    assert sweep.state is SweepState.CONFIRMED
    async with world.hub.store.reading() as tx:
        tails = await tx.tails.of_sweep(sweep.sweep_id)
    assert [tail.confirmed for tail in tails].count(True) == 1
    assert len(tails) == 2


async def test_an_old_tail_is_promoted_and_an_older_one_reattached(
    world: World,
) -> None:
    await world.funded_user("alice", 100)
    await world.hub.sweeps.tick()
    world.trouble("stalled-confirmation")
    await world.hub.attachments.tick()
    before = len(world.devnet.node.tangle.by_tag.get("SALTKEEP".ljust(27, "9")))
    for _ in range(9):  # HORNET promotes once the past is that old
        await world.devnet.tick()
    await world.hub.attachments.tick()
    promotions = world.devnet.node.tangle.by_tag.get("SALTKEEP".ljust(27, "9"))
    assert len(promotions) == before + 1
    world.clock.advance(by_s=1_801)
    await world.devnet.tick()
    await world.hub.attachments.tick()
    (sweep,) = await world.sweeps()
    async with world.hub.store.reading() as tx:
        assert len(await tx.tails.of_sweep(sweep.sweep_id)) == 2
    world.devnet.faults.clear()
    await world.settle()
    assert (await world.sweeps())[0].state is SweepState.CONFIRMED


async def test_w10_a_node_that_refuses_remote_work_is_passed_over(
    shared_appliance: Appliance, dialect: Dialect, tmp_path: Path
) -> None:
    remote: dict[str, object] = {"pow": ["remote", "local"]}
    async with running_world(
        shared_appliance, tmp_path, dialect=dialect, attachments=remote
    ) as world:
        await world.funded_user("alice", 100)
        world.trouble("remote-pow-refused")
        await world.sweep()
        await world.funded_user("bob", 50)
        world.devnet.faults.clear()
        await world.sweep()
        states = [s.state for s in await world.sweeps()]
        assert states == [SweepState.CONFIRMED] * 2


async def test_a_sweep_confirmed_and_pruned_before_we_looked_is_not_attached_again(
    world: World,
) -> None:
    """W15: attached anew and refunded, it would pay twice."""
    await world.funded_user("alice", 1_000)
    await world.sweep()
    _, payout = await world.withdraw("alice", 300)
    await world.hub.sweeps.tick()
    await world.hub.attachments.tick()
    await world.devnet.tick()
    world.trouble("pruned-history")
    for _ in range(3):
        await world.settle()
    assert [s.state for s in await world.sweeps()] == [SweepState.CONFIRMED] * 2
    assert await world.on_tangle(payout) == 300
    world.devnet.faults.clear()
    assert (await world.account("alice")).available_i == 700


async def test_a_search_that_is_cut_off_credits_nothing_wrong(world: World) -> None:
    world.trouble("truncated-find", value=1)
    await world.funded_user("alice", 100)
    await world.hub.deposits.tick()
    assert (await world.account("alice")).unswept_i == 0
    world.devnet.faults.clear()
    await world.hub.deposits.tick()
    assert (await world.account("alice")).unswept_i == 100


@HORNET
async def test_without_a_node_that_knows_spent_addresses_none_is_given_out(
    world: World,
) -> None:
    await world.user("alice")
    world.trouble("spent-unavailable")
    with pytest.raises(FaultError):
        await world.deposit_address("alice")


async def test_a_spent_set_that_was_lost_does_not_matter_for_our_own_addresses(
    world: World,
) -> None:
    address = await world.funded_user("alice", 100)
    await world.sweep()
    world.trouble("spent-set-lost")
    assert await was_spent(world.hub.store, world.hub.nodes, address)


@pytest.mark.slow
async def test_w17_w18_what_fits_no_bundle_is_joined_first_and_blocks_nobody(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    limits: dict[str, object] = {"max_deposits": 1, "max_hub_inputs": 2}
    async with running_world(shared_appliance, tmp_path, sweeps=limits) as world:
        for number in range(4):
            await world.funded_user(f"user-{number}", 100)
            await world.sweep()
        gifts = [Transfer(UserId(f"user-{n}"), -90) for n in range(1, 4)]
        gifts.append(Transfer(UserId("user-0"), 270))
        await process_batch(world.hub.store, gifts)
        _, large = await world.withdraw("user-0", 350)
        _, small = await world.withdraw("user-1", 10)
        await world.sweep()
        assert await world.on_tangle(small) == 10
        for _ in range(3):
            await world.sweep()
        assert await world.on_tangle(large) == 350
        for sweep in await world.sweeps():
            assert len(sweep.plan.inputs) <= 3
