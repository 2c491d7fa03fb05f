# SPDX-License-Identifier: Apache-2.0
"""Golden replies of the IRI dialect. Texts: IRI 1.8.6 service/API.java."""

from typing import NamedTuple

import pytest

from hub.devnet.config import SUPPLY_I, Dialect
from hub.devnet.coordinator import coordinator_address
from hub.devnet.embedded import RunningDevnet, running_devnet
from hub.devnet.faucet import faucet_address
from tests.hub.devnet.world import (
    STRANGER,
    UNKNOWN,
    Caller,
    Wallet,
    attach,
    funded,
    message,
    plain,
    put,
    too_light,
    without_signature,
)

NINES = "9" * 2673
TX = "A" * 2673
HASH = "A" * 81


class Golden(NamedTuple):
    request: object
    status: int
    reply: dict[str, object]


def refused(text: str, request: object, status: int = 400) -> Golden:
    return Golden(request, status, {"error": text})


def command(name: str, **parameters: object) -> dict[str, object]:
    return {"command": name, **parameters}


TOO_MANY = [HASH] * 1001
REFUSALS = {
    "no JSON": refused(
        "Invalid JSON syntax: Expecting value: line 1 column 1 (char 0)", "hello"
    ),
    "no object": refused("Invalid JSON syntax: expected an object", "[]"),
    "null": Golden("null", 500, {"exception": "Invalid request payload: 'null'"}),
    "no command": refused(
        "COMMAND parameter has not been specified in the request.", {"x": 1}
    ),
    "unknown command": refused("Command [fly] is unknown", command("fly")),
    "commands mind their case": refused(
        "Command [getnodeinfo] is unknown", command("getnodeinfo")
    ),
    "HORNET's commands": refused(
        "Command [getTipInfo] is unknown", command("getTipInfo")
    ),
    "too long": refused("Request too long", "x" * 1_000_001),
    "missing parameter": refused("Invalid parameters", command("getBalances")),
    "addresses are no list": refused(
        "Invalid addresses input", command("getBalances", addresses="A")
    ),
    "address with checksum": refused(
        "Invalid addresses input", command("getBalances", addresses=["A" * 90])
    ),
    "address in lower case": refused(
        "Invalid addresses input", command("getBalances", addresses=["a" * 81])
    ),
    "too many addresses": refused(
        "Could not complete request", command("getBalances", addresses=TOO_MANY)
    ),
    "find nothing in particular": refused(
        "Invalid parameters", command("findTransactions")
    ),
    "find a bad tag": refused(
        "Invalid tags input", command("findTransactions", tags=["A" * 28])
    ),
    "find a bad bundle": refused(
        "Invalid bundles input", command("findTransactions", bundles=["A"])
    ),
    "trytes of a bad hash": refused(
        "Invalid hashes input", command("getTrytes", hashes=["A" * 80])
    ),
    "inclusion of a bad hash": refused(
        "Invalid transactions input", command("getInclusionStates", transactions=[1])
    ),
    "depth 0": refused(
        "Invalid depth input", command("getTransactionsToApprove", depth=0)
    ),
    "depth 16": refused(
        "Invalid depth input", command("getTransactionsToApprove", depth=16)
    ),
    "depth in words": refused(
        "Invalid depth input", command("getTransactionsToApprove", depth="3")
    ),
    "no depth": refused("Invalid parameters", command("getTransactionsToApprove")),
    "unknown reference": refused(
        "reference transaction not found",
        command("getTransactionsToApprove", depth=3, reference=UNKNOWN),
    ),
    "bad reference": refused(
        "Invalid reference input",
        command("getTransactionsToApprove", depth=3, reference="A"),
    ),
    "attach without a trunk": refused(
        "Invalid parameters", command("attachToTangle", trytes=[TX])
    ),
    "attach short trytes": refused(
        "Invalid trytes input",
        command(
            "attachToTangle",
            trunkTransaction=HASH,
            branchTransaction=HASH,
            minWeightMagnitude=1,
            trytes=["A"],
        ),
    ),
    "attach more than the supply": refused(
        "Invalid trytes input",
        command(
            "attachToTangle",
            trunkTransaction=HASH,
            branchTransaction=HASH,
            minWeightMagnitude=1,
            trytes=["9" * 2268 + "M" * 27 + "9" * 378],
        ),
    ),
    "store short trytes": refused(
        "Invalid trytes input", command("storeTransactions", trytes=["A"])
    ),
    "store without trytes": refused("Invalid parameters", command("storeTransactions")),
    "broadcast short trytes": refused(
        "Invalid trytes input", command("broadcastTransactions", trytes=["A"])
    ),
    "consistency of the unknown": refused(
        f"Invalid transaction, missing: {UNKNOWN}",
        command("checkConsistency", tails=[UNKNOWN]),
    ),
    "spent states of a short address": refused(
        "Invalid addresses input", command("wereAddressesSpentFrom", addresses=["A"])
    ),
}


