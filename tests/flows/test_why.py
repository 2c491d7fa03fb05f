# SPDX-License-Identifier: Apache-2.0
"""What a withdrawal waits for, told by a hub whose nodes and appliance are real."""

import asyncio
import json
from pathlib import Path

import pytest

from appliance.wire import SealNow
from hub.errors import FaultError, NodeUnavailableError
from hub.explanation import Explanation, Look, Standing
from hub.model import SweepState, UserId, WithdrawalUuid
from hub.withdrawal_rules import WithdrawalRules
from hub.withdrawals import WithdrawalWish, request_withdrawal
from tests.flows.test_appliance_trouble import world_with
from tests.flows.test_program import program, run
from tests.flows.world import Appliance, World, outside_address, running_world


async def why(world: World, uuid: WithdrawalUuid) -> Explanation:
    await world.hub.surroundings.tick()
    return await world.hub.explainer.withdrawal(uuid)


async def test_nodes_that_are_not_synchronised(iri_world: World) -> None:
    world = iri_world
    await world.funded_user("alice", 1_000)
    await world.sweep()
    uuid, _ = await world.withdraw("alice", 100)
    world.trouble("unsynced")
    with pytest.raises(NodeUnavailableError):
        await world.hub.sweeps.tick()
    found = await why(world, uuid)
    assert (found.code, found.look) == ("nodes-unsynced", Look.NODES)
    assert world.devnet.url in found.detail
    world.trouble("unsynced", value=False)
    assert (await why(world, uuid)).code == "queue"
    await world.sweep()
    assert (await why(world, uuid)).code == "confirmed"


async def test_a_policy_that_refuses_it(template: Path, tmp_path: Path) -> None:
    async with world_with(
        template, tmp_path, "max_outside_per_bundle_i = 100"
    ) as world:
        await world.funded_user("alice", 500)
        await world.sweep()
        uuid, _ = await world.withdraw("alice", 150)
        for _ in range(3):
            await world.sweep()
        found = await why(world, uuid)
        assert (found.code, found.look) == ("refused:policy-per-bundle", Look.SWEEP)
        assert "150" in found.detail
        assert "tried alone" in found.detail
        refused = await world.sweeps(SweepState.REFUSED)
        assert found.subject in {one.plan.bundle_hash for one in refused}


async def test_an_appliance_that_is_sealed(own_world: World) -> None:
    world = own_world
    await world.funded_user("alice", 1_000)
    await world.sweep()
    uuid, _ = await world.withdraw("alice", 100)
    async with world.appliance.client("operator-1") as operator:
        await operator.ask(SealNow(request_id="x", reason="a drill"))
    with pytest.raises(FaultError, match="sealed"):
        await world.hub.sweeps.tick()
    found = await why(world, uuid)
    assert (found.code, found.look) == ("appliance-sealed", Look.APPLIANCES)
    assert "a drill" in found.detail
    assert "saltkeep-appliance unseal " in found.cure
    assert "LATCH_ID" not in found.cure


async def test_an_approval_that_nobody_gave(iri_world: World) -> None:
    world = iri_world
    await world.funded_user("alice", 1_000)
    await world.sweep()
    wish = WithdrawalWish(
        user_id=UserId("alice"), amount_i=100, payout_address=outside_address()
    )
    rules = WithdrawalRules(approve_above_i=99)
    uuid = await request_withdrawal(
        world.hub.store, world.hub.nodes, wish, rules=rules, maker="key-of-support"
    )
    found = await why(world, uuid)
    assert (found.code, found.look) == ("awaiting-approval", Look.APPROVALS)
    assert "key-of-support" in found.detail


async def test_a_bundle_that_no_node_confirms(iri_world: World) -> None:
    world = iri_world
    await world.funded_user("alice", 1_000)
    await world.sweep()
    uuid, _ = await world.withdraw("alice", 100)
    world.trouble("stalled-confirmation")
    await world.sweep()
    (attached,) = await world.sweeps(SweepState.ATTACHED)
    found = await why(world, uuid)
    assert (found.code, found.standing) == ("unconfirmed", Standing.MOVING)
    assert (found.look, found.subject) == (Look.SWEEP, attached.plan.bundle_hash)
    assert "Attached once" in found.detail
    world.trouble("stalled-confirmation", value=False)


async def test_a_deferral_is_told_until_it_is_signed(
    template: Path, tmp_path: Path
) -> None:
    policy = ("max_outside_per_window_i = 100", "window_s = 3600")
    async with world_with(template, tmp_path, *policy) as world:
        await world.funded_user("alice", 1_000)
        await world.sweep()
        first, _ = await world.withdraw("alice", 60)
        await world.sweep()
        assert (await why(world, first)).code == "confirmed"
        second, _ = await world.withdraw("alice", 70)
        await world.sweep()
        found = await why(world, second)
        assert found.code == "appliance-deferred:window"
        since_ms = found.since_ms
        world.clock.advance(by_s=60)
        await world.hub.sweeps.tick()
        assert (await why(world, second)).since_ms == since_ms
        world.appliance.stop()
        world.appliance.set_policy("max_outside_per_window_i = 1000", "window_s = 3600")
        world.appliance.start()
        await world.appliance.wait_ready()
        await world.sweep()
        (signed,) = [
            one
            for one in await world.sweeps(SweepState.CONFIRMED, SweepState.ATTACHED)
            if one.sweep_id == (await world.withdrawal(second)).sweep_id
        ]
        assert signed.hindrance is None


@pytest.mark.slow
async def test_the_command_asks_nodes_and_appliance_itself(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    """No hub runs beside it."""
    uuid, bundle = "", ""
    async with running_world(shared_appliance, tmp_path) as world:
        await world.funded_user("alice", 1_000)
        await world.sweep()
        (done,) = await world.sweeps()
        bundle = done.plan.bundle_hash
        uuid, _ = await world.withdraw("alice", 100)
        node = world.devnet.url
    hub = program(tmp_path, shared_appliance, node)  # nobody is there any more
    told = await asyncio.to_thread(run, hub, "why", uuid)
    assert told.returncode == 0, told.stderr
    assert "(nodes-unsynced)" in told.stdout
    assert "what to do: Mend the nodes" in told.stdout
    told = await asyncio.to_thread(run, hub, "--json", "why", bundle)
    assert json.loads(told.stdout)["code"] == "confirmed"
    assert json.loads(told.stdout)["standing"] == "done"
    told = await asyncio.to_thread(run, hub, "why", "neither")
    assert told.returncode == 1
    assert "withdrawal-unknown" in told.stderr
