# SPDX-License-Identifier: Apache-2.0
"""Mining at the appliance: the best tag, one search at a time, signing goes on."""

import asyncio
import contextlib
import os
import statistics
import time
from pathlib import Path

import msgspec
import pytest

from appliance.wire import (
    CancelMining,
    Deferred,
    Fault,
    MineBundle,
    MiningReport,
    MiningStatus,
    Refused,
    Signed,
    SignTransfer,
)
from tests.appliance.box import Box
from tests.appliance.bundles import Coin, Output, bundle, new_address
from tests.appliance.door import OPEN, put_policy, spent_coin, with_tag
from trinary.miner import exposure_bits, reach_of
from trinary.trytes import int_from_trytes, trytes_from_int
from trinary.winternitz import used_fragments_contain_13

ENDLESS = 1_000_000_000


@pytest.fixture
async def opened(box: Box) -> Box:
    await put_policy(box, 2, OPEN)
    return box


def search(request: SignTransfer, tries: int) -> MineBundle:
    return MineBundle(
        request_id="m",
        transactions=request.transactions,
        inputs=request.inputs,
        own_outputs=request.own_outputs,
        tries=tries,
    )


async def finished(box: Box, request: MineBundle) -> MiningReport:
    report = await box.expect(request, MiningReport)
    while report.state == "running":
        await asyncio.sleep(0.02)
        status = MiningStatus(request_id="s", job=report.job)
        report = await box.expect(status, MiningReport)
    return report


async def cancelled(box: Box, report: MiningReport) -> MiningReport:
    cancel = CancelMining(request_id="c", job=report.job)
    return await box.expect(cancel, MiningReport)


def best_of_all(
    request: SignTransfer, hashes: list[str], tries: int
) -> tuple[float, str]:
    """Try every tag in Python: the most bits left, and the first tag that does."""
    first = int_from_trytes(request.transactions[0].obsolete_tag)
    found = (-1.0, "")
    for at in range(tries):
        tag = trytes_from_int(first + at, length_trytes=27)
        value = with_tag(request, tag).bundle_hash
        if used_fragments_contain_13(value, level=2):
            continue
        bits = exposure_bits(reach_of([*hashes, value], level=2), level=2)
        if bits > found[0]:
            found = (bits, tag)
    return found


async def test_the_tag_found_is_the_best_of_all(opened: Box) -> None:
    coin, first = await spent_coin(opened)
    request = bundle([coin])
    report = await finished(opened, search(request, 800))
    bits, tag = best_of_all(request, [first.bundle_hash], 800)
    (exposure,) = report.exposures
    assert (report.state, report.tried) == ("done", 800)
    assert (report.obsolete_tag, exposure.bits_after) == (tag, bits)
    assert report.bundle_hash == with_tag(request, tag).bundle_hash
    before = exposure_bits(reach_of([first.bundle_hash], level=2), level=2)
    assert (exposure.index, exposure.signatures) == (0, 1)
    assert exposure.bits_before == before


async def test_of_two_spent_keys_none_has_less_than_the_joint_reach(
    opened: Box,
) -> None:
    one, first = await spent_coin(opened)
    other, second = await spent_coin(opened)
    request = bundle([one, other])
    report = await finished(opened, search(request, 500))
    joint, tag = best_of_all(request, [first.bundle_hash, second.bundle_hash], 500)
    assert report.obsolete_tag == tag
    assert [entry.index for entry in report.exposures] == [0, 2]
    for entry in report.exposures:
        assert entry.bits_after >= joint


async def test_a_bundle_may_be_mined_whose_hash_is_not_fit_to_sign(
    opened: Box,
) -> None:
    coin, _ = await spent_coin(opened)
    request = bundle([coin], with_13=True)
    report = await finished(opened, search(request, 5000))
    assert report.state == "done"
    assert not used_fragments_contain_13(report.bundle_hash, level=2)


