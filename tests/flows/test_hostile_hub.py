# SPDX-License-Identifier: Apache-2.0
"""What a taken-over hub asks for is refused with its own code; nothing is signed."""

import json
from collections.abc import AsyncGenerator

import msgspec
import pytest

from appliance.wire import (
    AcceptHead,
    ApproveAct,
    ExportSeed,
    Fault,
    FetchBundle,
    GetPolicy,
    GetStatus,
    HeadToken,
    IssueAddress,
    LegacyAddress,
    ListActs,
    MineBundle,
    OperatorSignature,
    ProposeAct,
    Request,
    SealNow,
    SecondSignature,
    SetPolicy,
    SignBlind,
    Signed,
    StatusReport,
    TailJournal,
    Unseal,
)
from tests.flows.hostile_hub import (
    ATTACKS,
    HostileHub,
    new_seed_uuid,
    pay,
    rehashed,
)
from tests.flows.world import Appliance, outside_address


@pytest.fixture
async def hostile(shared_appliance: Appliance) -> AsyncGenerator[HostileHub]:
    async with HostileHub(shared_appliance) as hub:
        await hub.ask(GetStatus(request_id="head"))
        yield hub
        report = await hub.ask(GetStatus(request_id="after"))
        assert isinstance(report, StatusReport)
        assert report.state == "ready"  # no attack stops the appliance


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_bundle_with(name: str, hostile: HostileHub) -> None:
    code, attack = ATTACKS[name]
    payment = await hostile.payment()
    before = await hostile.signed_count()
    refused = await hostile.refused(attack(payment))
    assert refused.code == code
    assert await hostile.signed_count() == before


async def test_a_refused_hash_stays_refused_and_the_key_stays_usable(
    hostile: HostileHub,
) -> None:
    payment = await hostile.payment()
    _, attack = ATTACKS["another payout value under the stated hash"]
    await hostile.refused(attack(payment))
    await hostile.refused(payment.request)  # the stated hash is final, too
    again = await hostile.payment(coin=payment.coin, remainder=payment.remainder)
    assert isinstance(await hostile.ask(again.request), Signed)


async def test_a_second_hash_for_a_spent_key_is_refused_and_the_first_is_told(
    hostile: HostileHub,
) -> None:
    first = await hostile.payment()
    assert isinstance(await hostile.ask(first.request), Signed)
    before = await hostile.signed_count()
    second = await hostile.payment(coin=first.coin)
    refused = await hostile.refused(second.request)
    assert refused.code == "key-spent"
    assert refused.recorded_bundle_hash == first.request.bundle_hash
    assert await hostile.signed_count() == before


async def test_the_same_request_gives_the_same_bytes(hostile: HostileHub) -> None:
    payment = await hostile.payment()
    first = await hostile.ask(payment.request)
    second = await hostile.ask(payment.request)
    assert isinstance(first, Signed)
    assert isinstance(second, Signed)
    assert first.signatures == second.signatures


async def test_a_remainder_on_a_signed_address_is_refused(hostile: HostileHub) -> None:
    spent = await hostile.payment()
    assert isinstance(await hostile.ask(spent.request), Signed)
    before = await hostile.signed_count()
    payment = await hostile.payment(remainder=spent.coin)
    assert (await hostile.refused(payment.request)).code == "output-spent"
    undeclared = msgspec.structs.replace(payment.request, own_outputs=[])
    assert (await hostile.refused(undeclared)).code == "output-spent"
    assert await hostile.signed_count() == before


async def test_a_known_seed_uuid_is_not_issued_with_other_content(
    hostile: HostileHub,
) -> None:
    coin = await hostile.coin()
    other = IssueAddress(
        request_id="again", seed_uuid=coin.seed_uuid, user_commitment="a" * 64
    )
    assert (await hostile.refused(other)).code == "seed-uuid-known"


async def test_a_spent_seed_uuid_is_not_issued_again(hostile: HostileHub) -> None:
    payment = await hostile.payment()
    assert isinstance(await hostile.ask(payment.request), Signed)
    again = IssueAddress(request_id="again", seed_uuid=payment.coin.seed_uuid)
    assert (await hostile.refused(again)).code == "seed-uuid-known"


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "sign-transfer", "bundle_hash": "A" * 81, "inputs": []},
        {"kind": "sign-hash", "hash": "A" * 81, "seed_uuid": "A" * 64},
        {"kind": "sign-bundle", "bundle_hash": "A" * 81, "seed_uuid": "A" * 64},
        {
            "kind": "sign-transfer",
            "bundle_hash": "A" * 81,
            "transactions": [],
            "inputs": [{"index": 0, "seed_uuid": "A" * 64, "generation": 1}],
            "own_outputs": [],
        },
        {"kind": "issue-address", "seed_uuid": "A" * 64, "hash": "A" * 81},
    ],
    ids=lambda fields: f"{fields['kind']}-{len(fields)}",
)
async def test_no_request_reaches_a_bare_hash(
    fields: dict[str, object], hostile: HostileHub
) -> None:
    before = await hostile.signed_count()
    reply = await hostile.ask_raw(json.dumps({"request_id": "x", **fields}).encode())
    assert isinstance(reply, Fault)
    assert reply.code == "bad-request"
    assert await hostile.signed_count() == before


async def test_fetching_what_was_never_signed_signs_nothing(
    hostile: HostileHub,
) -> None:
    payment = await hostile.payment()
    fetch = FetchBundle(request_id="x", bundle_hash=payment.request.bundle_hash)
    assert (await hostile.fault(fetch)).code == "unknown-bundle"


