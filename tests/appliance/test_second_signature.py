# SPDX-License-Identifier: Apache-2.0
"""The door for second signatures: two operators, a mined bundle, once.

The hub here is in the wrong hands: it has its certificate, every seed UUID and every
bundle. What it tries is refused with a code of its own, and no key signs.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from appliance.approvals import LIFETIME_MS, Ripe
from appliance.approved import ApprovedAct, require_doors
from appliance.errors import BrokenInvariantError, ForbiddenError, RefusedError
from appliance.intent import Commitment, Transfer, commit, understand
from appliance.interchange import FORMAT
from appliance.journal import Journal, create_journal
from appliance.journal_chain import Chain
from appliance.journal_records import IssuedRecord, Leaving, Spent
from appliance.wire import (
    AcceptHead,
    Act,
    CeremonyReport,
    Deferred,
    ExportSeed,
    Fault,
    FetchBundle,
    Fetched,
    MineBundle,
    OperatorSignature,
    PendingActs,
    ProposeAct,
    Refused,
    Reply,
    RunCeremony,
    Signed,
    SignTransfer,
    act_digest,
    commitment_of,
)
from tests.appliance.box import Box, sign_with
from tests.appliance.bundles import Coin, Output, bundle, new_address, new_uuid
from tests.appliance.door import (
    OPEN,
    anchored,
    killed_at,
    mined,
    put_policy,
    second,
    spent_coin,
    with_tag,
)
from trinary.winternitz import verify

ROOT = Path(__file__).parents[2]
A_TAG = "A" * 27


@pytest.fixture
async def opened(box: Box) -> Box:
    """An appliance whose policy opens the door."""
    await put_policy(box, 2, OPEN)
    return box


async def proposed_by_hub(box: Box, act: Act) -> PendingActs:
    request = ProposeAct(request_id="p", act=act)
    return await box.expect(request, PendingActs, name="hub")


async def ask_hub(box: Box, act: Act) -> Reply:
    return await box.ask(ProposeAct(request_id="p", act=act), name="hub")


async def signed_by_two(box: Box, request: SignTransfer) -> Fetched:
    """Have two operators let a bundle through; the hub fetches it."""
    proposed = await proposed_by_hub(box, second(request))
    assert (await box.approve(proposed, 1)).missing == 1
    assert (await box.approve(proposed, 2)).missing == 0
    fetch = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
    return await box.expect(fetch, Fetched)


async def signatures_of(box: Box, coin: Coin) -> list[str | None]:
    """Read from the journal what a key has signed."""
    running = box.appliance.life.require_running()
    key = commit(coin.seed_uuid)
    found = await box.appliance.life.journal_thread(running.journal.spent_hashes, [key])
    return list(found.get(key, ()))


# --- what it is for ---------------------------------------------------------------


async def test_two_operators_let_a_spent_key_sign_a_mined_bundle(opened: Box) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    assert (await proposed_by_hub(opened, second(request))).acts == proposed.acts
    shown = "\n".join(proposed.acts[0].shown)
    assert "policy 2: at least 70 bits left, at most 2 signatures of a key" in shown
    assert f"input 0: 100 i of {coin.address}, signed before: 1, " in shown
    assert "100 i leave our addresses" in shown
    fetched = await signed_by_two(opened, request)
    assert verify(
        address=coin.address,
        fragments=fetched.signatures[0].fragments,
        bundle_hash=request.bundle_hash,
    )
    assert fetched.transactions == request.transactions
    again = await opened.expect(request, Signed)  # an ordinary hub asks again
    assert again.signatures == fetched.signatures
    await opened.expect(first, Signed)  # and the first bundle, as ever
    assert await signatures_of(opened, coin) == [
        first.bundle_hash,
        request.bundle_hash,
    ]
    reply = await ask_hub(opened, second(request))
    assert isinstance(reply, Fault)
    assert reply.code == "already-signed"
    other = await opened.refused(bundle([coin]))
    assert (other.code, other.recorded_bundle_hash) == ("key-spent", first.bundle_hash)


async def test_the_row_names_purpose_exposure_and_two_approvals(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    fresh = await opened.coin()
    request = await mined(opened, bundle([coin, fresh]))
    await signed_by_two(opened, request)
    row = json.loads((await opened.rows("signed"))[-1].payload)
    assert (row["purpose"], row["n"]) == ("recover-funds", [1, 0])
    ((index, before, after),) = row["bits"]
    assert (index, before > 200, after >= 70) == (0, True, True)
    names = [one["operator"] for one in row["door"]["signatures"]]
    assert names == ["operator-1", "operator-2"]
    await opened.close()
    again = Box(opened.folder)  # the start checks those signatures
    assert await again.appliance.check(), again.appliance.life.unready
    await again.close()


async def test_value_that_leaves_through_the_door_counts_in_the_windows(
    box: Box,
) -> None:
    limits = "[limits]\nmax_outside_per_window_i = 250\n"
    await put_policy(box, 2, limits + OPEN)
    coin, _ = await spent_coin(box)
    await signed_by_two(box, await mined(box, bundle([coin])))
    late = await box.expect(bundle([await box.coin()]), Deferred)
    assert late.code == "window"


async def test_a_window_that_is_full_keeps_the_approvals_for_later(box: Box) -> None:
    limits = "[limits]\nmax_outside_per_window_i = 250\n"
    await put_policy(box, 2, limits + OPEN)
    coin, _ = await spent_coin(box)
    request = await mined(box, bundle([coin]))
    proposed = await proposed_by_hub(box, second(request))
    await box.expect(bundle([await box.coin()]), Signed)  # 200 of 250 are used
    await box.approve(proposed, 1)
    late = await box.expect(box.approval(proposed, 2), Deferred, name="operator-1")
    assert late.code == "window"
    box.clock.offset_ms += LIFETIME_MS - 60_000
    late = await box.expect(box.approval(proposed, 2), Deferred, name="operator-1")
    assert late.code == "window"
    assert len(await signatures_of(box, coin)) == 1


async def test_where_policy_asks_for_presence_and_there_is_no_panel_it_waits(
    box: Box,
) -> None:
    await put_policy(box, 2, OPEN + "presence = true\n")
    coin, _ = await spent_coin(box)
    request = await mined(box, bundle([coin]))
    proposed = await proposed_by_hub(box, second(request))
    await box.approve(proposed, 1)
    for number in (2, 2, 1):
        approval = box.approval(proposed, number)
        late = await box.expect(approval, Deferred, name="operator-2")
        assert late.code == "presence"
    assert len(await signatures_of(box, coin)) == 1


async def test_operators_propose_and_fetch_without_a_hub(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    request = await mined(opened, bundle([coin]), name="operator-1")
    proposed = await opened.propose(second(request))
    await opened.approve(proposed, 2)
    await opened.approve(proposed, 3)
    fetch = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
    await opened.expect(fetch, Fetched, name="operator-1")


# --- a hub in the wrong hands -----------------------------------------------------


async def test_the_door_is_shut_unless_the_policy_opens_it(box: Box) -> None:
    coin, _ = await spent_coin(box)
    act = second(with_tag(bundle([coin]), A_TAG))
    for name in ("hub", "operator-1"):
        request = ProposeAct(request_id="p", act=act)
        reply = await box.expect(request, Fault, name=name)
        assert (reply.code, reply.retry) == ("door-closed", False)
    assert await box.rows("refused") == []  # nothing was decided about the bundle


async def test_no_ordinary_request_gets_a_second_signature(opened: Box) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    await proposed_by_hub(opened, second(request))
    refused = await opened.refused(request)
    assert refused.code == "key-spent"
    assert await signatures_of(opened, coin) == [first.bundle_hash]


async def test_proposing_alone_signs_nothing(opened: Box) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    fetch = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
    assert (await opened.expect(fetch, Fault)).code == "unknown-bundle"
    approval = opened.approval(proposed, 1)
    for body in (approval, second(request)):
        asked = msgspec.structs.replace(body, request_id="x")
        assert (await opened.expect(asked, Fault, name="hub")).code == "forbidden"
    assert await signatures_of(opened, coin) == [first.bundle_hash]


async def test_one_operator_twice_is_one_operator(opened: Box) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    for _ in range(3):
        assert (await opened.approve(proposed, 1)).missing == 1
    assert await signatures_of(opened, coin) == [first.bundle_hash]


async def test_two_last_approvals_at_once_are_one_signature(opened: Box) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    await opened.approve(proposed, 1)
    last = [opened.approval(proposed, number) for number in (2, 3)]
    replies = await asyncio.gather(
        *(opened.ask(one, name="operator-1") for one in last)
    )
    assert sorted(type(reply).__name__ for reply in replies) == ["ActReport", "Fault"]
    assert await signatures_of(opened, coin) == [
        first.bundle_hash,
        request.bundle_hash,
    ]


async def test_a_key_spent_meanwhile_is_not_what_was_approved(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    fresh = await opened.coin()
    request = await mined(opened, bundle([coin, fresh]))
    proposed = await proposed_by_hub(opened, second(request))
    await opened.expect(bundle([fresh]), Signed)
    await opened.approve(proposed, 1)
    approval = opened.approval(proposed, 2)
    refused = await opened.expect(approval, Refused, name="operator-1")
    assert refused.code == "spent-inputs"
    assert len(await signatures_of(opened, coin)) == 1
    assert len(await signatures_of(opened, fresh)) == 1


async def test_a_proposer_who_was_revoked_gets_nothing(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    act = RunCeremony(request_id="c", ceremony="revoke-client", subject="hub")
    await opened.expect(act, CeremonyReport, name="operator-1")
    await opened.approve(proposed, 1)
    approval = opened.approval(proposed, 2)
    reply = await opened.expect(approval, Fault, name="operator-1")
    assert reply.code == "forbidden"
    assert len(await signatures_of(opened, coin)) == 1


async def test_an_approval_of_one_bundle_is_none_of_another(opened: Box) -> None:
    coin, first = await spent_coin(opened)
    one = await mined(opened, bundle([coin]))
    other = await mined(opened, bundle([coin]))
    approved = await proposed_by_hub(opened, second(one))
    attacked = await proposed_by_hub(opened, second(other))
    for number in (1, 2):
        good = opened.approval(approved, number)
        moved = msgspec.structs.replace(good, act_id=attacked.acts[0].id)
        reply = await opened.expect(moved, Fault, name="operator-1")
        assert reply.code == "approval"
    assert await signatures_of(opened, coin) == [first.bundle_hash]


async def test_a_new_policy_voids_what_was_approved_under_the_old_one(
    opened: Box,
) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    await opened.approve(proposed, 1)
    await put_policy(opened, 3, OPEN)
    approval = opened.approval(proposed, 2)
    reply = await opened.expect(approval, Fault, name="operator-1")
    assert reply.code == "unknown-act"
    assert await signatures_of(opened, coin) == [first.bundle_hash]


async def test_a_policy_that_takes_force_after_the_last_approval_still_counts(
    opened: Box,
) -> None:
    """It is judged once more with the journal's lock held."""
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    (pending,) = proposed.acts
    digest = act_digest(pending, journal_id=proposed.journal_id)
    names = ["operator-1", "operator-2"]
    signatures = [sign_with(opened.folder, name, digest) for name in names]
    ripe = Ripe(pending.act, names, signatures, pending)
    await put_policy(opened, 3, OPEN)
    doors = opened.appliance._operators.doors
    with pytest.raises(RefusedError) as caught:
        await doors.pass_by(ripe, opened.operator(1))
    assert caught.value.code == "changed-since-approval"
    assert await signatures_of(opened, coin) == [first.bundle_hash]


