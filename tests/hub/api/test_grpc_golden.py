# SPDX-License-Identifier: Apache-2.0
"""Every call of ``hub.rpc.Hub`` answers a client of the old names to the byte."""

import re
from typing import Any

import grpc
import pytest

from hub.model import Address, WithdrawalUuid
from hub.store import Store
from tests.hub import bookkeeping as books
from tests.hub.api.conftest import Dial
from tests.hub.api.old_client import CALLS, KNOWN, Refused, reply_of
from tests.hub.api.ports import SimulatedAppliance, SimulatedNodes
from tests.hub.api.story import Story
from trinary.kerl import with_checksum

GOOD = "A" * 80 + "9"
BAD_LAST_TRIT = "A" * 80 + "E"
UNKNOWN_UUID = "11111111-2222-4333-8444-555555555555"
NOT_DONE = grpc.StatusCode.FAILED_PRECONDITION
AWAY = grpc.StatusCode.UNAVAILABLE


def code(name: str) -> bytes:
    """Return the documented error, serialised."""
    serialised: bytes = KNOWN["Error"](code=name).SerializeToString()
    return serialised


def filled(value: Any, story: Story) -> Any:  # noqa: ANN401 - a tree
    """Put the story's names into a table's row; a time becomes a number."""
    match value:
        case str():
            text = story.fill(value)
            return int(text) if re.fullmatch(r"<t\d>", value) else text
        case dict():
            return {key: filled(one, story) for key, one in value.items()}
        case list():
            return [filled(one, story) for one in value]
    return value


HISTORY = [
    {"userId": "ana", "timestamp": "<t1>", "type": "DEPOSIT", "amount": 40},
    {
        "userId": "ana",
        "timestamp": "<t2>",
        "type": "WITHDRAWAL",
        "amount": -30,
        "withdrawalUUID": "<paid>",
    },
    {
        "userId": "ana",
        "timestamp": "<t3>",
        "type": "DEPOSIT",
        "amount": 60,
        "sweepBundleHash": "<bundle>",
    },
    {"userId": "ana", "timestamp": "<t4>", "type": "SELL", "amount": -5},
]
SOLD = {"userId": "bob", "timestamp": "<t4>", "type": "BUY", "amount": 5}
ASKED = {
    "userId": "bob",
    "timestamp": "<t5>",
    "type": "WITHDRAWAL",
    "amount": -2,
    "withdrawalUUID": "<cancelled>",
}
GIVEN_BACK = ASKED | {"timestamp": "<t6>", "type": "WITHDRAWAL_CANCELED", "amount": 2}
BALANCES = [
    {"account": HISTORY[2]},
    {"account": ASKED},
    {"account": GIVEN_BACK},
    {
        "address": {
            "userId": "ana",
            "userAddress": "<source>",
            "amount": -60,
            "reason": "UA_SWEEP",
            "hash": "<bundle>",
            "timestamp": "<t3>",
        }
    },
    {
        "hub": {
            "hubAddress": "<rest>",
            "amount": 30,
            "reason": "INBOUND",
            "sweepBundleHash": "<bundle>",
            "timestamp": "<t3>",
        }
    },
]
SWEEP = {"bundleHash": "<bundle>", "timestamp": "<t3>", "withdrawalUUID": ["<paid>"]}

FROM_ANA: dict[str, Any] = {"userId": "ana"}
TO_BOB: dict[str, Any] = {"userId": "bob"}
ANSWERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("CreateUser", {"userId": "eve"}, {}),
    ("GetBalance", {"userId": "ana"}, {"available": 65}),
    ("GetAddressInfo", {"address": "<source>"}, {"userId": "ana"}),
    ("GetUserHistory", {"userId": "ana"}, {"events": HISTORY}),
    (
        "GetUserHistory",
        {"userId": "bob", "newerThan": "<t4>"},
        {"events": [SOLD, ASKED, GIVEN_BACK]},
    ),
    ("GetUserHistory", {"userId": "bob", "newerThan": "<t7>"}, {}),
    ("SweepInfo", {"withdrawalUUID": "<paid>"}, SWEEP),
    ("SweepInfo", {"bundleHash": "<bundle>"}, SWEEP),
    (
        "SweepDetail",
        {"bundleHash": "<bundle>"},
        {"trytes": ["<trytes>"], "tailHash": ["<new_tail>", "<old_tail>"]},
    ),
    ("WasWithdrawalCancelled", {"uuid": "<cancelled>"}, {"wasCancelled": True}),
    ("WasWithdrawalCancelled", {"uuid": "<paid>"}, {}),
    ("WasAddressSpentFrom", {"address": "<source>"}, {"wasAddressSpentFrom": True}),
    ("WasAddressSpentFrom", {"address": GOOD}, {}),
    (
        "ProcessTransferBatch",
        {
            "transfers": [
                {"userId": "ana", "amount": -5},
                {"userId": "bob", "amount": 5},
            ]
        },
        {},
    ),
    ("ProcessTransferBatch", {}, {}),
    ("GetStats", {}, {"totalBalance": 70}),
]