@pytest.mark.parametrize("golden", REFUSALS.values(), ids=REFUSALS.keys())
async def test_iri_refuses_in_its_own_words(golden: Golden, call_iri: Caller) -> None:
    status, reply = await call_iri.raw(golden.request)
    assert isinstance(reply.pop("duration"), int)
    assert (status, reply) == (golden.status, golden.reply)


async def test_iri_wants_the_version_header(call_iri: Caller) -> None:
    status, reply = await call_iri.raw(command("getNodeInfo"), version=False)
    assert (status, reply["error"]) == (400, "Invalid API Version")


ANSWERS = {
    "balance of nobody": Golden(
        command("getBalances", addresses=[STRANGER], threshold=100),
        200,
        {"balances": ["0"], "references": ["<milestone>"], "milestoneIndex": 1},
    ),
    "balance of the genesis": Golden(
        command("getBalances", addresses=[faucet_address(0)]),
        200,
        {
            "balances": [str(SUPPLY_I)],
            "references": ["<milestone>"],
            "milestoneIndex": 1,
        },
    ),
    "no balances": Golden(
        command("getBalances", addresses=[]),
        200,
        {"balances": [], "references": ["<milestone>"], "milestoneIndex": 1},
    ),
    "unknown trytes are nines": Golden(
        command("getTrytes", hashes=[UNKNOWN]), 200, {"trytes": [NINES]}
    ),
    "no trytes": Golden(command("getTrytes", hashes=[]), 200, {"trytes": []}),
    "nothing found": Golden(
        command("findTransactions", addresses=[STRANGER]), 200, {"hashes": []}
    ),
    "an empty kind finds nothing": Golden(
        command("findTransactions", addresses=[], tags=["A"]), 200, {"hashes": []}
    ),
    "the unknown is not included": Golden(
        command("getInclusionStates", transactions=[UNKNOWN], tips=["whatever"]),
        200,
        {"states": [False]},
    ),
    "nobody has spent": Golden(
        command("wereAddressesSpentFrom", addresses=[STRANGER]),
        200,
        {"states": [False]},
    ),
    "tips are the milestone": Golden(
        command("getTransactionsToApprove", depth=15),
        200,
        {"trunkTransaction": "<milestone>", "branchTransaction": "<milestone>"},
    ),
    "API configuration": Golden(
        command("getNodeAPIConfiguration"),
        200,
        {
            "maxFindTransactions": 100_000,
            "maxRequestsList": 1_000,
            "maxGetTrytes": 10_000,
            "maxBodyLength": 1_000_000,
            "testNet": True,
            "milestoneStartIndex": 0,
        },
    ),
    "nothing is missing": Golden(
        command("getMissingTransactions"), 200, {"hashes": []}
    ),
    "no neighbours": Golden(command("getNeighbors"), 200, {"neighbors": []}),
    "no neighbour is added": Golden(
        command("addNeighbors", uris=["tcp://[::1]:1"]), 200, {"addedNeighbors": 0}
    ),
    "no neighbour is removed": Golden(
        command("removeNeighbors", uris=["tcp://[::1]:1"]), 200, {"removedNeighbors": 0}
    ),
    "nothing to interrupt": Golden(command("interruptAttachingToTangle"), 200, {}),
    "nothing to store": Golden(command("storeTransactions", trytes=[]), 200, {}),
    "a milestone is consistent": Golden(
        command("checkConsistency", tails=["<milestone>"]),
        200,
        {"state": True, "info": ""},
    ),
}


@pytest.mark.parametrize("golden", ANSWERS.values(), ids=ANSWERS.keys())
async def test_iri_answers_as_it_did(
    golden: Golden, call_iri: Caller, iri: RunningDevnet
) -> None:
    milestone = iri.node.latest.hash
    status, reply = await call_iri.raw(_named(golden.request, milestone))
    assert isinstance(reply.pop("duration"), int)
    assert (status, reply) == (golden.status, _named(golden.reply, milestone))


def _named(template: object, milestone: str) -> object:
    if isinstance(template, dict):
        return {key: _named(value, milestone) for key, value in template.items()}
    if isinstance(template, list):
        return [_named(value, milestone) for value in template]
    return milestone if template == "<milestone>" else template