async def test_approvals_of_operators_who_are_none_any_more_do_not_count(
    opened: Box,
) -> None:
    """The lines may be the same; the signatures are asked again as well."""
    coin, _ = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    (pending,) = (await proposed_by_hub(opened, second(request))).acts
    policy = opened.appliance.life.require_ready().policy
    for signatures in ((), (OperatorSignature("operator-1", "AAAA"),) * 2):
        approved = ApprovedAct(pending, signatures)
        with pytest.raises(ForbiddenError) as caught:
            approved.require(policy.content, journal_id=policy.journal.journal_id)
        assert caught.value.code == "needs-approvals"


async def test_another_signature_of_the_key_changes_what_was_approved(
    box: Box,
) -> None:
    await put_policy(box, 2, OPEN.replace("70", "1") + "most_signatures = 3\n")
    coin, _ = await spent_coin(box)
    one = await mined(box, bundle([coin]))
    other = await mined(box, bundle([coin]))
    late = await proposed_by_hub(box, second(other))
    await signed_by_two(box, one)
    await box.approve(late, 1)
    approval = box.approval(late, 2)
    refused = await box.expect(approval, Refused, name="operator-1")
    assert refused.code == "changed-since-approval"
    again = await box.refused(other)  # final for that bundle
    assert again.code in {"key-spent", "changed-since-approval"}
    assert len(await signatures_of(box, coin)) == 2


