# SPDX-License-Identifier: Apache-2.0
"""Heads, rollback, the seal latch, and what only mends itself."""

import asyncio
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from appliance.errors import BadRequestError, FaultError
from appliance.seal import SealLatch
from appliance.wire import (
    AcceptHead,
    Done,
    Fault,
    GetStatus,
    IssueAddress,
    Issued,
    ProposeAct,
    SealNow,
    Signed,
    TailJournal,
    Unseal,
)
from tests.appliance.box import Box
from tests.appliance.bundles import bundle, new_uuid


async def seal(box: Box, *, name: str = "operator-1") -> str:
    await box.expect(SealNow(request_id="s", reason="drill"), Done, name=name)
    return (await box.status()).latch_id


async def fault(box: Box, request: object, *, name: str = "hub") -> Fault:
    return await box.expect(request, Fault, name=name)


def issue_request() -> IssueAddress:
    return IssueAddress(request_id="i", seed_uuid=new_uuid())


async def reopened(box: Box) -> Box:
    await box.close()
    again = Box(box.folder, box.clock)
    again.head = box.head
    await again.appliance.check()
    return again


# --- heads -------------------------------------------------------------------------


async def test_after_a_restart_nothing_is_signed_until_a_token_confirms_the_head(
    box: Box,
) -> None:
    coin = await box.coin()
    box = await reopened(box)
    request = bundle([coin])
    assert (await fault(box, request)).code == "not-anchored"
    assert (await fault(box, issue_request())).code == "not-anchored"
    status = await box.status()
    assert not status.anchored
    assert status.sequence == -1
    await box.expect(msgspec.structs.replace(request, head=box.head), Signed)
    await box.expect(issue_request(), Issued)
    await box.close()


async def test_an_old_token_is_as_good_as_the_last_one(box: Box) -> None:
    await box.coin()
    old = box.head
    await box.coin()
    box = await reopened(box)
    await box.expect(msgspec.structs.replace(issue_request(), head=old), Issued)
    await box.close()


async def test_an_operator_may_vouch_for_the_head(box: Box) -> None:
    await box.coin()
    box = await reopened(box)
    tail = await box.rows()
    wrong = AcceptHead(request_id="a", sequence=1, hash=tail[0].hash)
    assert (await fault(box, wrong, name="operator-1")).code == "foreign-head"
    assert (await fault(box, issue_request())).code == "not-anchored"
    right = AcceptHead(request_id="a", sequence=2, hash=tail[1].hash)
    await box.expect(right, Done, name="operator-1")
    await box.expect(issue_request(), Issued)
    (_, ceremony) = await box.rows("ceremony")
    assert json.loads(ceremony.payload)["step"] == "accept-head"
    assert ceremony.client == "operator-1"
    await box.close()


@pytest.mark.parametrize(
    "change",
    [
        {"mac": "0" * 64},
        {"mac": ""},
        {"mac": "\u00e9"},
        {"hash": "0" * 64},
        {"sequence": 99},
        {"sequence": 1},
        {"sequence": -1},
        {"sequence": 1 << 80},
        {"epoch": 2},
        {"journal_id": "0" * 32},
    ],
    ids=str,
)
async def test_a_forged_token_is_refused_and_seals_nothing(
    box: Box, change: dict[str, object]
) -> None:
    await box.coin()
    assert box.head
    token = msgspec.structs.replace(box.head, **change)
    request = msgspec.structs.replace(issue_request(), head=token)
    reply = await fault(box, request)
    assert reply.code == "foreign-head"
    assert not reply.retry
    assert (await box.status()).state == "ready"


async def test_a_token_of_another_appliance_is_refused(
    box: Box, tmp_path: Path
) -> None:
    from appliance.pytest_plugin import make_appliance  # noqa: PLC0415 - only here

    other_folder = await asyncio.to_thread(make_appliance, tmp_path / "other")
    other = Box(other_folder.folder)
    await other.appliance.check()
    await other.coin()
    request = msgspec.structs.replace(issue_request(), head=other.head)
    assert (await fault(box, request)).code == "foreign-head"
    await other.close()


async def test_yesterdays_journal_is_found_by_a_token_and_seals(box: Box) -> None:
    coin = await box.coin()
    await box.close()
    state = box.folder / "state"
    shutil.copy(state / "journal.db", box.folder / "yesterday.db")
    box = await reopened(box)
    request = bundle([coin])
    await box.expect(msgspec.structs.replace(request, head=box.head), Signed)
    await box.close()
    shutil.copy(box.folder / "yesterday.db", state / "journal.db")
    box = await reopened(box)
    other = msgspec.structs.replace(bundle([coin]), head=box.head)
    assert (await fault(box, other)).code == "head-regression"
    assert (await box.status()).state == "sealed"
    box = await reopened(box)
    assert (await box.status()).state == "sealed"
    await box.close()


