# SPDX-License-Identifier: Apache-2.0
"""Tangle, books and appliance compared, on a whole set-up."""

import asyncio
import json
import logging
import secrets
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from hub.devnet.config import Dialect
from hub.model import Address, BundleHash, SweepState
from hub.pow import LocalProofOfWork
from hub.reconciler import SEEN_AFTER_MS, FindingKind
from hub.tangle import Draft, DraftInput, DraftOutput, draft_bundle, finish
from tests.flows.hub_process import HubProcess
from tests.flows.world import (
    MIN_WEIGHT_MAGNITUDE,
    Appliance,
    World,
    hub_table,
    outside_address,
    running_world,
)
from tests.hub.bookkeeping import issued
from trinary.winternitz import address as derive
from trinary.winternitz import sign

LEVEL = 2


async def kinds(world: World) -> list[FindingKind]:
    return [finding.kind for finding in await world.hub.reconciler.whole()]


async def spend_with_a_stolen_key(world: World, amount_i: int) -> tuple[str, Draft]:
    """Give alice an address whose seed somebody else has, who empties it."""
    seed = secrets.token_bytes(48)
    address = Address(derive(seed, level=LEVEL))
    alice = await world.user("alice")
    await world.hub.store.run(
        lambda tx: tx.addresses.add(alice.account_id, issued(address))
    )
    await world.pay_in(address, amount_i)
    draft = draft_bundle(
        [DraftInput(address, amount_i, LEVEL)],
        [DraftOutput(Address(outside_address()), amount_i)],
        timestamp_s=world.clock() // 1000,
    )
    fragments = sign(seed, bundle_hash=draft.bundle_hash, level=LEVEL)
    await world.hub.attachments.attach_signed(finish(draft, {0: fragments}))
    return address, draft


async def test_what_agrees_gives_no_finding(world: World) -> None:
    await world.funded_user("alice", 1_000)
    assert await kinds(world) == []
    await world.sweep()
    await world.withdraw("alice", 10)
    await world.hub.sweeps.tick()
    assert await kinds(world) == []  # a sweep on its way is no difference
    await world.settle()
    assert await kinds(world) == []


@pytest.mark.parametrize("confirmed", [False, True])
async def test_a_spend_we_did_not_sign_pages(
    world: World,
    confirmed: bool,  # noqa: FBT001 - a column of the table
    caplog: pytest.LogCaptureFixture,
) -> None:
    address, draft = await spend_with_a_stolen_key(world, 500)
    if confirmed:
        await world.devnet.tick()
    found = await world.hub.reconciler.whole()
    assert found[0].kind is FindingKind.FOREIGN_SPEND
    assert (found[0].address, found[0].bundle_hash) == (address, draft.bundle_hash)
    expected = [FindingKind.MISSING_VALUE] if confirmed else []
    assert [finding.kind for finding in found[1:]] == expected
    await world.hub.reconciler.tick()
    pages = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert any("a key is known to somebody else" in r.getMessage() for r in pages)


async def test_a_made_up_signature_is_nobody_s_spend(world: World) -> None:
    """It can not confirm and costs a stranger nothing: it must not wake anybody."""
    address = await world.funded_user("alice", 1_000)
    draft = draft_bundle(
        [DraftInput(address, 1_000, LEVEL)],
        [DraftOutput(Address(outside_address()), 1_000)],
        timestamp_s=world.clock() // 1000,
    )
    wrong = sign(secrets.token_bytes(48), bundle_hash=draft.bundle_hash, level=LEVEL)
    work = LocalProofOfWork(
        min_weight_magnitude=MIN_WEIGHT_MAGNITUDE, clock_ms=world.clock
    )
    trunk, branch = await world.hub.nodes.tips(depth=3)
    attached = await work.attach(finish(draft, {0: wrong}), trunk=trunk, branch=branch)
    await world.hub.nodes.send(attached)  # a stranger does: the hub would not
    assert await kinds(world) == []