async def test_iri_tells_about_itself(call_iri: Caller, iri: RunningDevnet) -> None:
    info = await call_iri("getNodeInfo")
    latest = iri.node.latest
    assert info["appName"] == "IRI"
    assert info["appVersion"] == "1.8.6-RELEASE"
    assert info["latestMilestone"] == latest.hash
    assert info["latestMilestoneIndex"] == 1
    assert info["latestSolidSubtangleMilestone"] == latest.hash
    assert info["latestSolidSubtangleMilestoneIndex"] == 1
    assert info["coordinatorAddress"] == coordinator_address()
    assert info["milestoneStartIndex"] == 0
    assert info["lastSnapshottedMilestoneIndex"] == 0
    assert info.keys() >= {
        *("neighbors", "time", "tips", "transactionsToRequest", "features"),
        *("jreVersion", "packetsQueueSize", "dbSizeInBytes", "duration"),
    }


LIMITED = [
    *("addNeighbors", "getNeighbors", "removeNeighbors"),
    *("attachToTangle", "interruptAttachingToTangle"),
]


async def test_iri_keeps_some_commands_to_itself(
    session: object,
) -> None:
    async with running_devnet(plain(Dialect.IRI, remote_limit=True)) as devnet:
        call = Caller(devnet.url, session)
        for name in LIMITED:
            status, reply = await call.raw(command(name))
            text = f"COMMAND {name} is not available on this node"
            assert (status, reply["error"]) == (401, text)
        await call("getNodeInfo")


async def test_iri_attaches_in_index_order_and_returns_the_tail_first(
    call_iri: Caller, iri: RunningDevnet, wallet: Wallet
) -> None:
    latest = iri.node.latest.hash
    unattached = wallet.spend(amount_i=1, to={STRANGER: 1})
    sent = [record.trytes for record in attach(iri, unattached)]
    reply = await call_iri(
        "attachToTangle",
        trunkTransaction=latest,
        branchTransaction=latest,
        minWeightMagnitude=1,
        trytes=[sent[2], sent[0], sent[1]],
    )
    records = await iri.checked(reply["trytes"])
    assert [record.tx.current_index for record in records] == [0, 1, 2]
    assert [record.tx.trunk for record in records] == [
        records[1].hash,
        records[2].hash,
        latest,
    ]
    assert {record.tx.branch for record in records} == {latest}
    for record in records:
        assert record.tx.attachment_upper == (3**27 - 1) // 2
        assert record.tx.attachment_lower == 0
        assert abs(record.tx.attachment_timestamp_ms - iri.clock_ms()) < 10_000


async def test_an_empty_tag_becomes_the_obsolete_tag(iri: RunningDevnet) -> None:
    (record,) = attach(iri, message())
    assert record.tx.tag == "9" * 27
    wallet = Wallet()
    records = attach(iri, wallet.spend(amount_i=1, to={STRANGER: 1}))
    assert records[0].tx.tag == records[0].tx.obsolete_tag


async def test_iri_finds_the_intersection_of_kinds(
    call_iri: Caller, iri: RunningDevnet
) -> None:
    (one,) = await put(iri, message("ONE"))
    (two,) = await put(iri, message("TWO"), trunk=one.hash)

    async def find(**kinds: list[str]) -> list[str]:
        return (await call_iri("findTransactions", **kinds))["hashes"]

    assert await find(addresses=[STRANGER]) == [one.hash, two.hash]
    assert await find(tags=["ONE"]) == [one.hash]
    assert await find(tags=["ONE", "TWO"]) == [one.hash, two.hash]
    assert await find(addresses=[STRANGER], tags=["TWO"]) == [two.hash]
    assert await find(bundles=[one.tx.bundle], tags=["TWO"]) == []
    assert await find(approvees=[one.hash]) == [two.hash]


async def test_iri_drops_light_transactions_without_a_word(
    call_iri: Caller, iri: RunningDevnet
) -> None:
    (record,) = attach(iri, message())
    reply = await call_iri("storeTransactions", trytes=[too_light(record.trytes)])
    assert reply.keys() == {"duration"}
    assert len(iri.node.tangle) == 2


async def test_iri_refuses_other_invalid_transactions(
    call_iri: Caller, iri: RunningDevnet, wallet: Wallet
) -> None:
    odd = "9" * 80 + "E"
    records = attach(iri, wallet.spend(amount_i=1, to={odd: 1}))
    status, reply = await call_iri.raw(
        command("storeTransactions", trytes=[records[0].trytes])
    )
    assert (status, reply["error"]) == (400, "Invalid trytes input")