async def test_the_process_itself_finds_a_journal_rolled_back_while_it_was_unready(
    box: Box,
) -> None:
    journal = box.folder / "state" / "journal.db"
    await box.coin()
    await box.appliance.life.restart(box.appliance.life.running, reason="test")
    shutil.copy(journal, box.folder / "yesterday.db")
    assert await box.appliance.check()
    await box.coin()  # still anchored: the process knows the head
    await box.appliance.life.restart(box.appliance.life.running, reason="test")
    shutil.copy(box.folder / "yesterday.db", journal)
    assert not await box.appliance.check()
    status = await box.status()
    assert status.state == "sealed"
    assert "head-regression" in status.reason


async def test_a_clock_stepped_back_seals(box: Box) -> None:
    await box.coin()
    box.clock.offset_ms = -6_000
    assert (await fault(box, issue_request())).code == "clock"
    assert (await box.status()).state == "sealed"


async def test_a_clock_stepped_back_during_a_refusal_seals(box: Box) -> None:
    await box.coin()
    box.clock.offset_ms = -6_000
    reply = await fault(box, IssueAddress(request_id="i", seed_uuid="short"))
    assert reply.code == "clock"
    assert (await box.status()).state == "sealed"


async def test_a_tampered_journal_seals_at_the_start(folder: Path) -> None:
    database = sqlite3.connect(folder / "state" / "journal.db")
    database.execute("update row set payload = '{'")
    database.commit()
    database.close()
    box = Box(folder)
    assert not await box.appliance.check()
    assert (await box.status()).state == "sealed"
    await box.close()


# --- the latch ---------------------------------------------------------------------


async def test_a_sealed_appliance_does_nothing_until_two_operators_agree(
    box: Box,
) -> None:
    request = bundle([await box.coin()])
    await box.expect(request, Signed)
    latch_id = await seal(box)
    assert (await fault(box, request)).code == "sealed"  # not even the same bytes
    assert (await fault(box, issue_request())).code == "sealed"
    box = await reopened(box)
    assert (await box.status()).state == "sealed"
    proposed = await box.propose(Unseal(request_id="", latch_id=latch_id))
    for _ in range(2):  # the same operator counts once
        report = await box.approve(proposed, 1)
        assert report.missing == 1
    wrong = ProposeAct(request_id="a", act=Unseal(request_id="", latch_id="0" * 16))
    assert (await fault(box, wrong, name="operator-2")).code == "bad-request"
    report = await box.approve(proposed, 2)
    assert report.steps == ["unsealed and ready"]
    await box.expect(msgspec.structs.replace(request, head=box.head), Signed)
    unsealed, approved = (
        json.loads(row.payload) for row in (await box.rows("ceremony"))[-2:]
    )
    assert unsealed == {"step": "unseal", "latch_id": latch_id}
    assert approved["operators"] == ["operator-1", "operator-2"]
    again = box.approval(proposed, 1)
    assert (await fault(box, again, name="operator-1")).code == "unknown-act"
    await box.close()


async def test_requests_in_flight_are_held_back_by_a_seal(box: Box) -> None:
    requests = [bundle([await box.coin()]) for _ in range(6)]
    work = [asyncio.create_task(box.ask(request)) for request in requests]
    await asyncio.sleep(0.01)
    await seal(box)
    replies = await asyncio.gather(*work)
    assert any(isinstance(reply, Fault) for reply in replies)
    await box.unseal()
    for request in requests:
        await box.expect(msgspec.structs.replace(request, head=box.head), Signed)
    assert len(await box.rows("signed")) == len(requests)