async def test_a_hub_from_a_backup_finds_what_it_forgot_and_sends_it_again(
    shared_appliance: Appliance, tmp_path: Path
) -> None:
    tls = shared_appliance.folder / "tls"
    auditor = {
        "auditor_certificate": str(tls / "auditor.pem"),
        "auditor_key": str(tls / "auditor.key"),
    }
    async with running_world(
        shared_appliance, tmp_path, dialect=Dialect.HORNET, reconciler=auditor
    ) as world:
        before = {f.bundle_hash for f in await world.hub.reconciler.whole()}
        await world.funded_user("alice", 1_000)
        await world.sweep()
        _, payout = await world.withdraw("alice", 300)
        async with world.hub.store.transaction() as tx:
            await tx.accounts.owner()  # hold the write lock: the file is at rest
            for file in tmp_path.glob("hub.db*"):
                shutil.copy(file, tmp_path / f"backup-{file.name}")
        await world.hub.sweeps.tick()  # signed, and the hub dies before it attaches
        (lost,) = await world.sweeps(SweepState.SIGNED)
        name = lost.plan.bundle_hash
        await world.hub.store.close()
        for file in tmp_path.glob("hub.db*"):
            file.unlink()
        for file in tmp_path.glob("backup-hub.db*"):
            file.rename(tmp_path / file.name.removeprefix("backup-"))
        found = [
            finding
            for finding in await world.hub.reconciler.whole()
            if finding.bundle_hash not in before
        ]
        assert [(f.kind, f.bundle_hash) for f in found] == [
            (FindingKind.SIGNED_UNKNOWN, name)
        ]
        trytes = await world.hub.signer.fetch_trytes(BundleHash(name))
        await world.hub.attachments.attach_signed(trytes)
        await world.devnet.tick()
        assert await world.on_tangle(payout) == 300


async def test_a_sweep_that_no_node_shows_for_long_is_found(world: World) -> None:
    await world.funded_user("alice", 1_000)
    await world.hub.sweeps.tick()
    assert await kinds(world) == []
    world.clock.advance(by_s=SEEN_AFTER_MS / 1000 + 1)
    await world.devnet.tick()  # a fresh milestone
    assert await kinds(world) == [FindingKind.NEVER_SEEN]


async def test_value_that_went_and_value_that_came_are_told_apart(
    world: World,
) -> None:
    address = await world.funded_user("alice", 1_000)
    world.devnet.node.balances[address] = 1_200
    (more,) = await world.hub.reconciler.whole()
    assert (more.kind, more.books_i, more.tangle_i) == (
        FindingKind.UNBOOKED_VALUE,
        1_000,
        1_200,
    )
    world.devnet.node.balances[address] = 800
    assert await kinds(world) == [FindingKind.MISSING_VALUE]
    world.devnet.node.balances[address] = 1_000


async def test_the_commands_tell_people_and_machines(
    iri_world: World, tmp_path: Path
) -> None:
    world = iri_world
    _, draft = await spend_with_a_stolen_key(world, 500)
    late = await world.funded_user("bob", 1_000)
    await world.sweep()
    await world.pay_in(late, 77)
    table = hub_table(world.appliance, [(world.devnet.url, "iri")], tmp_path)
    configuration = HubProcess(table, tmp_path).configuration

    async def run(*command: str) -> tuple[int | None, str, str]:
        program = [sys.executable, "-m", "hub", "--config", str(configuration)]
        process = await asyncio.create_subprocess_exec(
            *program, *command, stdout=PIPE, stderr=PIPE
        )
        said, complained = await process.communicate()
        return process.returncode, said.decode(), complained.decode()

    code, said, complained = await run("--json", "reconcile")
    assert code == 3, complained
    (first, *_) = json.loads(said)
    assert (first["kind"], first["pages"]) == ("foreign-spend", True)
    assert first["bundle_hash"] == draft.bundle_hash
    assert "a key is known to somebody else" in (await run("reconcile"))[1]
    (held,) = json.loads((await run("--json", "quarantine", "list"))[1])
    assert (held["address"], held["amount_i"]) == (late, 77)
    assert held["why"] == "came after its address was spent from"
    assert "RecoverFunds" in (await run("quarantine", "list"))[1]
    number = str(held["deposit_id"])
    code, _, complained = await run("quarantine", "release", "--yes", number)
    assert code == 1
    assert "its deposits are not released" in complained
