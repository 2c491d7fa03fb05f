# SPDX-License-Identifier: Apache-2.0
"""Every legacy command answers byte for byte as Hub 1.4.4 documented by its code.

The story behind ``golden``: ana has deposited 100 i that a sweep has taken, has
withdrawn 30 i that the same sweep paid, and has sold 5 i to bob; bob has requested
2 i and cancelled. Names in angle brackets in the expected replies stand for what
is random.
"""

import re
from dataclasses import dataclass

import pytest

from hub.model import (
    AccountId,
    Address,
    CreditPolicy,
    SweepId,
    TransactionHash,
    UserId,
    WithdrawalUuid,
)
from hub.store import Store
from hub.transfers import Transfer, process_batch
from tests.hub import bookkeeping as books
from tests.hub.api.conftest import Call
from tests.hub.api.ports import SimulatedAppliance, SimulatedNodes
from tests.hub.databases import NAMES
from trinary.kerl import with_checksum

BOTH_DATABASES = pytest.mark.parametrize("databases", NAMES, indirect=True)
GOOD = "A" * 80 + "9"
BAD_LAST_TRIT = "A" * 80 + "E"
UNKNOWN_UUID = "11111111-2222-4333-8444-555555555555"


@dataclass(frozen=True)
class Story:
    """The random names of the story, each with how a reply spells it."""

    names: dict[str, str]

    def fill(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(f"<{name}>", value)
        assert not re.search("<[a-z_0-9]+>", text), text
        return text


@pytest.fixture
async def story(store: Store, clock: books.ManualClock) -> Story:
    ana = await books.open_user(store, "ana")
    bob = await books.open_user(store, "bob")
    return await _play(store, clock, ana, bob)


async def _play(
    store: Store, clock: books.ManualClock, ana: AccountId, bob: AccountId
) -> Story:
    source = await books.give_address(store, ana)
    fresh = await books.give_address(store, ana)
    recorded = await books.arrive(store, source, 60)
    clock.advance(by_ms=1000)
    top_up = await books.give_address(store, ana)
    early = await books.arrive(store, top_up, 40, credit=CreditPolicy.CONFIRMATION)
    clock.advance(by_ms=1000)
    uuid = await books.request_withdrawal(store, ana, 30)
    rest = await books.hub_address(store)
    clock.advance(by_ms=1000)
    sweep_id = await books.plan_sweep(store, [source], [uuid], rest)
    await books.sign_sweep(store, sweep_id)
    clock.advance(by_ms=1000)
    await process_batch(
        store, [Transfer(UserId("ana"), -5), Transfer(UserId("bob"), 5)]
    )
    clock.advance(by_ms=1000)
    cancelled = await books.request_withdrawal(store, bob, 2)
    clock.advance(by_ms=1000)
    async with store.transaction() as tx:
        await tx.withdrawals.cancel(cancelled)
    tails = await _attach_twice(store, clock, sweep_id)
    async with store.reading() as tx:
        sweep = await tx.sweeps.by_id(sweep_id)
        own = [await tx.addresses.by_id(i) for i in (source, fresh, top_up, rest)]
    names = ("source", "fresh", "top_up", "rest")
    return Story(
        {
            **{name: a.address for name, a in zip(names, own, strict=True)},
            "tail": recorded.deposit.seen.tail_hash,  # type: ignore[union-attr]
            "early_tail": early.deposit.seen.tail_hash,  # type: ignore[union-attr]
            "bundle": sweep.plan.bundle_hash,
            "trytes": sweep.signed_trytes[0],
            "paid": uuid,
            "cancelled": cancelled,
            "old_tail": tails[0],
            "new_tail": tails[1],
            **{f"t{n}": str(books.T0_MS + 1000 * n) for n in range(8)},
        }
    )


async def _attach_twice(
    store: Store, clock: books.ManualClock, sweep_id: SweepId
) -> list[TransactionHash]:
    tails = [TransactionHash(books.trytes()) for _ in range(2)]
    for tail in tails:
        clock.advance(by_ms=1000)
        async with store.transaction() as tx:
            await tx.sweeps.attach(sweep_id, tail)
    return tails


def line(**fields: str) -> str:
    """Write a reply of one level."""
    return lines(list(fields.items()))


def lines(pairs: list[tuple[str, str]]) -> str:
    inner = ",\n".join(f'    "{key}": "{value}"' for key, value in pairs)
    return "{\n" + inner + "\n}\n"


HISTORY = """{
    "event_0": {
        "userID": "ana",
        "timestamp": "<t1>",
        "amount": "40",
        "reason": "DEPOSIT",
        "sweepBundleHash": "",
        "withdrawalUUID": ""
    },
    "event_1": {
        "userID": "ana",
        "timestamp": "<t2>",
        "amount": "-30",
        "reason": "WITHDRAWAL",
        "sweepBundleHash": "",
        "withdrawalUUID": "<paid>"
    },
    "event_2": {
        "userID": "ana",
        "timestamp": "<t3>",
        "amount": "60",
        "reason": "DEPOSIT",
        "sweepBundleHash": "<bundle>",
        "withdrawalUUID": ""
    },
    "event_3": {
        "userID": "ana",
        "timestamp": "<t4>",
        "amount": "-5",
        "reason": "SELL",
        "sweepBundleHash": "",
        "withdrawalUUID": ""
    }
}
"""

HISTORY_SINCE_T4 = """{
    "event_0": {
        "userID": "bob",
        "timestamp": "<t4>",
        "amount": "5",
        "reason": "BUY",
        "sweepBundleHash": "",
        "withdrawalUUID": ""
    },
    "event_1": {
        "userID": "bob",
        "timestamp": "<t5>",
        "amount": "-2",
        "reason": "WITHDRAWAL",
        "sweepBundleHash": "",
        "withdrawalUUID": "<cancelled>"
    },
    "event_2": {
        "userID": "bob",
        "timestamp": "<t6>",
        "amount": "2",
        "reason": "WITHDRAWAL_CANCELED",
        "sweepBundleHash": "",
        "withdrawalUUID": "<cancelled>"
    }
}
"""

BALANCES_SINCE_T3 = """{
    "event_0": {
        "type": "USER_ACCOUNT",
        "reason": "DEPOSIT",
        "userId": "ana",
        "timestamp": "<t3>",
        "sweepBundleHash": "<bundle>",
        "withdrawalUuid": "",
        "amount": "60"
    },
    "event_1": {
        "type": "USER_ACCOUNT",
        "reason": "WITHDRAWAL",
        "userId": "bob",
        "timestamp": "<t5>",
        "sweepBundleHash": "",
        "withdrawalUuid": "<cancelled>",
        "amount": "-2"
    },
    "event_2": {
        "type": "USER_ACCOUNT",
        "reason": "WITHDRAWAL_CANCELED",
        "userId": "bob",
        "timestamp": "<t6>",
        "sweepBundleHash": "",
        "withdrawalUuid": "<cancelled>",
        "amount": "2"
    },
    "event_3": {
        "type": "USER_ADDRESS",
        "reason": "UA_SWEEP",
        "userId": "ana",
        "timestamp": "<t3>",
        "userAddress": "<source>",
        "hash": "<bundle>",
        "message": "",
        "amount": "-60"
    },
    "event_4": {
        "type": "HUB_ADDRESS",
        "hubAddress": "<rest>",
        "reason": "INBOUND",
        "timestamp": "<t3>",
        "sweepBundleHash": "<bundle>",
        "amount": "30"
    }
}
"""

SWEEPS = """{
    "event_0": {
        "bundleHash": "<bundle>",
        "timestamp": "<t3>",
        "withdrawalUuid": "<paid>"
    }
}
"""

SWEEP_INFO = lines(
    [("bundleHash", "<bundle>"), ("timestamp", "<t3>"), ("withdrawalUuid", "<paid>")]
)
SWEEP_DETAIL = lines(
    [
        ("confirmed", "false"),
        ("trytes", "<trytes>"),
        ("tailHash", "<new_tail>"),
        ("tailHash", "<old_tail>"),
    ]
)


def error(text: str) -> str:
    return line(error=text)


MISSING = error("Missing argument")
UNKNOWN = error("Unknown error")
NO_USER = error("User does not exist")
CANCELLED = error("Cancelled")
BAD_CHECKSUM = error("Invalid checksum")

GOLDEN = [
    ('"CreateUser", "userId": "eve"', "{\n}\n"),
    ('"CreateUser", "userId": 12', "{\n}\n"),
    ('"CreateUser", "userId": "ana"', error("User exist")),
    (f'"CreateUser", "userId": "{"x" * 65}"', error("User exist")),
    ('"CreateUser", "userId": "saltkeep:owner"', error("User exist")),
    ('"CreateUser"', MISSING),
    ('"CreateUser", "userId": ["a"]', MISSING),
    ('"GetBalance", "userId": "ana"', line(available="65")),
    ('"GetBalance", "userId": "ana", "userId": "bob"', line(available="65")),
    ('"GetBalance", "userId": "Ana"', NO_USER),
    ('"GetBalance"', MISSING),
    ('"GetDepositAddress"', MISSING),
    ('"GetDepositAddress", "userId": "nobody"', NO_USER),
    ('"GetAddressInfo", "address": "<source>"', line(userId="ana")),
    ('"GetAddressInfo", "address": "<rest>"', error("Unknown address")),
    (f'"GetAddressInfo", "address": "{GOOD}"', error("Unknown address")),
    ('"GetAddressInfo", "address": "short"', UNKNOWN),
    ('"GetAddressInfo"', MISSING),
    ('"GetUserHistory", "userId": "ana"', HISTORY),
    ('"GetUserHistory", "userId": "bob", "newerThan": "<t4>"', HISTORY_SINCE_T4),
    ('"GetUserHistory", "userId": "bob", "newerThan": <t7>', "{\n}\n"),
    ('"GetUserHistory", "userId": "nobody"', NO_USER),
    ('"GetUserHistory"', MISSING),
    ('"BalanceSubscription", "newerThan": "<t3>"', BALANCES_SINCE_T3),
    ('"BalanceSubscription", "newerThan": "<t7>"', "{\n}\n"),
    ('"SweepSubscription"', SWEEPS),
    ('"SweepSubscription", "newerThan": "<t3>"', SWEEPS),
    ('"SweepSubscription", "newerThan": "<t4>"', "{\n}\n"),
    (
        '"SweepInfo", "requestByUuid": "true", "withdrawalUuid": "<paid>"',
        SWEEP_INFO,
    ),
    ('"SweepInfo", "requestByUuid": "false", "bundleHash": "<bundle>"', SWEEP_INFO),
    ('"SweepInfo", "requestByUuid": true, "bundleHash": "<bundle>"', MISSING),
    ('"SweepInfo", "requestByUuid": "false", "withdrawalUuid": "<paid>"', MISSING),
    ('"SweepInfo", "bundleHash": "<bundle>"', MISSING),
    (
        '"SweepInfo", "requestByUuid": "true", "withdrawalUuid": "<cancelled>"',
        CANCELLED,
    ),
    ('"SweepInfo", "requestByUuid": "true", "withdrawalUuid": "x"', CANCELLED),
    ('"SweepInfo", "requestByUuid": "no", "bundleHash": "x"', CANCELLED),
    ('"SweepDetail", "bundleHash": "<bundle>"', SWEEP_DETAIL),
    (f'"SweepDetail", "bundleHash": "{GOOD}"', CANCELLED),
    ('"SweepDetail", "bundleHash": "x"', CANCELLED),
    ('"SweepDetail"', MISSING),
    ('"UserWithdraw"', MISSING),
    (
        '"UserWithdrawCancel", "uuid": "<paid>"',
        error("Withdrawal can not be cancelled"),
    ),
    (
        '"UserWithdrawCancel", "uuid": "<cancelled>"',
        error("Withdrawal can not be cancelled"),
    ),
    (
        f'"UserWithdrawCancel", "uuid": "{UNKNOWN_UUID}"',
        error("Withdrawal can not be cancelled"),
    ),
    ('"UserWithdrawCancel", "uuid": "x"', UNKNOWN),
    ('"UserWithdrawCancel"', MISSING),
    ('"WasWithdrawalCancelled", "uuid": "<cancelled>"', line(wasCancelled="true")),
    ('"WasWithdrawalCancelled", "uuid": "<paid>"', line(wasCancelled="false")),
    (f'"WasWithdrawalCancelled", "uuid": "{UNKNOWN_UUID}"', error("Invalid UUID")),
    ('"WasWithdrawalCancelled", "uuid": "x"', error("Invalid UUID")),
    ('"WasWithdrawalCancelled"', MISSING),
    (
        f'"WasAddressSpentFrom", "address": "{GOOD}"',
        line(wasAddressSpentFrom="false"),
    ),
    (
        '"WasAddressSpentFrom", "address": "<source>"',
        line(wasAddressSpentFrom="true"),
    ),
    (f'"WasAddressSpentFrom", "address": "{BAD_LAST_TRIT}"', error("Invalid address")),
    ('"WasAddressSpentFrom", "address": "abc"', UNKNOWN),
    (
        f'"WasAddressSpentFrom", "address": "{GOOD}", "validateChecksum": "true"',
        BAD_CHECKSUM,
    ),
    ('"WasAddressSpentFrom"', MISSING),
    ('"ProcessTransferBatch", "transfers": ""', "{\n}\n"),
    ('"ProcessTransferBatch"', MISSING),
    ('"GetStats"', line(totalBalance="70")),
    ('"GetStats", "anything": {"else": []}', line(totalBalance="70")),
    (
        '"SignBundle", "address": "x"',
        lines([("error", "Cancelled"), ("error", "Cancelled")]),
    ),
    ('"SignBundle"', lines([("error", "Cancelled"), ("error", "Missing argument")])),
    (
        '"RecoverFunds", "userId": "ana", "address": "x", "payoutAddress": "y"',
        CANCELLED,
    ),
    ('"RecoverFunds", "userId": "ana", "address": "x"', MISSING),
    ('"GetSeedForAddress", "userId": "ana", "address": "<source>"', CANCELLED),
    ('"GetSeedForAddress", "userId": "ana"', MISSING),
    ('"GetSeedForUUID", "uuid": "<paid>"', CANCELLED),
    ('"GetSeedForUUID"', MISSING),
]


@pytest.mark.parametrize(("request_text", "expected"), GOLDEN)
@BOTH_DATABASES
async def test_a_command_answers_byte_for_byte(
    request_text: str, expected: str, story: Story, call: Call
) -> None:
    body = story.fill('{"command": ' + request_text + "}")
    assert await call(body) == (200, story.fill(expected))


WITHDRAW_ORDER = [
    # each row keeps the faults of the rows below it: the order is the contract
    ('"userId": "nobody", "amount": 0, "payoutAddress": "x"', UNKNOWN),
    ('"userId": "nobody", "payoutAddress": "x"', UNKNOWN),
    ('"userId": "nobody", "amount": -5, "payoutAddress": "x"', UNKNOWN),
    (
        (
            '"userId": "nobody", "amount": 1, "payoutAddress": "x",'
            ' "validateChecksum": "true"'
        ),
        BAD_CHECKSUM,
    ),
    ('"userId": "nobody", "amount": 1, "payoutAddress": "x"', UNKNOWN),
    (
        (
            f'"userId": "nobody", "amount": 1, "payoutAddress": "{BAD_LAST_TRIT}",'
            ' "tag": "lower"'
        ),
        error("Invalid address"),
    ),
    (
        f'"userId": "nobody", "amount": 1, "payoutAddress": "{GOOD}", "tag": "lower"',
        UNKNOWN,
    ),
    (
        (
            f'"userId": "nobody", "amount": 1, "payoutAddress": "{GOOD}",'
            f' "tag": "{"A" * 28}"'
        ),
        UNKNOWN,
    ),
    (f'"userId": "nobody", "amount": 99, "payoutAddress": "{GOOD}"', NO_USER),
    (
        f'"userId": "bob", "amount": 99, "payoutAddress": "{GOOD}"',
        error("Insufficient balance"),
    ),
    (
        f'"userId": "bob", "amount": {1 << 62}, "payoutAddress": "{GOOD}"',
        error("Insufficient balance"),
    ),
    (
        f'"userId": "bob", "amount": 1, "payoutAddress": "{GOOD}"',
        error("IOTA node is unavailable"),
    ),
    (
        '"userId": "bob", "amount": 1, "payoutAddress": "<source>"',
        error("Address was already spent"),  # our records need no node
    ),
]


@pytest.mark.parametrize(("fields", "expected"), WITHDRAW_ORDER)
async def test_a_withdrawal_is_checked_in_the_legacy_order(
    fields: str, expected: str, story: Story, call: Call, nodes: SimulatedNodes
) -> None:
    nodes.away = True
    body = story.fill('{"command": "UserWithdraw", ' + fields + "}")
    assert await call(body) == (200, story.fill(expected))


@pytest.mark.usefixtures("story")
@BOTH_DATABASES
async def test_a_withdrawal_reserves_and_answers_a_lower_case_uuid(
    call: Call, store: Store
) -> None:
    body = (
        '{"command": "UserWithdraw", "userId": "bob", "amount": "3", "tag": "SALT",'
        f' "payoutAddress": "{with_checksum(GOOD)}", "validateChecksum": "true"}}'
    )
    status, text = await call(body)
    found = re.fullmatch(r'\{\n    "uuid": "([0-9a-f-]{36})"\n\}\n', text)
    assert status == 200
    assert found is not None
    async with store.reading() as tx:
        stored = await tx.withdrawals.by_uuid(WithdrawalUuid(found[1]))
    assert (stored.amount_i, stored.payout_address) == (3, GOOD)
    assert stored.tag == "SALT" + "9" * 23
    assert await call('{"command": "GetBalance", "userId": "bob"}') == (
        200,
        line(available="2"),
    )


@pytest.mark.usefixtures("story")
async def test_a_withdrawal_to_an_address_a_node_knows_spent_is_refused(
    call: Call, nodes: SimulatedNodes
) -> None:
    nodes.spent.add(GOOD)
    status, text = await call(
        '{"command": "UserWithdraw", "userId": "bob", "amount": 1,'
        f' "payoutAddress": "{GOOD}"}}'
    )
    assert (status, text) == (200, error("Address was already spent"))


BATCHES = [
    ('[{"userId": "ana", "amount": -5}, {"userId": "bob", "amount": "5"}]', "{\n}\n"),
    ("[]", "{\n}\n"),
    # the owner takes a fee: its accounts are named like users
    (
        '[{"userId": "ana", "amount": -5}, {"userId": "saltkeep:fee", "amount": 5}]',
        "{\n}\n",
    ),
    # duplicates are summed per user before any check
    (
        (
            '[{"userId": "ana", "amount": -9}, {"userId": "ana", "amount": 4},'
            ' {"userId": "bob", "amount": 5}]'
        ),
        "{\n}\n",
    ),
    ('[{"userId": "ana", "amount": "x"}]', MISSING),
    ('[{"userId": "ana", "amount": 1.5}]', MISSING),
    ('[{"userId": "ana"}]', MISSING),
    ('[{"amount": 1}]', MISSING),
    ('["ana"]', MISSING),
    ('[{"userId": "ana", "amount": 0}, {"userId": "nobody", "amount": 1}]', NO_USER),
    (
        '[{"userId": "ana", "amount": 0}, {"userId": "bob", "amount": 1}]',
        error("Batch is invalid"),
    ),
    (
        '[{"userId": "ana", "amount": 1}, {"userId": "ana", "amount": -1}]',
        error("Batch is invalid"),
    ),
    (
        '[{"userId": "ana", "amount": -999}, {"userId": "bob", "amount": 1}]',
        error("Batch amount is not zero (unbalanced)"),
    ),
    (
        '[{"userId": "ana", "amount": -66}, {"userId": "bob", "amount": 66}]',
        error("Batch is inconsistent"),
    ),
]


@pytest.mark.usefixtures("story")
@pytest.mark.parametrize(("transfers", "expected"), BATCHES)
async def test_a_batch_is_checked_in_the_legacy_order(
    transfers: str, expected: str, call: Call
) -> None:
    body = '{"command": "ProcessTransferBatch", "transfers": ' + transfers + "}"
    assert await call(body) == (200, expected)


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        ("{} trailing", 400, line(result="Wrong request format")),
        ('{"command": "GetStats"', 400, line(result="Wrong request format")),
        ('{"command": "getstats"}', 400, line(result="Unknown command")),
        ('{"command": ""}', 400, line(result="Unknown command")),
        ("", 500, "An error occurred: 'Empty request'"),
    ],
)
async def test_what_is_no_command_is_answered_as_documented(
    body: str, status: int, expected: str, call: Call
) -> None:
    assert await call(body) == (status, expected)


