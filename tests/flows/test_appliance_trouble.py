# SPDX-License-Identifier: Apache-2.0
"""The appliance away, sealed, slow, deferring, refusing: the hub waits or releases."""

import shutil
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from appliance.wire import (
    ActReport,
    ApproveAct,
    GetStatus,
    PendingActs,
    ProposeAct,
    SealNow,
    Signed,
    StatusReport,
    Unseal,
    act_digest,
)
from hub.errors import ApplianceUnavailableError, FaultError
from hub.model import Address, AddressId, AddressState, SweepState, WithdrawalState
from hub.withdrawals import cancel_withdrawal
from tests.appliance.box import sign_with
from tests.flows.hostile_hub import Coin, HostileHub, pay
from tests.flows.world import (
    Appliance,
    World,
    copy_appliance,
    outside_address,
    running_world,
)

_LONG_WINDOW = "window_s = 3600"


@asynccontextmanager
async def world_with(
    template: Path,
    folder: Path,
    /,
    *policy: str,
    **sections: Any,  # noqa: ANN401 - as running_world takes them
) -> AsyncGenerator[World]:
    """A world of its own whose appliance has limits."""
    appliance = copy_appliance(template, folder / "box")
    appliance.set_policy(*policy)
    appliance.start()
    try:
        await appliance.wait_ready()
        async with running_world(appliance, folder, **sections) as world:
            yield world
        appliance.verify_journal()
    finally:
        appliance.stop()


async def test_while_the_appliance_is_away_nothing_is_lost(own_world: World) -> None:
    world = own_world
    await world.funded_user("alice", 1_000)
    world.appliance.stop()
    with pytest.raises(ApplianceUnavailableError):
        await world.hub.sweeps.tick()
    assert await world.sweeps() == []
    await world.pay_in((await _first_address(world)), 50)  # deposits go on
    world.appliance.start()
    await world.appliance.wait_ready()
    await world.sweep()
    assert (await world.account("alice")).available_i == 1_050


async def test_a_sealed_appliance_signs_nothing_until_two_operators_clear_it(
    own_world: World,
) -> None:
    world = own_world
    await world.funded_user("alice", 1_000)
    async with world.appliance.client("operator-1") as operator:
        await operator.ask(SealNow(request_id="x", reason="drill"))
        with pytest.raises(FaultError, match="sealed"):
            await world.hub.sweeps.tick()
        report = await operator.ask(GetStatus(request_id="x"))
        assert isinstance(report, StatusReport)
        act = Unseal(request_id="", latch_id=report.latch_id)
        proposed = await operator.expect(
            ProposeAct(request_id="x", act=act), PendingActs
        )
        digest = act_digest(proposed.acts[0], journal_id=proposed.journal_id)
        for name in ("operator-1", "operator-2"):
            approval = ApproveAct(
                request_id="x",
                act_id=proposed.acts[0].id,
                signature=sign_with(world.appliance.folder, name, digest),
            )
            await operator.expect(approval, ActReport)
    await world.appliance.wait_ready()
    await world.sweep()
    assert (await world.account("alice")).available_i == 1_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoint",
    ["appliance.sign.received", "appliance.sign.committed", "appliance.sign.signed"],
)
async def test_after_a_time_out_the_very_same_bundle_is_asked_for(
    failpoint: str, template: Path, tmp_path: Path
) -> None:
    """Whether the appliance had signed already or not."""
    hasty: dict[str, object] = {"timeout_s": 1.0}
    async with world_with(template, tmp_path, appliance=hasty) as world:
        await world.funded_user("alice", 1_000)
        async with world.hub.store.reading() as tx:
            owner = await tx.accounts.owner()
        issued = await world.hub.signer.issue("")  # so that only signing is asked
        await world.hub.store.run(lambda tx: tx.addresses.add(owner.account_id, issued))
        await _restart(world, failpoint=failpoint)
        with pytest.raises(ApplianceUnavailableError):
            await world.hub.sweeps.tick()
        (planned,) = await world.sweeps()
        assert planned.state is SweepState.PLANNED
        world.appliance.stop(how=signal.SIGKILL)
        await _restart(world)
        await world.sweep()
        (done,) = await world.sweeps()
        assert (done.state, done.plan) == (SweepState.CONFIRMED, planned.plan)
        assert (await world.account("alice")).available_i == 1_000
        signed = [r for r in await world.appliance.journal() if r.kind == "signed"]
        assert len(signed) == 1


