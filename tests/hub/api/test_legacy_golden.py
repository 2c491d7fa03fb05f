# SPDX-License-Identifier: Apache-2.0
"""Every legacy command answers byte for byte as Hub 1.4.4 documented by its code.

The story behind it is ``tests.hub.api.story``; names in angle brackets in the expected
replies stand for what is random.
"""

import re

import pytest

from hub.api.legacy_errors import LegacyError
from hub.model import Address, BundleHash, TransactionHash, WithdrawalUuid
from hub.store import Store
from tests.hub import bookkeeping as books
from tests.hub.api.conftest import Call
from tests.hub.api.ports import SimulatedAppliance, SimulatedNodes
from tests.hub.api.story import Story
from tests.hub.databases import NAMES
from trinary.kerl import with_checksum

BOTH_DATABASES = pytest.mark.parametrize("databases", NAMES, indirect=True)
GOOD = "A" * 80 + "9"
BAD_LAST_TRIT = "A" * 80 + "E"
UNKNOWN_UUID = "11111111-2222-4333-8444-555555555555"


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

BALANCES_AT_FIRST = """{
    "event_0": {
        "type": "USER_ACCOUNT",
        "reason": "DEPOSIT",
        "userId": "ana",
        "timestamp": "<t1>",
        "sweepBundleHash": "",
        "withdrawalUuid": "",
        "amount": "40"
    },
    "event_1": {
        "type": "USER_ACCOUNT",
        "reason": "WITHDRAWAL",
        "userId": "ana",
        "timestamp": "<t2>",
        "sweepBundleHash": "",
        "withdrawalUuid": "<paid>",
        "amount": "-30"
    },
    "event_2": {
<rest_of_accounts>
    "event_5": {
        "type": "USER_ADDRESS",
        "reason": "UA_DEPOSIT",
        "userId": "ana",
        "timestamp": "<t0>",
        "userAddress": "<source>",
        "hash": "<tail>",
        "message": "",
        "amount": "60"
    },
    "event_6": {
        "type": "USER_ADDRESS",
        "reason": "UA_DEPOSIT",
        "userId": "ana",
        "timestamp": "<t1>",
        "userAddress": "<top_up>",
        "hash": "<early_tail>",
        "message": "",
        "amount": "40"
    },
    "event_7": {
<rest_of_addresses>
"""


def _shifted() -> str:
    """Return the whole dump: what is there since t3, with what came before."""
    later = BALANCES_SINCE_T3.splitlines()
    accounts = "\n".join(later[2:28])
    accounts = accounts.replace("event_2", "event_4").replace("event_1", "event_3")
    addresses = "\n".join(later[29:]).replace("event_4", "event_8")
    whole = BALANCES_AT_FIRST.replace("<rest_of_accounts>", accounts)
    return whole.replace("<rest_of_addresses>", addresses)


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
    ('"BalanceSubscription"', _shifted()),
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


async def test_only_the_exact_word_true_is_true(story: Story, call: Call) -> None:
    for spelt, length in (("true", 90), ('"true"', 90), ('"True"', 81), ("1", 81)):
        body = '{"command": "GetDepositAddress", "userId": "ana", "includeChecksum": '
        _, text = await call(f"{body}{spelt}}}")
        assert len(text.split('"')[3]) == length
    assert story.names


@pytest.mark.usefixtures("story")
async def test_a_withdrawal_that_waits_is_cancelled_once(call: Call) -> None:
    _, text = await call(
        '{"command": "UserWithdraw", "userId": "bob", "amount": 1,'
        f' "payoutAddress": "{GOOD}"}}'
    )
    body = f'{{"command": "UserWithdrawCancel", "uuid": "{text.split(chr(34))[3]}"}}'
    assert await call(body) == (200, line(success="true"))
    assert await call(body) == (200, error("Withdrawal can not be cancelled"))


async def test_a_hub_address_that_pays_is_told_as_outbound(
    store: Store, clock: books.ManualClock, story: Story, call: Call
) -> None:
    """And a sweep that pays nobody has no withdrawalUuid at all."""
    clock.advance(by_ms=1000)
    bundle = await spend_the_rest(store, story)
    when = str(clock.now_ms)
    _, balances = await call(
        f'{{"command": "BalanceSubscription", "newerThan": {when}}}'
    )
    spent = [
        ("type", "HUB_ADDRESS"),
        ("hubAddress", story.names["rest"]),
        ("reason", "OUTBOUND"),
        ("timestamp", when),
        ("sweepBundleHash", bundle),
        ("amount", "-30"),
    ]
    inner = ",\n".join(f'        "{key}": "{value}"' for key, value in spent)
    assert balances.startswith('{\n    "event_0": {\n' + inner + "\n    },\n")
    _, sweeps = await call(f'{{"command": "SweepSubscription", "newerThan": {when}}}')
    told = f'        "bundleHash": "{bundle}",\n        "timestamp": "{when}"\n'
    assert sweeps == '{\n    "event_0": {\n' + told + "    }\n}\n"
    detail = f'{{"command": "SweepDetail", "bundleHash": "{story.names["bundle"]}"}}'
    assert (await call(detail))[1].startswith('{\n    "confirmed": "true",\n')


async def spend_the_rest(store: Store, story: Story) -> str:
    """Confirm the story's sweep and spend its remainder; return the bundle hash."""
    async with store.transaction() as tx:
        first = await tx.sweeps.by_bundle_hash(BundleHash(story.names["bundle"]))
        tail = TransactionHash(story.names["new_tail"])
        await tx.sweeps.confirm(first.sweep_id, tail)
        rest = await tx.addresses.find(Address(story.names["rest"]))
    assert rest is not None
    onward = await books.hub_address(store)
    sweep_id = await books.plan_sweep(store, [rest.address_id], None, onward)
    await books.sign_sweep(store, sweep_id)
    async with store.reading() as tx:
        return (await tx.sweeps.by_id(sweep_id)).plan.bundle_hash


STRINGS = {
    "Missing argument",
    "Cancelled",
    "User exist",
    "User does not exist",
    "Unknown address",
    "Unknown error",
    "Get address failed",
    "Invalid UUID",
    "Invalid checksum",
    "Invalid address",
    "Address was already spent",
    "IOTA node is unavailable",
    "Withdrawal can not be cancelled",
    "Invalid authentication",
    "Address is not known to node",
    "Signing has failed",
    "Wrong user address",
    "Address balance is zero",
    "Batch is invalid",
    "Batch is inconsistent",
    "Batch amount is not zero (unbalanced)",
    "Insufficient balance",
}
OURS = {"Awaiting approval", "Mining"}


def test_the_strings_are_those_of_the_old_table_and_two_of_ours() -> None:
    """Left out: ``Ok`` and ``Wrong argument name``, which no command answered."""
    spelt = {one.value for one in LegacyError}
    assert spelt == STRINGS | OURS