async def test_an_act_is_forgotten_after_an_hour(opened: Box) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    await opened.approve(proposed, 1)
    opened.clock.offset_ms += LIFETIME_MS
    approval = opened.approval(proposed, 2)
    reply = await opened.expect(approval, Fault, name="operator-1")
    assert reply.code == "unknown-act"
    assert await signatures_of(opened, coin) == [first.bundle_hash]


async def test_transactions_changed_after_mining_are_another_bundle(
    opened: Box,
) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    transactions = list(request.transactions)
    transactions[2] = msgspec.structs.replace(transactions[2], address=new_address())
    changed = msgspec.structs.replace(request, transactions=transactions)
    refused = await ask_hub(opened, second(changed))
    assert isinstance(refused, Refused)
    assert refused.code == "bundle-hash-mismatch"
    assert await signatures_of(opened, coin) == [first.bundle_hash]


async def test_an_approval_of_changed_transactions_is_none(opened: Box) -> None:
    """What is approved is the act whole, not the hash it states."""
    coin, _ = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    proposed = await proposed_by_hub(opened, second(request))
    act = msgspec.structs.replace(second(request), purpose="sign-bundle")
    other = msgspec.structs.replace(proposed.acts[0], act=act)
    changed = msgspec.structs.replace(proposed, acts=[other])
    reply = await opened.expect(opened.approval(changed, 1), Fault, name="operator-1")
    assert reply.code == "approval"