@pytest.mark.slow
async def test_a_signed_bundle_whose_claims_we_no_longer_know_is_fetched(
    template: Path, tmp_path: Path
) -> None:
    """A refusal would release inputs whose signatures are out."""
    hasty: dict[str, object] = {"timeout_s": 1.0}
    async with world_with(template, tmp_path, appliance=hasty) as world:
        await world.funded_user("alice", 1_000)
        async with world.hub.store.reading() as tx:
            owner = await tx.accounts.owner()
        issued = await world.hub.signer.issue("")  # so that only signing is asked
        await world.hub.store.run(lambda tx: tx.addresses.add(owner.account_id, issued))
        await _restart(world, failpoint="appliance.sign.committed")
        with pytest.raises(ApplianceUnavailableError):
            await world.hub.sweeps.tick()
        (planned,) = await world.sweeps()
        async with world.hub.store.transaction() as tx:
            statement = text("UPDATE address SET generation = 99")
            await tx.addresses._connection.execute(statement)
        world.appliance.stop(how=signal.SIGKILL)
        await _restart(world)
        await world.sweep()
        (done,) = await world.sweeps()
        assert (done.state, done.plan) == (SweepState.CONFIRMED, planned.plan)
        assert (await world.account("alice")).available_i == 1_000
        signed = [r for r in await world.appliance.journal() if r.kind == "signed"]
        assert len(signed) == 1


@pytest.mark.slow
async def test_w18_a_deferred_bundle_waits_and_does_not_hold_up_a_smaller_one(
    template: Path, tmp_path: Path
) -> None:
    policy = ("max_outside_per_window_i = 100", _LONG_WINDOW)
    async with world_with(template, tmp_path, *policy) as world:
        for name in ("alice", "bob"):
            await world.funded_user(name, 1_000)
            await world.sweep()
        await world.withdraw("alice", 60)
        await world.sweep()
        large, _ = await world.withdraw("alice", 70)
        await world.hub.sweeps.tick()
        (deferred,) = await world.sweeps(SweepState.PLANNED)
        await world.settle()
        small, _ = await world.withdraw("bob", 20)
        await world.sweep()
        assert (await world.withdrawal(small)).state is WithdrawalState.PAID
        assert (await world.withdrawal(large)).state is WithdrawalState.PLANNED
        await _open_window(world, "max_outside_per_window_i = 1000")
        await world.sweep()
        assert (await world.withdrawal(large)).state is WithdrawalState.PAID
        bundles = [s.plan.bundle_hash for s in await world.sweeps(SweepState.CONFIRMED)]
        assert deferred.plan.bundle_hash in bundles


async def test_w18_a_refused_withdrawal_is_found_out_and_the_others_are_paid(
    template: Path, tmp_path: Path
) -> None:
    async with world_with(
        template, tmp_path, "max_outside_per_bundle_i = 100"
    ) as world:
        await world.funded_user("alice", 500)
        await world.funded_user("bob", 500)
        await world.sweep()
        too_large, lost = await world.withdraw("alice", 150)
        small = [await world.withdraw("bob", 60) for _ in range(2)]
        for _ in range(5):
            await world.sweep()
        assert [await world.on_tangle(payout) for _, payout in small] == [60, 60]
        waiting = await world.withdrawal(too_large)
        assert waiting.state is WithdrawalState.REQUESTED
        await cancel_withdrawal(world.hub.store, too_large)
        assert (await world.account("alice")).available_i == 500
        assert (await world.account("bob")).available_i == 380
        assert await world.on_tangle(lost) == 0