@pytest.mark.parametrize(("name", "request_fields", "reply_fields"), ANSWERS)
async def test_a_call_answers_to_the_byte(
    name: str,
    request_fields: dict[str, Any],
    reply_fields: dict[str, Any],
    story: Story,
    dial: Dial,
) -> None:
    expected = KNOWN[reply_of(name)](**filled(reply_fields, story))
    async with dial() as client:
        reply = await client.call(name, **filled(request_fields, story))
    assert reply == expected.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("name", "since", "events"),
    [
        ("BalanceSubscription", "<t3>", BALANCES),
        ("BalanceSubscription", "<t7>", []),
        ("SweepSubscription", "<t3>", [SWEEP]),
        ("SweepSubscription", "<t4>", []),
    ],
)
async def test_a_subscription_dumps_to_the_byte_and_ends(
    name: str, since: str, events: list[dict[str, Any]], story: Story, dial: Dial
) -> None:
    kind = KNOWN[reply_of(name)]
    expected = [kind(**filled(one, story)).SerializeToString() for one in events]
    async with dial() as client:
        assert await client.dump(name, newerThan=filled(since, story)) == expected


@pytest.mark.usefixtures("story")
async def test_the_calls_whose_answers_are_random_answer_in_their_form(
    dial: Dial, store: Store
) -> None:
    async with dial() as client:
        plain = await client.ask("GetDepositAddress", userId="ana")
        full = await client.ask("GetDepositAddress", userId="ana", includeChecksum=True)
        asked = await client.ask(
            "UserWithdraw",
            userId="bob",
            payoutAddress=with_checksum(GOOD),
            amount=3,
            tag="SALT",
            validateChecksum=True,
        )
        cancelled = await client.ask("UserWithdrawCancel", uuid=asked.uuid)
    assert (len(plain.address), len(full.address)) == (81, 90)
    assert with_checksum(full.address[:81]) == full.address
    async with store.reading() as tx:
        own = await tx.addresses.find(Address(plain.address))
        withdrawal = await tx.withdrawals.by_uuid(WithdrawalUuid(asked.uuid))
    assert own is not None
    assert (withdrawal.amount_i, withdrawal.payout_address) == (3, GOOD)
    assert withdrawal.tag == "SALT" + "9" * 23
    assert cancelled.success


# What went wrong, as REST says it; with the documented code; and the status.
NO_USER = ("User does not exist", "USER_DOES_NOT_EXIST", NOT_DONE)
UNKNOWN = ("Unknown error", "EC_UNKNOWN", NOT_DONE)
BAD_CHECKSUM = ("Invalid checksum", "CHECKSUM_INVALID", NOT_DONE)
INELIGIBLE = ("Invalid address", "INELIGIBLE_ADDRESS", NOT_DONE)
FINAL = ("Withdrawal can not be cancelled", "WITHDRAWAL_CAN_NOT_BE_CANCELLED", NOT_DONE)
NO_UUID = ("Invalid UUID", "INVALID_UUID", NOT_DONE)
MISSING = ("Missing argument", "EC_UNKNOWN", NOT_DONE)
TO_GOOD = {"amount": 1, "payoutAddress": GOOD}
REFUSALS: list[tuple[str, dict[str, Any], tuple[str, str, grpc.StatusCode]]] = [
    ("CreateUser", {"userId": "ana"}, ("User exist", "USER_EXISTS", NOT_DONE)),
    ("CreateUser", {"userId": "x" * 65}, ("User exist", "USER_EXISTS", NOT_DONE)),
    ("GetBalance", {"userId": "nobody"}, NO_USER),
    ("GetBalance", {}, NO_USER),
    ("GetDepositAddress", {"userId": "nobody"}, NO_USER),
    ("GetAddressInfo", {"address": "x"}, UNKNOWN),
    (
        "GetAddressInfo",
        {"address": GOOD},
        ("Unknown address", "UNKNOWN_ADDRESS", NOT_DONE),
    ),
    ("GetUserHistory", {"userId": "nobody"}, NO_USER),
    ("GetUserHistory", {"userId": "ana", "newerThan": 1 << 63}, MISSING),
    ("UserWithdraw", {"userId": "nobody", "payoutAddress": "x"}, UNKNOWN),
    ("UserWithdraw", {"amount": 1 << 63, "userId": "ana"}, MISSING),
    (
        "UserWithdraw",
        {"userId": "bob", "amount": 1, "payoutAddress": "x", "validateChecksum": True},
        BAD_CHECKSUM,
    ),
    ("UserWithdraw", {"amount": 1, "payoutAddress": BAD_LAST_TRIT}, INELIGIBLE),
    ("UserWithdraw", {"userId": "bob", "tag": "low", **TO_GOOD}, UNKNOWN),
    ("UserWithdraw", {"userId": "nobody", **TO_GOOD}, NO_USER),
    (
        "UserWithdraw",
        {"userId": "bob", "amount": 99, "payoutAddress": GOOD},
        ("Insufficient balance", "INSUFFICIENT_BALANCE", NOT_DONE),
    ),
    (
        "UserWithdraw",
        {"userId": "bob", "amount": 1, "payoutAddress": "<source>"},
        ("Address was already spent", "ADDRESS_WAS_ALREADY_SPENT", NOT_DONE),
    ),
    ("UserWithdrawCancel", {"uuid": "<paid>"}, FINAL),
    ("UserWithdrawCancel", {"uuid": UNKNOWN_UUID}, FINAL),
    ("UserWithdrawCancel", {"uuid": "x"}, UNKNOWN),
    ("WasWithdrawalCancelled", {"uuid": UNKNOWN_UUID}, NO_UUID),
    ("WasAddressSpentFrom", {"address": "x"}, UNKNOWN),
    ("WasAddressSpentFrom", {"address": GOOD, "validateChecksum": True}, BAD_CHECKSUM),
    ("WasAddressSpentFrom", {"address": BAD_LAST_TRIT}, INELIGIBLE),
    (
        "ProcessTransferBatch",
        {"transfers": [{"userId": "ana"}]},
        ("Batch is invalid", "BATCH_INVALID", NOT_DONE),
    ),
    (
        "ProcessTransferBatch",
        {"transfers": [{"userId": "ana", "amount": 1}]},
        ("Batch amount is not zero (unbalanced)", "BATCH_AMOUNT_ZERO", NOT_DONE),
    ),
    (
        "ProcessTransferBatch",
        {
            "transfers": [
                {"userId": "ana", "amount": -66},
                {"userId": "bob", "amount": 66},
            ]
        },
        ("Batch is inconsistent", "BATCH_INCONSISTENT", NOT_DONE),
    ),
    ("ProcessTransferBatch", {"transfers": [{"userId": "x", "amount": 1}]}, NO_USER),
]


