# SPDX-License-Identifier: Apache-2.0
"""Rotating keys and salts on a running appliance, under load and under SIGKILL."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from appliance.pytest_plugin import ApplianceProcess
from appliance.rotation import next_label
from appliance.wire import (
    CeremonyReport,
    Fault,
    GetStatus,
    IssueAddress,
    Issued,
    JournalRow,
    RunCeremony,
    Signed,
    StatusReport,
)
from tests.appliance.box import Box
from tests.appliance.bundles import Coin, bundle, new_uuid
from tests.appliance.killing import anchor, kill_during

ROTATIONS = ("rotate-kek", "rotate-mac", "rotate-identity")
STEPS = (
    "rotate.recorded",
    "rotate.key-made",
    "rotate.prepared",
    "vault.before-rename",
    "vault.after-rename",
    "rotate.switched",
    "journal.ceremony.before-commit",
    "rotate.journalled",
    "rotate.finished",
)
SALT_STEPS = (
    "rotate-salt.sealed",
    "journal.ceremony.before-commit",
    "rotate-salt.journalled",
    "vault.before-rename",
    "vault.after-rename",
    "rotate-salt.switched",
)


def ask(ceremony: str, subject: str = "", *, dry_run: bool = False) -> RunCeremony:
    return RunCeremony(
        request_id="ceremony", ceremony=ceremony, subject=subject, dry_run=dry_run
    )


async def run(box: Box, ceremony: str, subject: str = "") -> CeremonyReport:
    request = ask(ceremony, subject)
    return await box.expect(request, CeremonyReport, name="operator-1")


async def fault(box: Box, ceremony: str, subject: str = "") -> str:
    request = ask(ceremony, subject)
    return (await box.expect(request, Fault, name="operator-1")).message


def labels(folder: Path) -> set[str]:
    """Return the labels of HSM keys the vault file names."""
    document = json.loads((folder / "state" / "vault.json").read_text())
    content = json.loads(base64.b64decode(document["content"]))
    return {
        content["mac_key_label"],
        content["head_key"]["kek_label"],
        content["identity_label"],
    }


@pytest.mark.parametrize("ceremony", ROTATIONS)
async def test_a_rotation_replaces_the_key_and_everything_still_opens(
    box: Box, ceremony: str
) -> None:
    before = labels(box.folder)
    coin = await box.coin()
    report = await run(box, ceremony)
    assert report.done
    after = labels(box.folder)
    (old,), (new,) = before - after, after - before
    assert new == next_label(old)
    await box.expect(bundle([coin, await box.coin()]), Signed)
    restarted = Box(box.folder)
    await box.close()
    assert await restarted.appliance.check()
    await restarted.close()


async def test_a_dry_run_says_the_steps_and_does_nothing(box: Box) -> None:
    before = labels(box.folder)
    for ceremony in (*ROTATIONS, "rotate-salt"):
        report = await box.expect(
            ask(ceremony, dry_run=True), CeremonyReport, name="operator-1"
        )
        assert not report.done
        assert report.steps[0].startswith("1. ")
    assert labels(box.folder) == before
    assert len(await box.rows("ceremony")) == 1
    assert (await box.status()).generations == ["1"]


async def test_the_old_key_is_destroyed_only_by_its_own_command(box: Box) -> None:
    (old,) = {label for label in labels(box.folder) if "-kek-" in label}
    assert "is in force" in await fault(box, "destroy-key", old)
    await run(box, "rotate-kek")
    await run(box, "destroy-key", old)
    assert "found 0" in await fault(box, "destroy-key", old)
    assert "no retired key" in await fault(box, "destroy-key", "somebody-elses-key")
    await box.expect(bundle([await box.coin()]), Signed)


async def test_a_vault_of_before_the_rotation_dies_with_the_old_key(box: Box) -> None:
    vault = box.folder / "state" / "vault.json"
    yesterday = vault.read_bytes()
    (old,) = {label for label in labels(box.folder) if "-kek-" in label}
    await run(box, "rotate-kek")
    await run(box, "destroy-key", old)
    await box.close()
    vault.write_bytes(yesterday)
    restarted = Box(box.folder)
    assert not await restarted.appliance.check()
    assert restarted.appliance.life.state == "unready"
    await restarted.close()


async def test_every_retired_key_can_be_destroyed(box: Box) -> None:
    before = labels(box.folder)
    for ceremony in ROTATIONS:
        await run(box, ceremony)
    for old in before:
        assert (await run(box, "destroy-key", old)).done
    await box.expect(bundle([await box.coin()]), Signed)


async def test_a_new_generation_issues_and_the_old_one_still_signs(box: Box) -> None:
    old = await box.coin()
    await run(box, "rotate-salt")
    uuid = new_uuid()
    issued = await box.expect(IssueAddress(request_id="i", seed_uuid=uuid), Issued)
    assert issued.generation == 2
    fresh = Coin(uuid, issued.address, 100, issued.generation)
    await box.expect(bundle([old, fresh]), Signed)
    await run(box, "retire", "1")
    assert (await box.status()).generations == ["1 (retired)", "2"]
    assert "only one" in await fault(box, "retire", "2")
    assert "does not issue" in await fault(box, "retire", "1")


async def test_a_retired_generation_still_signs_after_a_restart(box: Box) -> None:
    old = await box.coin()
    await run(box, "rotate-salt")
    await run(box, "retire", "1")
    head = box.head
    await box.close()
    restarted = Box(box.folder)
    restarted.head = head
    assert await restarted.appliance.check()
    await restarted.expect(GetStatus(request_id="s", head=head), StatusReport)
    await restarted.expect(bundle([old]), Signed)
    await restarted.close()


async def test_the_canary_of_a_new_generation_is_never_issued(box: Box) -> None:
    await run(box, "rotate-salt")
    running = box.appliance.life.running
    assert running is not None
    canary = running.vault.generations[2].canary_uuid
    reply = await box.refused(IssueAddress(request_id="i", seed_uuid=canary))
    assert reply.code == "seed-uuid-known"


async def test_a_vault_of_before_a_generation_that_issued_is_found(box: Box) -> None:
    vault = box.folder / "state" / "vault.json"
    yesterday = vault.read_bytes()
    await run(box, "rotate-salt")
    await box.coin()
    await box.close()
    vault.write_bytes(yesterday)
    restarted = Box(box.folder)
    assert not await restarted.appliance.check()
    assert "vault-regression" in (await restarted.status()).reason
    assert restarted.appliance.life.state == "sealed"
    await restarted.close()


async def test_a_generation_s_number_is_never_given_twice(box: Box) -> None:
    vault = box.folder / "state" / "vault.json"
    yesterday = vault.read_bytes()
    await run(box, "rotate-salt")
    head = box.head
    await box.close()
    vault.write_bytes(yesterday)  # before anything was issued: nothing is lost
    restarted = Box(box.folder)
    assert await restarted.appliance.check()
    await restarted.expect(GetStatus(request_id="s", head=head), StatusReport)
    await run(restarted, "rotate-salt")
    assert (await restarted.status()).generations == ["1", "3"]
    await restarted.close()


async def test_only_operators_may_run_ceremonies(box: Box) -> None:
    for name in ("hub", "auditor"):
        reply = await box.expect(ask("rotate-kek"), Fault, name=name)
        assert reply.code == "forbidden"
    assert "no ceremony" in await fault(box, "make-coffee")


async def test_rotations_under_signing_load_fail_no_request(box: Box) -> None:
    coins = [await box.coin() for _ in range(24)]
    requests = [bundle([coin]) for coin in coins]
    rotated = asyncio.Event()

    async def sign(turn: int) -> int:
        count = 0
        while not rotated.is_set() or count == 0:
            await box.expect(requests[turn], Signed)
            await box.coin()
            count += 1
        return count

    workers = [asyncio.create_task(sign(turn)) for turn in range(8)]
    for ceremony in (*ROTATIONS, "rotate-salt", *ROTATIONS):
        assert (await run(box, ceremony)).done
    rotated.set()
    assert sum(await asyncio.gather(*workers)) >= len(workers)
    hashes = [
        json.loads(row.payload)["bundle_hash"] for row in await box.rows("signed")
    ]
    assert len(hashes) == len(set(hashes)) == len(workers)


async def test_abandon_takes_back_only_what_is_not_in_force(box: Box) -> None:
    assert "no rotation" in await fault(box, "abandon")
    rotations = box.appliance._custody.rotations
    record = rotations.plan("rotate-kek")
    rotations._write_record(record)
    rotations._make_key(record.changes[0])
    assert (await box.status()).rotation == "rotate-kek"
    assert "is under way" in await fault(box, "rotate-mac")
    await run(box, "abandon")
    assert (await box.status()).rotation == ""
    assert (await run(box, "rotate-mac")).done


# --- SIGKILL ----------------------------------------------------------------------


async def finish(process: ApplianceProcess, ceremony: str) -> list[JournalRow]:
    """Restart, run the ceremony to its end, sign, and return the ceremony rows."""
    process.start()
    async with process.client("operator-1") as operator:
        status = await anchor(process)
        assert status.state == "ready"
        if status.rotation or ceremony == "rotate-salt":
            await operator.expect(ask(ceremony), CeremonyReport)
        status = await operator.expect(GetStatus(request_id="s"), StatusReport)
        assert status.rotation == ""
        rows = [row for row in await operator.journal() if row.kind == "ceremony"]
    async with process.client("hub") as hub:
        uuid = new_uuid()
        issued = await hub.expect(IssueAddress(request_id="i", seed_uuid=uuid), Issued)
        coin = Coin(uuid, issued.address, 100, issued.generation)
        await hub.expect(bundle([coin]), Signed)
    process.stop()
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", STEPS)
@pytest.mark.parametrize("ceremony", ROTATIONS)
async def test_a_rotation_killed_at_any_step_goes_on_after_a_restart(
    process: ApplianceProcess, ceremony: str, failpoint: str, tmp_path: Path
) -> None:
    before = labels(process.folder)
    await kill_during(process, ask(ceremony), failpoint, tmp_path / "reached")
    rows = await finish(process, ceremony)
    after = labels(process.folder)
    assert len(before - after) == 1
    assert [json.loads(row.payload)["step"] for row in rows].count(ceremony) >= 1
    assert not (process.folder / "state" / "rotation.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", SALT_STEPS)
async def test_a_salt_rotation_killed_at_any_step_leaves_a_sound_vault(
    process: ApplianceProcess, failpoint: str, tmp_path: Path
) -> None:
    await kill_during(process, ask("rotate-salt"), failpoint, tmp_path / "reached")
    await finish(process, "rotate-salt")