async def test_below_the_floor_nothing_is_signed(box: Box) -> None:
    await put_policy(box, 2, OPEN.replace("70", "120"))
    coin, first = await spent_coin(box)
    refused = await ask_hub(box, second(bundle([coin])))
    assert isinstance(refused, Refused)
    assert refused.code == "exposure"
    assert await signatures_of(box, coin) == [first.bundle_hash]


async def test_a_key_signs_only_so_often(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    await signed_by_two(opened, await mined(opened, bundle([coin])))
    third = await mined(opened, bundle([coin]))
    refused = await ask_hub(opened, second(third))
    assert isinstance(refused, Refused)
    assert refused.code == "too-many-signatures"


@pytest.mark.parametrize("stated", [[], [2], [0, 2]])
async def test_a_hub_has_to_say_which_keys_have_signed(
    stated: list[int], opened: Box
) -> None:
    coin, _ = await spent_coin(opened)
    fresh = await opened.coin()
    request = await mined(opened, bundle([coin, fresh]))
    refused = await ask_hub(opened, second(request, stated))
    assert isinstance(refused, Refused)
    assert refused.code == "spent-inputs"


async def test_unspent_keys_need_no_door_and_get_none(opened: Box) -> None:
    coin = await opened.coin()
    refused = await ask_hub(opened, second(bundle([coin]), []))
    assert isinstance(refused, Refused)
    assert refused.code == "spent-inputs"
    assert await signatures_of(opened, coin) == []


async def test_value_may_not_come_back_to_an_address_that_has_signed(
    opened: Box,
) -> None:
    coin, _ = await spent_coin(opened)
    other, _ = await spent_coin(opened)
    to_spent = [Output(other.address, 100)]
    refused = await ask_hub(opened, second(bundle([coin], to_spent)))
    assert isinstance(refused, Refused)
    assert refused.code == "output-spent"
    foreign = [Output(new_address(), 100, own=True)]
    refused = await ask_hub(opened, second(bundle([coin], foreign)))
    assert isinstance(refused, Refused)
    assert refused.code == "own-output"


async def test_limits_hold_at_the_door_too(box: Box) -> None:
    limits = "[limits]\nmax_outside_per_bundle_i = 150\n"
    await put_policy(box, 2, limits + OPEN)
    first = await box.coin()
    await box.expect(bundle([first]), Signed)
    rich = Coin(first.seed_uuid, first.address, amount_i=151)
    request = await mined(box, bundle([rich]))
    refused = await ask_hub(box, second(request))
    assert isinstance(refused, Refused)
    assert refused.code == "policy-per-bundle"


async def test_a_hub_proposes_nothing_else(opened: Box) -> None:
    coin = await opened.coin()
    for act in (
        RunCeremony(request_id="", ceremony="rotate-mac"),
        AcceptHead(request_id="", sequence=1, hash="0" * 64),
        ExportSeed(request_id="", seed_uuid=coin.seed_uuid, generation=1, officer="o"),
    ):
        reply = await ask_hub(opened, act)
        assert isinstance(reply, Fault)
        assert reply.code == "forbidden"


async def test_a_hub_s_acts_do_not_crowd_out_the_operators(opened: Box) -> None:
    coin, _ = await spent_coin(opened)
    base = await mined(opened, bundle([coin]))
    for _ in range(4):
        request = await mined(opened, bundle([coin]))
        await proposed_by_hub(opened, second(request))
    busy = await ask_hub(opened, second(base))
    assert isinstance(busy, Deferred)
    assert busy.code == "busy"
    await opened.propose(RunCeremony(request_id="", ceremony="rotate-mac"))


# --- hashes nobody knows ----------------------------------------------------------


async def import_as_spent(box: Box, coin: Coin) -> None:
    """Have two operators journal a key as spent, for an unknown hash."""
    keys = [{"commitment": commitment_of(coin.seed_uuid), "hashes": "unknown"}]
    text = json.dumps({"format": FORMAT, "network": "devnet", "keys": keys})
    act = RunCeremony(request_id="", ceremony="import-interchange", subject=text)
    proposed = await box.propose(act)
    await box.approve(proposed, 1)
    assert (await box.approve(proposed, 2)).missing == 0


async def test_a_key_with_an_unknown_hash_has_no_bits_left(opened: Box) -> None:
    """So it is after a restore: nothing of before leaves but by a lower floor."""
    coin = await opened.coin()
    await import_as_spent(opened, coin)
    request = bundle([coin])
    refused = await ask_hub(opened, second(request))
    assert isinstance(refused, Refused)
    assert (refused.code, " 0.0 bits" in refused.message) == ("exposure", True)
    assert await signatures_of(opened, coin) == [None]
    mining = MineBundle(
        request_id="m",
        transactions=request.transactions,
        inputs=request.inputs,
        tries=9,
    )
    assert (await opened.expect(mining, Fault)).code == "unknown-hash"
    await put_policy(opened, 3, OPEN.replace("70", "0"))
    fetched = await signed_by_two(opened, bundle([coin]))
    assert await signatures_of(opened, coin) == [None, fetched.bundle_hash]


# --- the second net ---------------------------------------------------------------


class Forged:
    """A door of whoever can write to the journal's file."""

    def __init__(self, row: dict[str, object]) -> None:
        self.row = row

    def pass_with(
        self, _: Transfer, __: Mapping[str, Commitment], ___: Spent
    ) -> dict[str, object]:
        return self.row


def forged_row(names: Sequence[str], bundle_hash: str) -> dict[str, object]:
    act = json.dumps({"kind": "second-signature", "bundle_hash": bundle_hash})
    signatures = [{"operator": name, "signature": "AAAA"} for name in names]
    door = {"id": "0" * 32, "act": act, "proposer": "hub", "expires_ms": 1}
    return {"n": [1], "door": door | {"shown": [], "signatures": signatures}}


def one_key_journal(folder: Path, box_policy: str) -> tuple[Journal, Coin]:
    path = folder / "journal.db"
    ceremony: dict[str, object] = {"step": "init"}
    if box_policy:
        ceremony["policy"] = {"text": box_policy, "signatures": []}
    create_journal(path, journal_id="ab" * 16, now_ms=1, ceremony=ceremony)
    journal = Journal(path, journal_id="ab" * 16, clock_ms=lambda: 2)
    coin = Coin(new_uuid(), new_address())
    record = IssuedRecord(commit(coin.seed_uuid), coin.address, 1, 2, "", "r")
    journal.commit_issue(record, client="hub")
    journal.commit_signature(
        understand(bundle([coin]), levels={1: 2}),
        own={},
        client="hub",
        decide=lambda _: Leaving({}),
    )
    return journal, coin


@pytest.mark.parametrize("names", [[], ["operator-1"], ["operator-1", "operator-1"]])
def test_no_row_of_a_second_signature_without_two_operators(
    names: list[str], template: Path, tmp_path: Path
) -> None:
    policy = (template / "policy.toml").read_text()
    journal, coin = one_key_journal(tmp_path, policy)
    transfer = understand(bundle([coin]), levels={1: 2})
    before = journal.head
    with pytest.raises(BrokenInvariantError):
        journal.commit_signature(
            transfer,
            own={},
            client="hub",
            decide=lambda _: Leaving({}),
            door=Forged(forged_row(names, transfer.bundle_hash)),
        )
    assert journal.head == before
    journal.close()
    Journal(tmp_path / "journal.db", journal_id="ab" * 16, clock_ms=lambda: 2).close()


def test_a_forged_row_of_a_second_signature_is_found_at_the_next_start(
    template: Path, tmp_path: Path
) -> None:
    policy = (template / "policy.toml").read_text()
    journal, coin = one_key_journal(tmp_path, policy)
    transfer = understand(bundle([coin]), levels={1: 2})
    row = forged_row(["operator-1", "operator-2"], transfer.bundle_hash)
    journal.commit_signature(
        transfer,
        own={},
        client="hub",
        decide=lambda _: Leaving({}),
        door=Forged(row),
    )
    journal.close()
    with pytest.raises(BrokenInvariantError, match="not signed by two operators"):
        Journal(tmp_path / "journal.db", journal_id="ab" * 16, clock_ms=lambda: 2)


async def test_an_auditor_checks_the_approvals_on_an_export(
    opened: Box,
) -> None:
    coin, _ = await spent_coin(opened)
    await signed_by_two(opened, await mined(opened, bundle([coin])))
    rows = await opened.rows()
    require_doors(rows)
    chain = Chain()
    chain.take(rows)
    passed = [row for row in rows if '"door"' in row.payload]
    assert passed
    assert [row for row in chain.doors if row.kind == "signed"] == passed
    require_doors(chain.doors)
    place = next(n for n, row in enumerate(rows) if '"door"' in row.payload)
    good = json.loads(rows[place].payload)
    first, second = good["door"]["signatures"]
    for door in (
        good["door"] | {"shown": ["nothing much"]},
        good["door"] | {"signatures": [first, first]},
        good["door"] | {"signatures": [first, second | {"operator": "operator-3"}]},
        good["door"] | {"proposer": "operator-1"},
        {"signatures": [first, second]},
    ):
        text = json.dumps(good | {"door": door})
        forged = msgspec.structs.replace(rows[place], payload=text)
        with pytest.raises(BrokenInvariantError):
            require_doors([*rows[:place], forged, *rows[place + 1 :]])
    other = json.dumps(good | {"bundle_hash": "A" * 81})
    forged = msgspec.structs.replace(rows[place], payload=other)
    with pytest.raises(BrokenInvariantError, match="not what its row did"):
        require_doors([*rows[:place], forged])
    bare = {name: value for name, value in good.items() if name != "door"}
    forged = msgspec.structs.replace(rows[place], payload=json.dumps(bare))
    with pytest.raises(BrokenInvariantError, match="approvals of"):
        require_doors([*rows[:place], forged])


@pytest.mark.parametrize(
    "door",
    [
        None,
        [],
        "x",
        {},
        {"signatures": []},
        forged_row(["a", "b"], "A" * 81)["door"],
        forged_row([], "A" * 81)["door"] | {"act": "{"},  # type: ignore[operator]
        forged_row([], "A" * 81)["door"] | {"signatures": [1]},  # type: ignore[operator]
    ],
)
@pytest.mark.parametrize("has_policy", [True, False])
def test_a_door_that_no_appliance_wrote_is_a_broken_journal(
    door: object, *, has_policy: bool, template: Path, tmp_path: Path
) -> None:
    policy = (template / "policy.toml").read_text()
    journal, coin = one_key_journal(tmp_path, policy if has_policy else "")
    fresh = Coin(new_uuid(), new_address())
    record = IssuedRecord(commit(fresh.seed_uuid), fresh.address, 1, 2, "", "r")
    journal.commit_issue(record, client="hub")
    transfer = understand(bundle([fresh]), levels={1: 2})
    journal.commit_signature(
        transfer,
        own={},
        client="hub",
        decide=lambda _: Leaving({}),
        door=Forged({"door": door}),
    )
    rows = journal.rows(after_sequence=0, limit=10)
    journal.close()
    assert coin
    with pytest.raises(BrokenInvariantError):
        require_doors(rows)
    with pytest.raises(BrokenInvariantError):
        Journal(tmp_path / "journal.db", journal_id="ab" * 16, clock_ms=lambda: 2)


def test_a_door_passed_under_a_policy_that_is_none_is_a_broken_journal(
    tmp_path: Path,
) -> None:
    journal, coin = one_key_journal(tmp_path, "version = ")
    transfer = understand(bundle([coin]), levels={1: 2})
    journal.commit_signature(
        transfer,
        own={},
        client="hub",
        decide=lambda _: Leaving({}),
        door=Forged(forged_row(["operator-1", "operator-2"], transfer.bundle_hash)),
    )
    journal.close()
    with pytest.raises(BrokenInvariantError, match="a policy in it is none"):
        Journal(tmp_path / "journal.db", journal_id="ab" * 16, clock_ms=lambda: 2)


# --- SIGKILL ----------------------------------------------------------------------

KILLED_AT = (
    "act.approved",
    "appliance.sign.received",
    "appliance.sign.derived",
    "appliance.sign.decided",
    "journal.sign.before-insert",
    "journal.sign.before-commit",
    "journal.sign.after-commit",
    "appliance.sign.committed",
    "appliance.sign.signed",
    "appliance.before-reply:3",
)


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", KILLED_AT)
async def test_killed_at_any_step_only_the_approved_bundle_is_ever_signed(
    failpoint: str, opened: Box
) -> None:
    coin, first = await spent_coin(opened)
    request = await mined(opened, bundle([coin]))
    rival = await mined(opened, bundle([coin]))
    await opened.close()
    killed_at(opened.folder, second(request), failpoint)
    box = await anchored(opened.folder)
    done = await signatures_of(box, coin)
    assert done in ([first.bundle_hash], [first.bundle_hash, request.bundle_hash])
    assert (await box.refused(rival)).code == "key-spent"
    if len(done) == 1:  # nobody's approval outlives the process
        fetched = await signed_by_two(box, request)
    else:
        fetch = FetchBundle(request_id="f", bundle_hash=request.bundle_hash)
        fetched = await box.expect(fetch, Fetched)
    again = await box.expect(request, Signed)
    assert again.signatures == fetched.signatures
    assert await signatures_of(box, coin) == [first.bundle_hash, request.bundle_hash]
    await box.close()