@pytest.mark.parametrize(("name", "request_fields", "expected"), REFUSALS)
async def test_a_refusal_carries_its_code_or_its_string(
    name: str,
    request_fields: dict[str, Any],
    expected: tuple[str, str, grpc.StatusCode],
    story: Story,
    dial: Dial,
) -> None:
    text, error, status = expected
    fields = filled(request_fields, story)
    async with dial() as client:
        with pytest.raises(Refused) as coded:
            await client.call(name, **fields)
    async with dial(error_details="string") as client:
        with pytest.raises(Refused) as spelt:
            await client.call(name, **fields)
    assert coded.value == Refused(status, text, code(error))
    assert spelt.value == Refused(NOT_DONE, "", text.encode())


BARE: list[tuple[str, dict[str, Any]]] = [
    ("SweepInfo", {}),
    ("SweepInfo", {"withdrawalUUID": "<cancelled>"}),
    ("SweepInfo", {"withdrawalUUID": "x"}),
    ("SweepInfo", {"bundleHash": GOOD}),
    ("SweepDetail", {"bundleHash": GOOD}),
    ("SweepDetail", {}),
    ("SignBundle", {"address": "<source>", "bundleHash": GOOD}),
    ("RecoverFunds", {"userId": "ana", "address": "<source>", "payoutAddress": GOOD}),
    ("GetSeedForAddress", {"userId": "ana", "address": "<source>"}),
    ("GetSeedForUUID", {"uuid": "A" * 64}),
]


@pytest.mark.parametrize("style", ["code", "string"])
@pytest.mark.parametrize(("name", "request_fields"), BARE)
async def test_what_is_off_or_not_there_is_a_bare_cancelled(
    name: str, request_fields: dict[str, Any], style: str, story: Story, dial: Dial
) -> None:
    async with dial(error_details=style) as client:
        with pytest.raises(Refused) as refusal:
            await client.call(name, **filled(request_fields, story))
    assert refusal.value == Refused(grpc.StatusCode.CANCELLED, "", None)


async def test_an_appliance_that_is_away_is_told_as_each_contract_has_it(
    store: Store, dial: Dial, appliance: SimulatedAppliance, nodes: SimulatedNodes
) -> None:
    await books.open_user(store, "ana")
    appliance.away = nodes.away = True
    asked: dict[str, Any] = {"userId": "ana"}
    async with dial() as client:
        with pytest.raises(Refused) as address:
            await client.call("GetDepositAddress", **asked)
        with pytest.raises(Refused) as spent:
            await client.call("WasAddressSpentFrom", address=GOOD)
    async with dial(error_details="string") as client:
        with pytest.raises(Refused) as spelt:
            await client.call("GetDepositAddress", **asked)
    failed = "Get address failed"
    assert address.value == Refused(AWAY, failed, code("GET_ADDRESS_FAILED"))
    assert spelt.value == Refused(NOT_DONE, "", failed.encode())
    assert spent.value.details == code("IRI_CLIENT_UNAVAILABLE")


def test_every_call_of_the_old_service_is_in_a_table() -> None:
    tabled = {row[0] for row in ANSWERS} | {row[0] for row in BARE}
    tabled |= {"BalanceSubscription", "SweepSubscription"}
    tabled |= {"GetDepositAddress", "UserWithdraw", "UserWithdrawCancel"}
    assert len(CALLS) == 19
    assert tabled == set(CALLS)
