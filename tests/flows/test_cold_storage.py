# SPDX-License-Identifier: Apache-2.0
"""Value goes to cold storage and comes back, and the books know where it is."""

import pytest

from hub.cold import add_cold_address, book_return, bring_back, move_to_cold
from hub.errors import (
    AmountInvalidError,
    ColdStorageError,
    InsufficientBalanceError,
    RefusedError,
)
from hub.model import Address, ColdAddress, WithdrawalState
from hub.withdrawals import cancel_withdrawal
from tests.flows.world import World, outside_address


async def safe(world: World, label: str = "vault") -> Address:
    address = Address(outside_address())
    hub = world.hub
    await add_cold_address(hub.store, hub.nodes, label=label, address=address)
    return address


async def cold(world: World, label: str = "vault") -> ColdAddress:
    async with world.hub.store.reading() as tx:
        return await tx.cold.by_label(label)


async def move(world: World, amount_i: int) -> object:
    hub = world.hub
    return await move_to_cold(hub.store, hub.nodes, label="vault", amount_i=amount_i)


async def test_value_goes_to_cold_storage_and_comes_back(iri_world: World) -> None:
    world = iri_world
    await world.funded_user("alice", 1_000)
    await world.sweep()
    vault = await safe(world)
    await move(world, 600)
    waiting = await cold(world)
    assert (waiting.balance_i, waiting.on_the_way_i) == (600, 600)
    await world.sweep()
    there = await cold(world)
    assert (there.balance_i, there.on_the_way_i) == (600, 0)
    assert await world.on_tangle(vault) == 600
    await world.require_sound()
    await world.hub.books.tick()  # the watch would latch what does not add up
    # Alice still owns 1,000 of which 400 are here: her large withdrawal waits.
    assert (await world.account("alice")).available_i == 1_000
    uuid, _ = await world.withdraw("alice", 900)
    await world.sweep()
    assert (await world.withdrawal(uuid)).state is WithdrawalState.REQUESTED
    hub = world.hub
    back = await bring_back(hub.store, hub.signer, hub.nodes, label="vault")
    await world.pay_in(back, 600)  # what the safe's own wallet would do
    await book_return(hub.store, label="vault", amount_i=600)
    assert (await cold(world)).balance_i == 0
    await world.require_sound()
    await world.sweep()
    assert (await world.withdrawal(uuid)).state is WithdrawalState.PAID
    async with hub.store.reading() as tx:
        owner = await tx.accounts.owner()
    assert (owner.available_i, owner.unswept_i, owner.pending_i) == (0, 0, 0)


async def test_a_move_that_no_sweep_has_taken_can_be_called_off(
    iri_world: World,
) -> None:
    await iri_world.funded_user("alice", 1_000)
    await safe(iri_world)
    uuid = await move(iri_world, 600)
    await cancel_withdrawal(iri_world.hub.store, uuid)  # type: ignore[arg-type]
    assert (await cold(iri_world)).balance_i == 0
    await iri_world.require_sound()


async def test_only_what_nobody_waits_for_may_be_moved(iri_world: World) -> None:
    await iri_world.funded_user("alice", 1_000)
    await iri_world.sweep()
    await iri_world.withdraw("alice", 300)
    await safe(iri_world)
    with pytest.raises(InsufficientBalanceError, match="700"):
        await move(iri_world, 701)
    await move(iri_world, 700)


async def test_nothing_goes_to_an_address_that_is_about_to_be_spent(
    iri_world: World,
) -> None:
    hub = iri_world.hub
    await iri_world.funded_user("alice", 1_000)
    await safe(iri_world)
    await move(iri_world, 100)
    with pytest.raises(ColdStorageError, match="on the way"):
        await bring_back(hub.store, hub.signer, hub.nodes, label="vault")
    await iri_world.sweep()
    await bring_back(hub.store, hub.signer, hub.nodes, label="vault")
    with pytest.raises(ColdStorageError, match="closed"):
        await move(iri_world, 100)


async def test_no_more_comes_back_than_arrived_or_was_there(iri_world: World) -> None:
    hub = iri_world.hub
    await iri_world.funded_user("alice", 1_000)
    await safe(iri_world)
    await move(iri_world, 100)
    await iri_world.sweep()
    with pytest.raises(InsufficientBalanceError):  # nothing has arrived
        await book_return(hub.store, label="vault", amount_i=100)
    back = await bring_back(hub.store, hub.signer, hub.nodes, label="vault")
    await iri_world.pay_in(back, 150)
    with pytest.raises(InsufficientBalanceError):  # never was there
        await book_return(hub.store, label="vault", amount_i=150)
    await book_return(hub.store, label="vault", amount_i=100)
    with pytest.raises(AmountInvalidError):
        await book_return(hub.store, label="vault", amount_i=0)


async def test_an_address_of_ours_or_a_spent_one_is_no_cold_storage(
    iri_world: World,
) -> None:
    hub = iri_world.hub
    ours = await iri_world.funded_user("alice", 1_000)
    with pytest.raises(ColdStorageError, match="appliance"):
        await add_cold_address(hub.store, hub.nodes, label="x", address=ours)
    first = await safe(iri_world)
    with pytest.raises(ColdStorageError, match="recorded"):
        await add_cold_address(hub.store, hub.nodes, label="y", address=first)
    with pytest.raises(RefusedError):
        await add_cold_address(
            hub.store, hub.nodes, label="", address=Address(outside_address())
        )