UNREADABLE = {
    "missing": None,
    "empty": b"",
    "cut short": b'{"seal": nu',
    "no JSON": b"\xff" * 10,
    "an empty seal": b'{"seal": {}}',
    "false": b'{"seal": false}',
    "zero": b'{"seal": 0}',
    "no seal": b"{}",
    "a list": b"[]",
    "more": b'{"seal": null, "more": 1}',
    "an incomplete seal": b'{"seal": {"code": "x"}}',
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_latch_counts_as_sealed(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "latch"
    if content is not None:
        path.write_bytes(content)
    latch = SealLatch(path)
    assert latch.seal
    assert latch.seal.code == "latch-unreadable"
    latch.clear(latch.seal.latch_id)
    assert SealLatch(path).seal is None


def test_a_long_reason_fits_the_latch(tmp_path: Path) -> None:
    path = tmp_path / "latch"
    SealLatch.create(path)
    latch = SealLatch(path)
    latch.close_latch(code="c" * 900, reason='\x00\U0001f511"\\' * 500)
    assert SealLatch(path).seal == latch.seal


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True
    )
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_can_not_keep_the_latch_open(small_disk: Path) -> None:
    path = small_disk / "latch"
    SealLatch.create(path)
    latch = SealLatch(path)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(b"x" * 70_000)
    latch.close_latch(code="drill", reason="full")
    assert SealLatch(path).seal == latch.seal


def test_a_latch_that_can_not_be_written_holds_in_memory_until_it_can(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    path = folder / "latch"
    SealLatch.create(path)
    latch = SealLatch(path)
    folder.rename(tmp_path / "away")
    seal = latch.close_latch(code="drill", reason="no disk")
    assert latch.seal == seal
    with pytest.raises(FaultError):
        latch.clear(seal.latch_id)
    assert latch.seal == seal
    (tmp_path / "away").rename(folder)
    assert SealLatch(path).seal is None
    latch.persist()
    assert SealLatch(path).seal == seal


def test_clearing_without_a_seal_is_no_request(tmp_path: Path) -> None:
    SealLatch.create(tmp_path / "latch")
    with pytest.raises(BadRequestError):
        SealLatch(tmp_path / "latch").clear("")


# --- unready -----------------------------------------------------------------------


async def test_a_state_folder_that_goes_and_comes_back_is_only_unready(
    box: Box,
) -> None:
    await box.coin()
    state, away = box.folder / "state", box.folder / "away"
    state.rename(away)
    assert not await box.appliance.check()
    status = await box.status()
    assert status.state == "unready"
    assert (await fault(box, issue_request())).code == "unready"
    away.rename(state)
    assert await box.appliance.check()
    await box.expect(issue_request(), Issued)


async def test_a_token_that_goes_and_comes_back_is_only_unready(box: Box) -> None:
    await box.coin()
    tokens, away = box.folder / "tokens", box.folder / "away"
    tokens.rename(away)
    assert not await box.appliance.check()
    assert (await box.status()).state == "unready"
    assert (await fault(box, issue_request())).code == "unready"
    away.rename(tokens)
    assert await box.appliance.check()
    await box.expect(issue_request(), Issued)


async def test_a_journal_that_fails_is_opened_anew_and_work_goes_on(box: Box) -> None:
    coin = await box.coin()
    running = box.appliance.life.require_ready()
    running.journal._open = False
    assert (await fault(box, bundle([coin]))).code == "journal"
    assert (await box.status()).state == "unready"
    assert await box.appliance.check()
    await box.expect(bundle([coin]), Signed)
    await box.appliance.life.restart(running, reason="a late failure of the old parts")
    assert (await box.status()).state == "ready"


async def test_a_status_is_given_in_every_state(folder: Path) -> None:
    box = Box(folder)
    assert (await box.status()).state == "starting"
    assert (await fault(box, TailJournal(request_id="t"), name="auditor")).code == (
        "unready"
    )
    await box.appliance.check()
    ready = await box.status()
    assert ready.state == "ready"
    assert ready.identity_key == (folder / "identity.pem").read_text()
    await box.close()
    assert (await box.expect(GetStatus(request_id="s"), type(ready))).state == "unready"


@pytest.mark.parametrize("after", [-1, 1 << 63, 1 << 80])
async def test_an_absurd_row_number_is_no_request(box: Box, after: int) -> None:
    request = TailJournal(request_id="t", after_sequence=after)
    assert (await fault(box, request, name="auditor")).code == "bad-request"


@pytest.mark.parametrize(
    "forged",
    [
        {"step": "recover-journal", "imported": "complete"},
        {"step": "enrol-client", "name": "mine", "role": "operator"},
        {"step": "enrol-panel", "panel": "0" * 16, "counter": 0, "alone": True},
        {"step": "unseal", "latch_id": "0", "panel": "0" * 16, "counter": 7},
    ],
)
async def test_no_other_row_is_made_of_what_was_noted_of_an_unseal(
    box: Box, forged: dict[str, object]
) -> None:
    """The note lies beside the journal without a MAC: a disk's owner may write it."""
    rows = await box.rows("ceremony")
    life = box.appliance.life
    life.note_unseal("operator-1", [forged])
    assert not await box.appliance.check()
    assert life.latch.seal is not None
    assert life.latch.seal.code == "unseal-note"
    await box.unseal()
    steps = [json.loads(row.payload)["step"] for row in await box.rows("ceremony")]
    assert steps[len(rows) :] == ["unseal", "approved"]
