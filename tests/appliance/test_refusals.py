# SPDX-License-Identifier: Apache-2.0
"""Refusals of a whole appliance: journalled, final, nothing signed."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from appliance.wire import (
    CeremonyReport,
    Deferred,
    Fault,
    IssueAddress,
    RunCeremony,
    Signed,
)
from tests.appliance.box import Box
from tests.appliance.bundles import Coin, Output, bundle, new_address, new_uuid


async def last_refusal(box: Box) -> dict[str, object]:
    payload: dict[str, object] = json.loads((await box.rows("refused"))[-1].payload)
    return payload


async def test_a_refusal_is_journalled_for_both_hashes_and_nothing_is_signed(
    box: Box,
) -> None:
    coin = await box.coin()
    request = bundle([coin])
    moved = [msgspec.structs.replace(request.transactions[0], timestamp_s=5)]
    wrong = msgspec.structs.replace(
        request, transactions=moved + request.transactions[1:]
    )
    refused = await box.refused(wrong)
    assert refused.code == "bundle-hash-mismatch"
    recorded = await last_refusal(box)
    assert recorded["code"] == "bundle-hash-mismatch"
    assert len(set(recorded["final"])) == 2
    assert request.bundle_hash in recorded["final"]
    assert not await box.rows("signed")
    again = await box.refused(request)  # good in itself; its hash was refused
    assert again.code == "bundle-hash-mismatch"
    assert "refused before" in again.message
    await box.expect(bundle([coin]), Signed)  # the key is still good for another


async def test_an_input_that_was_never_issued_is_refused(box: Box) -> None:
    request = bundle([Coin(new_uuid(), new_address())])
    assert (await box.refused(request)).code == "foreign-input"


async def test_an_input_with_another_uuid_is_refused(box: Box) -> None:
    one, two = await box.coin(), await box.coin()
    request = bundle([Coin(two.seed_uuid, one.address)])
    assert (await box.refused(request)).code == "foreign-input"


async def test_an_input_claimed_for_another_generation_is_refused(box: Box) -> None:
    coin = await box.coin()
    rotate = RunCeremony(request_id="c", ceremony="rotate-salt")
    await box.expect(rotate, CeremonyReport, name="operator-1")
    claimed = Coin(coin.seed_uuid, coin.address, generation=2)
    reply = await box.refused(bundle([claimed]))
    assert (reply.code, "issued by generation 1" in reply.message) == (
        "foreign-input",
        True,
    )
    await box.expect(bundle([coin]), Signed)


async def test_a_remainder_that_is_not_ours_is_refused(box: Box) -> None:
    coin = await box.coin()
    request = bundle([coin], [Output(new_address(), 100, own=True)])
    assert (await box.refused(request)).code == "own-output"


async def test_a_remainder_that_has_signed_is_refused(box: Box) -> None:
    coin, spent = await box.coin(), await box.coin()
    await box.expect(bundle([spent]), Signed)
    for own in (True, False):
        request = bundle([coin], [Output(spent.address, 100, own=own)])
        assert (await box.refused(request)).code == "output-spent"


async def test_a_good_remainder_is_no_value_that_leaves(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    configure("policy", "max_outside_per_bundle_i = 40")
    box = Box(folder)
    await box.appliance.check()
    coin, back = await box.coin(), await box.coin()
    outputs = [Output(back.address, 60, own=True), Output(new_address(), 40)]
    await box.expect(bundle([coin], outputs), Signed)
    payload = json.loads((await box.rows("signed"))[-1].payload)
    assert payload["outside_i"] == 40
    await box.close()


async def test_a_full_window_defers_and_the_same_request_succeeds_later(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    configure("policy", "max_outside_per_window_i = 150")
    box = Box(folder)
    await box.appliance.check()
    await box.expect(bundle([await box.coin()]), Signed)
    request = bundle([await box.coin()])
    deferred = await box.expect(request, Deferred)
    assert deferred.code == "window"
    assert not await box.rows("refused")
    box.clock.offset_ms += 86_401_000
    await box.expect(request, Signed)
    await box.close()


async def test_two_bundles_at_once_can_not_both_use_the_last_of_a_window(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    import asyncio  # noqa: PLC0415 - only here

    configure("policy", "max_outside_per_window_i = 150")
    box = Box(folder)
    await box.appliance.check()
    requests = [bundle([await box.coin()]) for _ in range(4)]
    replies = await asyncio.gather(*(box.ask(request) for request in requests))
    assert sum(isinstance(reply, Signed) for reply in replies) == 1
    assert sum(isinstance(reply, Deferred) for reply in replies) == 3
    await box.close()


async def test_presence_without_a_panel_is_deferred_not_approved(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    configure("policy", "presence_above_i = 1")
    box = Box(folder)
    await box.appliance.check()
    deferred = await box.expect(bundle([await box.coin()]), Deferred)
    assert deferred.code == "presence"
    assert not await box.rows("signed")
    await box.close()


async def test_too_many_refusals_are_deferred_and_not_journalled(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    configure("limits", "refusals_per_minute = 3")
    box = Box(folder)
    await box.appliance.check()
    for _ in range(3):
        await box.refused(IssueAddress(request_id="i", seed_uuid="short"))
    request = IssueAddress(request_id="i", seed_uuid="short")
    assert (await box.expect(request, Deferred)).code == "busy"
    assert len(await box.rows("refused")) == 3
    await box.close()


@pytest.mark.parametrize(
    "request_id", ["", "x" * 65, "a\nINFO forged", "a b", "\u00e9"]
)
async def test_a_request_id_can_not_forge_a_log_line(box: Box, request_id: str) -> None:
    reply = await box.ask(IssueAddress(request_id=request_id, seed_uuid=new_uuid()))
    assert isinstance(reply, Fault)
    assert reply.code == "bad-request"
    assert not reply.retry


async def test_a_bundle_of_the_wrong_size_is_no_request(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    configure("limits", "max_transactions = 8\nmax_inputs = 2")
    box = Box(folder)
    await box.appliance.check()
    coins = [await box.coin() for _ in range(4)]
    for wrong in (
        bundle(coins),
        bundle(coins[:3]),
        msgspec.structs.replace(bundle(coins[:1]), transactions=[]),
    ):
        reply = await box.ask(wrong)
        assert isinstance(reply, Fault)
        assert reply.code == "bad-request"
    await box.expect(bundle(coins[:2]), Signed)
    await box.close()


async def test_a_malformed_user_commitment_is_no_request(box: Box) -> None:
    request = IssueAddress(
        request_id="i", seed_uuid=new_uuid(), user_commitment="A" * 64
    )
    reply = await box.ask(request)
    assert isinstance(reply, Fault)
    assert reply.code == "bad-request"


async def test_operators_are_heard_while_everything_is_busy(
    folder: Path, configure: Callable[[str, str], None]
) -> None:
    from appliance.wire import Done, SealNow  # noqa: PLC0415 - only here

    configure("limits", "max_in_flight = 1")
    box = Box(folder)
    await box.appliance.check()
    box.appliance.life.in_flight = 1
    request = IssueAddress(request_id="i", seed_uuid=new_uuid())
    assert (await box.expect(request, Deferred)).code == "busy"
    await box.expect(SealNow(request_id="s", reason="x"), Done, name="operator-1")
    await box.close()