async def test_broadcasting_alone_stores_nothing_on_iri(
    call_iri: Caller, iri: RunningDevnet
) -> None:
    (record,) = attach(iri, message())
    await call_iri("broadcastTransactions", trytes=[record.trytes])
    assert record.hash not in iri.node.tangle
    await call_iri("storeTransactions", trytes=[record.trytes])
    assert record.hash in iri.node.tangle
    assert (await call_iri("getTips"))["hashes"] == [record.hash]


NO_LEDGER = (
    "tails are not consistent"
    " (would lead to inconsistent ledger state or below max depth)"
)


async def test_iri_checks_consistency_for_real(
    call_iri: Caller, iri: RunningDevnet, wallet: Wallet
) -> None:
    await funded(iri, wallet)

    async def check(*tails: str) -> tuple[bool, str]:
        reply = await call_iri("checkConsistency", tails=list(tails))
        return reply["state"], reply["info"]

    good = await put(iri, wallet.spend(amount_i=100, to={STRANGER: 100}))
    rival = await put(iri, wallet.spend(amount_i=100, to={STRANGER: 1, UNKNOWN: 99}))
    greedy = await put(iri, Wallet(level=1).spend(amount_i=9, to={STRANGER: 9}))
    assert await check(good[0].hash) == (True, "")
    assert await check(rival[0].hash) == (True, "")
    assert await check(good[0].hash, rival[0].hash) == (False, NO_LEDGER)
    assert await check(greedy[0].hash) == (False, NO_LEDGER)

    status, reply = await call_iri.raw(
        command("checkConsistency", tails=[good[1].hash])
    )
    assert status == 400
    assert reply["error"] == f"Invalid transaction, not a tail: {good[1].hash}"

    (adrift,) = await put(iri, message(), trunk=UNKNOWN)
    text = f"tails are not solid (missing a referenced tx): {adrift.hash}"
    assert await check(adrift.hash) == (False, text)

    unsigned = without_signature(wallet.spend(amount_i=100, to={STRANGER: 100}))
    invalid = await put(iri, unsigned)
    text = f"tails are not consistent (bundle is invalid): {invalid[0].hash}"
    assert await check(invalid[0].hash) == (False, text)

    await iri.tick()
    assert await check(good[0].hash) == (True, "")
    assert await check(rival[0].hash) == (False, NO_LEDGER)


async def test_iri_never_confirms_a_conflict(
    call_iri: Caller, iri: RunningDevnet, wallet: Wallet
) -> None:
    await funded(iri, wallet)
    first = await put(iri, wallet.spend(amount_i=100, to={STRANGER: 100}))
    second = await put(iri, wallet.spend(amount_i=100, to={STRANGER: 1, UNKNOWN: 99}))
    for _ in range(3):
        await iri.tick()
    reply = await call_iri(
        "getInclusionStates", transactions=[first[0].hash, second[0].hash]
    )
    assert reply["states"] == [True, False]
    assert second[0].hash not in iri.node.confirmations
    tips = await call_iri("getTransactionsToApprove", depth=3)
    assert second[0].hash not in tips.values()


async def test_iri_builds_on_the_reference(
    call_iri: Caller, iri: RunningDevnet, wallet: Wallet
) -> None:
    (record,) = await put(iri, message())
    reply = await call_iri("getTransactionsToApprove", depth=3, reference=record.hash)
    assert reply["branchTransaction"] == record.hash
    for _ in range(5):
        await iri.tick()
    request = command("getTransactionsToApprove", depth=3, reference=record.hash)
    status, reply = await call_iri.raw(request)
    assert (status, reply["error"]) == (400, "reference transaction is too old")

    greedy = await put(iri, wallet.spend(amount_i=9, to={STRANGER: 9}))
    request = command("getTransactionsToApprove", depth=3, reference=greedy[0].hash)
    status, reply = await call_iri.raw(request)
    text = f"entry point failed consistency check: {greedy[0].hash}"
    assert (status, reply["error"]) == (400, text)


async def test_iri_asks_for_basic_authentication_in_its_realm(
    session: object,
) -> None:
    async with running_devnet(plain(Dialect.IRI, basic_auth="me:secret")) as devnet:
        async with session.post(devnet.url + "/", json={}) as reply:
            assert reply.status == 401
            assert reply.headers["WWW-Authenticate"] == 'Basic realm="Iota Realm"'
        headers = {
            "Authorization": "Basic bWU6c2VjcmV0",
            "X-IOTA-API-Version": "1",
        }
        body = command("getNodeInfo")
        async with session.post(devnet.url + "/", json=body, headers=headers) as reply:
            assert reply.status == 200
