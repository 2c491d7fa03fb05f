# SPDX-License-Identifier: Apache-2.0
"""The one law: a key never signs two hashes."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.wire import (
    Fault,
    FetchBundle,
    Fetched,
    IssueAddress,
    Issued,
    Refused,
    Signed,
)
from tests.appliance.box import Box
from tests.appliance.bundles import Output, bundle, new_address, new_uuid
from trinary.winternitz import verify


async def test_a_bundle_is_signed_and_verifies(box: Box) -> None:
    coins = [await box.coin() for _ in range(2)]
    request = bundle(coins)
    signed = await box.expect(request, Signed)
    assert [entry.index for entry in signed.signatures] == [0, 2]
    for coin, entry in zip(coins, signed.signatures, strict=True):
        assert verify(
            address=coin.address,
            fragments=entry.fragments,
            bundle_hash=request.bundle_hash,
        )


async def test_a_spent_key_refuses_another_bundle(box: Box) -> None:
    coin = await box.coin()
    first, second = bundle([coin]), bundle([coin])
    await box.expect(first, Signed)
    refused = await box.refused(second)
    assert refused.code == "key-spent"
    assert refused.recorded_bundle_hash == first.bundle_hash


async def test_one_spent_key_among_fresh_ones_spoils_the_bundle(box: Box) -> None:
    spent, fresh = await box.coin(), await box.coin()
    await box.expect(bundle([spent]), Signed)
    assert (await box.refused(bundle([fresh, spent]))).code == "key-spent"
    await box.expect(bundle([fresh]), Signed)


async def test_the_same_request_again_gives_the_same_bytes_after_a_restart(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    box = Box(folder)
    await box.appliance.check()
    request = bundle([await box.coin(), await box.coin()])
    first = await box.expect(request, Signed)
    again = await box.expect(request, Signed)
    head = box.head
    await box.close()
    # A policy that would refuse it anew, and presence that nobody can give.
    configure("policy", "max_outside_per_bundle_i = 1")
    configure("policy", "presence_above_i = 1")
    box = Box(folder)
    await box.appliance.check()
    later = await box.expect(msgspec.structs.replace(request, head=head), Signed)
    assert first.signatures == again.signatures == later.signatures
    fetch = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
    fetched = await box.expect(fetch, Fetched)
    assert fetched.signatures == first.signatures
    assert fetched.transactions == request.transactions
    assert fetched.inputs == request.inputs
    other = await box.coin()
    assert (await box.refused(bundle([other]))).code == "policy-per-bundle"
    await box.close()


async def test_an_unsigned_bundle_can_not_be_fetched(box: Box) -> None:
    reply = await box.ask(FetchBundle(request_id="f", bundle_hash=new_address()))
    assert isinstance(reply, Fault)
    assert reply.code == "unknown-bundle"


async def test_of_two_bundles_at_once_exactly_one_is_signed(box: Box) -> None:
    for _ in range(12):
        coin = await box.coin()
        requests = [bundle([coin]) for _ in range(3)]
        replies = await asyncio.gather(*(box.ask(request) for request in requests))
        kinds = sorted(type(reply).__name__ for reply in replies)
        assert kinds == ["Refused", "Refused", "Signed"]


async def test_the_same_bundle_many_times_at_once_is_one_signature(box: Box) -> None:
    request = bundle([await box.coin()])
    replies = await asyncio.gather(*(box.ask(request) for _ in range(6)))
    assert all(isinstance(reply, Signed) for reply in replies)
    assert len({msgspec.json.encode(reply.signatures) for reply in replies}) == 1
    assert len(await box.rows("signed")) == 1


async def test_an_output_spent_while_the_bundle_was_worked_on_is_refused(
    box: Box,
) -> None:
    """The check of outputs is repeated inside the commit."""
    for _ in range(8):
        payer, receiver = await box.coin(), await box.coin()
        to_receiver = bundle([payer], [Output(receiver.address, 100)])
        from_receiver = bundle([receiver])
        paid, spent = await asyncio.gather(box.ask(to_receiver), box.ask(from_receiver))
        assert isinstance(spent, Signed)
        rows = {
            json.loads(row.payload)["bundle_hash"]: row.sequence
            for row in await box.rows("signed")
        }
        if isinstance(paid, Signed):
            assert rows[to_receiver.bundle_hash] < rows[from_receiver.bundle_hash]
        else:
            assert isinstance(paid, Refused)
            assert paid.code == "output-spent"


async def test_swapped_claims_on_a_signed_bundle_are_a_fault_and_seal_nothing(
    box: Box,
) -> None:
    """A refusal would let the hub release inputs whose signatures are out."""
    request = bundle([await box.coin(), await box.coin()])
    await box.expect(request, Signed)
    one, two = request.inputs
    swapped = [
        msgspec.structs.replace(one, seed_uuid=two.seed_uuid),
        msgspec.structs.replace(two, seed_uuid=one.seed_uuid),
    ]
    wrong = msgspec.structs.replace(request, inputs=swapped)
    fault = await box.expect(wrong, Fault)
    assert (fault.code, fault.retry) == ("already-signed", False)
    assert "foreign-input" in fault.message
    assert (await box.status()).state == "ready"
    await box.expect(request, Signed)


async def test_another_bundle_under_a_signed_hash_is_not_signed(box: Box) -> None:
    request = bundle([await box.coin()])
    await box.expect(request, Signed)
    other = bundle([await box.coin()])
    wrong = msgspec.structs.replace(other, bundle_hash=request.bundle_hash)
    fault = await box.expect(wrong, Fault)
    assert fault.code == "already-signed"
    assert "bundle-hash-mismatch" in fault.message
    await box.expect(request, Signed)
    assert (await box.refused(other)).code == "bundle-hash-mismatch"  # for good


async def test_a_signed_uuid_is_never_issued_again(box: Box) -> None:
    coin = await box.coin()
    again = IssueAddress(request_id="i", seed_uuid=coin.seed_uuid)
    assert (await box.expect(again, Issued)).address == coin.address
    other = msgspec.structs.replace(again, user_commitment="ab" * 32)
    assert (await box.refused(other)).code == "seed-uuid-known"
    await box.expect(bundle([coin]), Signed)
    assert (await box.refused(again)).code == "seed-uuid-known"


async def test_the_canary_is_never_issued_and_never_signs(box: Box) -> None:
    running = box.appliance.life.require_ready()
    canary = running.vault.issuing.canary_uuid
    reply = await box.refused(IssueAddress(request_id="i", seed_uuid=canary))
    assert reply.code == "seed-uuid-known"
    coin = await box.coin()
    request = bundle([coin])
    claim = msgspec.structs.replace(request.inputs[0], seed_uuid=canary)
    wrong = msgspec.structs.replace(request, inputs=[claim])
    assert (await box.refused(wrong)).code == "foreign-input"


async def test_the_same_uuid_issued_many_times_at_once_is_one_address(
    box: Box,
) -> None:
    request = IssueAddress(request_id="i", seed_uuid=new_uuid())
    replies = await asyncio.gather(*(box.ask(request) for _ in range(4)))
    assert len({reply.receipt for reply in replies if isinstance(reply, Issued)}) == 1
    assert len(await box.rows("issued")) == 1


def test_a_second_process_can_not_open_the_journal(folder: Path) -> None:
    """The lock is held by a real other process."""
    script = (
        "import sys, sqlite3, pathlib, appliance.journal as j;"
        "p = pathlib.Path(sys.argv[1]);"
        "k = sqlite3.connect(p).execute('select journal_id from header').fetchone()[0];"
        "x = j.Journal(p, journal_id=k, clock_ms=lambda: 9 * 10 ** 12);"
        "print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(folder / "state" / "journal.db")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout
        assert first.stdout.readline() == "open\n"
        second = subprocess.run(
            command, capture_output=True, text=True, check=False, input=""
        )
        assert "database is locked" in second.stderr
        first.communicate()
    third = subprocess.run(
        command, capture_output=True, text=True, check=False, input=""
    )
    assert third.stdout == "open\n"


def spent_keys(folder: Path) -> list[tuple[str, str]]:
    """Read the guard table itself."""
    with sqlite3.connect(folder / "state" / "journal.db") as database:
        query = "select commitment, bundle_hash from spent_key"
        rows = database.execute(query).fetchall()
    database.close()
    return rows