@BOTH_DATABASES
async def test_a_deposit_address_is_fresh_recorded_and_bound_to_its_user(
    store: Store, call: Call, appliance: SimulatedAppliance, nodes: SimulatedNodes
) -> None:
    account_id = await books.open_user(store, "ana")
    known = await books.give_address(store, account_id)
    async with store.reading() as tx:
        known_address = (await tx.addresses.by_id(known)).address
    spent = books.trytes()
    nodes.spent.add(spent)
    appliance.next_addresses = [known_address, spent, GOOD]
    reply = await call(
        '{"command": "GetDepositAddress", "userId": "ana", "includeChecksum": "true"}'
    )
    assert reply == (200, line(address=with_checksum(GOOD)))
    async with store.reading() as tx:
        own = await tx.addresses.find(Address(GOOD))
    assert own is not None
    assert own.account_id == account_id
    assert len(set(appliance.commitments)) == 1
    _status, text = await call('{"command": "GetDepositAddress", "userId": "ana"}')
    assert re.fullmatch(r'\{\n    "address": "[9A-Z]{81}"\n\}\n', text)


async def test_an_address_that_can_not_be_issued_is_a_legacy_error(
    store: Store, call: Call, appliance: SimulatedAppliance, nodes: SimulatedNodes
) -> None:
    await books.open_user(store, "ana")
    body = '{"command": "GetDepositAddress", "userId": "ana"}'
    nodes.away = True
    assert await call(body) == (200, error("IOTA node is unavailable"))
    appliance.away = True
    assert await call(body) == (200, error("Get address failed"))


async def test_an_address_that_is_never_fresh_is_given_up(
    store: Store, call: Call, appliance: SimulatedAppliance, nodes: SimulatedNodes
) -> None:
    await books.open_user(store, "ana")
    nodes.spent.add(GOOD)
    appliance.next_addresses = [GOOD] * 3
    reply = await call('{"command": "GetDepositAddress", "userId": "ana"}')
    assert reply == (200, error("Get address failed"))