async def test_one_search_at_a_time_and_the_same_one_again(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    endless = search(bundle([coin]), ENDLESS)
    report = await opened.expect(endless, MiningReport)
    same = await opened.expect(
        msgspec.structs.replace(endless, request_id="again"), MiningReport
    )
    assert (same.job, same.state) == (report.job, "running")
    other = search(bundle([coin]), 1000)
    assert (await opened.expect(other, Deferred)).code == "busy"
    assert (await cancelled(opened, report)).state == "cancelled"
    assert (await finished(opened, other)).state == "done"
    stale = MiningStatus(request_id="s", job=report.job)
    assert (await opened.expect(stale, Fault)).code == "bad-request"


async def test_progress_is_told_while_it_runs(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    report = await opened.expect(search(bundle([coin]), ENDLESS), MiningReport)
    seen = [report]
    deadline_s = time.monotonic() + 30
    while len({one.tried for one in seen}) < 4 and time.monotonic() < deadline_s:
        await asyncio.sleep(0.05)
        status = MiningStatus(request_id="s", job=report.job)
        seen.append(await opened.expect(status, MiningReport))
    await cancelled(opened, report)
    tried = [one.tried for one in seen]
    bits = [one.exposures[0].bits_after for one in seen if one.exposures]
    assert len(set(tried)) >= 4
    assert tried == sorted(tried)
    assert bits == sorted(bits)


async def test_a_search_ends_with_the_appliance(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    await opened.expect(search(bundle([coin]), ENDLESS), MiningReport)
    async with asyncio.timeout(10):
        await opened.close()


def niceness_of_threads() -> list[int]:
    """Return the niceness of every thread of this process."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            found.append(os.getpriority(os.PRIO_PROCESS, int(thread.name)))
    return found


async def test_signing_goes_on_while_every_core_mines(opened: Box) -> None:
    """The search has the lowest priority on every thread it uses."""
    coins = [await opened.coin() for _ in range(24)]

    async def median_ms(some: list[Coin]) -> float:
        taken = []
        for coin in some:
            began_s = time.perf_counter()
            await opened.expect(bundle([coin]), Signed)
            taken.append((time.perf_counter() - began_s) * 1000)
        return statistics.median(taken)

    spent, _ = await spent_coin(opened)
    alone_ms = await median_ms(coins[:12])
    report = await opened.expect(search(bundle([spent]), ENDLESS), MiningReport)
    most = 0
    for _ in range(200):  # the kernel's threads come and go with each part
        most = max(most, niceness_of_threads().count(19))
        await asyncio.sleep(0.005)
    assert most >= len(os.sched_getaffinity(0))
    mining_ms = await median_ms(coins[12:])
    # On a machine busy with other tests the lowest priority may have got nothing yet.
    status = MiningStatus(request_id="s", job=report.job)
    while not (await opened.expect(status, MiningReport)).tried:
        await asyncio.sleep(0.05)
    stopped = await cancelled(opened, report)
    print(f"{alone_ms:.1f} ms alone, {mining_ms:.1f} ms; {stopped.tried} tags tried")
    assert stopped.tried > 0


async def test_what_can_not_be_mined_is_said_at_once(opened: Box) -> None:
    spent, _ = await spent_coin(opened)
    fresh = await opened.coin()
    for request, code in (
        (search(bundle([fresh]), 10), "bad-request"),
        (search(bundle([spent]), 0), "bad-request"),
        (search(bundle([spent]), ENDLESS + 1), "bad-request"),
    ):
        assert (await opened.expect(request, Fault)).code == code
    foreign = Coin(spent.seed_uuid, new_address())
    for request, code in (
        (search(bundle([foreign]), 10), "foreign-input"),
        (search(bundle([spent], [Output(spent.address, 100)]), 10), "output-to-input"),
    ):
        assert (await opened.expect(request, Refused)).code == code


async def test_a_payout_never_carries_the_counter(opened: Box) -> None:
    spent, _ = await spent_coin(opened)
    request = bundle([spent])
    receiver = request.transactions[2]
    moved = [receiver, *request.transactions[:2]]
    claim = msgspec.structs.replace(request.inputs[0], index=1)
    first = MineBundle(request_id="m", transactions=moved, inputs=[claim], tries=10)
    assert (await opened.expect(first, Refused)).code == "payout-first"


async def test_mining_needs_the_door_open(box: Box) -> None:
    coin, _ = await spent_coin(box)
    for request in (
        search(bundle([coin]), 10),
        MiningStatus(request_id="s", job="x"),
        CancelMining(request_id="c", job="x"),
    ):
        assert (await box.expect(request, Fault)).code == "door-closed"
    by_auditor = search(bundle([coin]), 10)
    reply = await box.expect(by_auditor, Fault, name="auditor")
    assert reply.code == "forbidden"


async def test_a_search_can_be_ended_when_the_door_was_shut_since(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    report = await opened.expect(search(bundle([coin]), ENDLESS), MiningReport)
    await put_policy(opened, 3, "")
    again = search(bundle([coin]), 1)
    assert (await opened.expect(again, Fault)).code == "door-closed"
    assert (await cancelled(opened, report)).state == "cancelled"
