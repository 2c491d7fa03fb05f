# SPDX-License-Identifier: Apache-2.0
"""Ready addresses, with a real appliance: each is handed out once."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from hub.address_pool import AddressPool
from hub.addresses import new_address
from hub.devnet.config import Dialect
from hub.model import Address, IssuedAddress, OwnAddress
from tests.flows.world import Appliance, World, running_world
from tests.hub.bookkeeping import issued

READY = 4


@pytest.fixture
async def pooled(shared_appliance: Appliance, tmp_path: Path) -> AsyncGenerator[World]:
    async with running_world(
        shared_appliance,
        tmp_path,
        dialect=Dialect.HORNET,
        addresses={"ready": READY},
    ) as world:
        await world.user("alice")
        await world.user("bob")
        yield world


async def ask(world: World, name: str) -> Address:
    return await new_address(
        world.hub.store,
        await world.account(name),
        issuer=world.hub.signer,
        oracle=world.hub.nodes,
        ready=world.hub.pool,
    )


async def test_a_full_pool_answers_without_the_appliance(pooled: World) -> None:
    assert await pooled.hub.pool.tick() == READY
    rows = len(await pooled.appliance.journal())
    addresses = [await ask(pooled, "alice") for _ in range(READY)]
    assert len(set(addresses)) == READY
    assert len(await pooled.appliance.journal()) == rows  # nothing was issued
    assert len(pooled.hub.pool) == 0
    await ask(pooled, "alice")  # an empty pool answers all the same
    assert len(await pooled.appliance.journal()) == rows + 1
    assert await pooled.hub.pool.tick() == READY
    assert await pooled.hub.pool.tick() == 0


async def test_a_ready_address_belongs_to_whoever_got_it(pooled: World) -> None:
    await pooled.hub.pool.tick()
    to_alice, to_bob = await ask(pooled, "alice"), await ask(pooled, "bob")
    owner: OwnAddress = await pooled.own(to_bob)
    assert owner.account_id == (await pooled.account("bob")).account_id
    await pooled.pay_in(to_alice, 100)
    await pooled.pay_in(to_bob, 200)
    await pooled.sweep()
    assert (await pooled.account("alice")).available_i == 100
    assert (await pooled.account("bob")).available_i == 200


async def test_clients_at_once_never_get_the_same_address(pooled: World) -> None:
    await pooled.hub.pool.tick()
    asked = [ask(pooled, name) for name in ("alice", "bob") * READY]
    assert len(set(await asyncio.gather(*asked))) == 2 * READY


async def test_another_program_on_the_same_books_gives_other_addresses(
    pooled: World, tmp_path: Path
) -> None:
    await pooled.hub.pool.tick()
    async with running_world(
        pooled.appliance, tmp_path, dialect=Dialect.HORNET, addresses={"ready": READY}
    ) as other:
        await other.hub.pool.tick()
        given = {await ask(world, "bob") for world in (pooled, other) * READY}
    assert len(given) == 2 * READY


async def test_ready_addresses_of_an_older_generation_are_thrown_away(
    pooled: World,
) -> None:
    issuer = LaterGenerations()
    pool = AddressPool(pooled.hub.store, issuer, pooled.hub.nodes, target=3, lanes=1)
    await pool.tick()
    issuer.generation = 2
    assert pool.take() is not None
    await pool.tick()
    taken = [pool.take() for _ in range(3)]
    assert [one.generation for one in taken if one] == [2, 2, 2]


class LaterGenerations:
    """Issues of whatever generation a test wants."""

    generation = 1

    async def issue(self, user_commitment: str) -> IssuedAddress:
        assert user_commitment == ""  # nobody has asked for it yet
        return replace(issued(), generation=self.generation)