async def test_dust_below_the_policy_s_minimum_holds_up_nobody(
    template: Path, tmp_path: Path
) -> None:
    async with world_with(template, tmp_path, "min_input_i = 50") as world:
        await world.funded_user("dusty", 5)
        await world.funded_user("alice", 500)
        for _ in range(4):
            await world.sweep()
        assert (await world.account("alice")).available_i == 500
        dusty = await world.account("dusty")
        assert (dusty.available_i, dusty.unswept_i) == (0, 5)


async def test_w12_an_input_whose_key_is_spent_is_set_aside_alone(
    own_world: World,
) -> None:
    world = own_world
    odd = await world.own(await world.funded_user("alice", 300))
    await world.funded_user("bob", 200)
    async with HostileHub(world.appliance) as elsewhere:
        coin = Coin(odd.issued.seed_uuid, odd.address, 300)
        remainder = await elsewhere.coin()
        reply = await elsewhere.ask(pay(coin, remainder.address, outside_address()))
        assert isinstance(reply, Signed)
    for _ in range(4):
        await world.sweep()
    assert (await world.account("bob")).available_i == 200
    assert (await world.own(odd.address)).state is AddressState.QUARANTINED
    assert (await world.account("alice")).unswept_i == 300


@pytest.mark.slow
async def test_a_deposit_that_comes_after_the_plan_does_not_stop_the_sweep(
    template: Path, tmp_path: Path
) -> None:
    """The appliance may have signed: only its refusal could release the inputs."""
    policy = ("max_keys_per_window = 1", _LONG_WINDOW)
    async with world_with(template, tmp_path, *policy) as world:
        await world.funded_user("alice", 1_000)
        await world.sweep()  # uses the only key of the window
        address = await world.funded_user("bob", 500)
        await world.hub.sweeps.tick()
        (planned,) = await world.sweeps(SweepState.PLANNED)
        await world.pay_in(address, 7)
        await _open_window(world, "max_keys_per_window = 10")
        await world.sweep()
        bob = await world.account("bob")
        assert (bob.available_i, bob.quarantined_i) == (500, 7)
        (_, last) = await world.sweeps(SweepState.CONFIRMED)
        assert last.plan.bundle_hash == planned.plan.bundle_hash


async def test_a_rolled_back_appliance_is_found_out_by_the_hub_s_head(
    own_world: World,
) -> None:
    """It seals itself at the hub's first request; nothing is signed."""
    world = own_world
    state = world.appliance.folder / "state"
    await world.funded_user("alice", 1_000)
    world.appliance.stop()
    shutil.copytree(state, world.appliance.folder / "older")
    await _restart(world)
    await world.sweep()
    await world.funded_user("bob", 500)
    world.appliance.stop()
    shutil.rmtree(state)
    (world.appliance.folder / "older").rename(state)
    await _restart(world)
    with pytest.raises(FaultError, match=r"head-regression|sealed"):
        await world.hub.sweeps.tick()
    assert (await world.account("bob")).available_i == 0
    assert len(await world.sweeps()) == 1
    async with world.appliance.client("auditor") as auditor:
        report = await auditor.ask(GetStatus(request_id="x"))
        assert isinstance(report, StatusReport)
        assert report.state == "sealed"


async def _open_window(world: World, limit: str) -> None:
    """Let what was deferred pass, as the window's end would, at a moment of ours."""
    world.appliance.stop()
    world.appliance.set_policy(limit, _LONG_WINDOW)
    await _restart(world)


async def _restart(world: World, *, failpoint: str = "") -> None:
    appliance: Appliance = world.appliance
    appliance.stop()
    appliance.environment.clear()
    appliance.start()
    await appliance.wait_ready()
    if failpoint:  # counted from the next request of its kind
        appliance.stop()
        appliance.environment |= {
            "SALTKEEP_FAILPOINT": failpoint,
            "SALTKEEP_FAILPOINT_FILE": str(appliance.folder / "frozen"),
        }
        appliance.start()


async def _first_address(world: World) -> Address:
    async with world.hub.store.reading() as tx:
        (own, *_) = await tx.addresses.after(AddressId(0), limit=1)
    return own.address