async def test_an_old_head_token_is_no_lever(hostile: HostileHub) -> None:
    """It says less than the appliance knows: it is taken, and changes nothing."""
    old = hostile.client.head
    assert old is not None
    payment = await hostile.payment()
    assert isinstance(await hostile.ask(payment.request), Signed)
    again = await hostile.payment(coin=payment.coin)
    with_old = msgspec.structs.replace(again.request, head=old)
    assert (await hostile.refused(with_old)).code == "key-spent"


@pytest.mark.parametrize("field", ["sequence", "hash", "mac", "journal_id", "epoch"])
async def test_a_forged_head_is_refused_and_seals_nothing(
    field: str, hostile: HostileHub
) -> None:
    head = hostile.client.head
    assert head is not None
    forged: dict[str, object] = {
        "sequence": head.sequence + 1000,
        "hash": "0" * 64,
        "mac": "0" * 64,
        "journal_id": "0" * 32,
        "epoch": head.epoch + 1,
    }
    token: HeadToken = msgspec.structs.replace(head, **{field: forged[field]})
    payment = await hostile.payment()
    before = await hostile.signed_count()
    request = msgspec.structs.replace(payment.request, head=token)
    assert (await hostile.fault(request)).code == "foreign-head"
    assert await hostile.signed_count() == before


@pytest.mark.parametrize(
    "request_",
    [
        TailJournal(request_id="x"),
        SealNow(request_id="x", reason="gone"),
        Unseal(request_id="x", latch_id="x"),
        ProposeAct(request_id="x", act=Unseal(request_id="", latch_id="x")),
        ListActs(request_id="x"),
        ApproveAct(
            request_id="x", act_id="x", signature=OperatorSignature("operator-1", "")
        ),
        SetPolicy(request_id="x", text="", signatures=[]),
        GetPolicy(request_id="x"),
        AcceptHead(request_id="x", sequence=1, hash="0" * 64),
        SignBlind(request_id="x", seed_uuid="A" * 64, bundle_hash="A" * 81),
        LegacyAddress(request_id="x", seed_uuid="A" * 64),
    ],
    ids=lambda request: type(request).__name__,
)
async def test_the_hub_s_certificate_opens_no_door_of_operators_or_auditors(
    request_: Request, hostile: HostileHub
) -> None:
    assert (await hostile.fault(request_)).code == "forbidden"


async def test_the_doors_stay_shut_to_the_hub_s_certificate(
    hostile: HostileHub,
) -> None:
    """No policy opens them here: neither mining nor proposing gets anywhere."""
    payment = await hostile.payment()
    await hostile.ask(payment.request)
    again = pay(payment.coin, payment.remainder.address, outside_address())
    before = await hostile.signed_count()
    act = SecondSignature(
        request_id="x",
        purpose="recover-funds",
        transactions=again.transactions,
        bundle_hash=again.bundle_hash,
        inputs=again.inputs,
        spent_inputs=[0],
        own_outputs=again.own_outputs,
    )
    mining = MineBundle(
        request_id="x", transactions=again.transactions, inputs=again.inputs, tries=1
    )
    export = ExportSeed(
        request_id="x",
        seed_uuid=payment.coin.seed_uuid,
        generation=1,
        officer="mallory",
    )
    for request, code in (
        (ProposeAct(request_id="x", act=act), "door-closed"),
        (mining, "door-closed"),
        (act, "forbidden"),
        (export, "forbidden"),
        (ProposeAct(request_id="x", act=export), "forbidden"),
    ):
        assert (await hostile.fault(request)).code == code
    assert (await hostile.refused(again)).code == "key-spent"
    assert await hostile.signed_count() == before


@pytest.mark.parametrize("name", ["operator-1", "auditor"])
async def test_other_certificates_neither_issue_nor_sign(
    name: str, hostile: HostileHub
) -> None:
    payment = await hostile.payment()
    before = await hostile.signed_count()
    async with hostile.appliance.client(name) as other:
        for request in (
            payment.request,
            IssueAddress(request_id="x", seed_uuid=new_seed_uuid()),
        ):
            reply = await other.ask(request)
            assert isinstance(reply, Fault)
            assert reply.code == "forbidden"
        fetch = FetchBundle(request_id="x", bundle_hash="A" * 81)
        reply = await other.ask(fetch)  # an operator may see what is signed
        assert isinstance(reply, Fault)
        expected = {"operator-1": "unknown-bundle", "auditor": "forbidden"}
        assert reply.code == expected[name]
    assert await hostile.signed_count() == before


async def test_two_inputs_may_not_name_one_key(hostile: HostileHub) -> None:
    payment = await hostile.payment()
    twice = payment.transactions[:2] * 2 + payment.transactions[2:]
    claim = payment.request.inputs[0]
    doubled = msgspec.structs.replace(claim, index=2)
    request = rehashed(payment.request, twice)
    values = [-100, 0, -100, 0, 160, 40]
    request = rehashed(
        request,
        [
            msgspec.structs.replace(shown, value_i=value_i)
            for shown, value_i in zip(request.transactions, values, strict=True)
        ],
    )
    request = msgspec.structs.replace(request, inputs=[claim, doubled], own_outputs=[5])
    assert (await hostile.refused(request)).code == "duplicate-key"


async def test_value_may_leave_only_as_far_as_policy_says_whatever_the_hub_calls_it(
    hostile: HostileHub,
) -> None:
    """A stranger's address declared as ours is found out."""
    coin = await hostile.coin()
    request = pay(coin, outside_address(), outside_address())
    declared = msgspec.structs.replace(request, own_outputs=[2, 3])
    assert (await hostile.refused(declared)).code == "own-output"
