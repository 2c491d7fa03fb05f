# SPDX-License-Identifier: Apache-2.0
"""Golden replies of the HORNET dialect. Texts: HORNET 0.5.6 plugins/webapi."""

from typing import NamedTuple

import aiohttp
import pytest

from hub.devnet.config import SUPPLY_I, Dialect
from hub.devnet.embedded import RunningDevnet, running_devnet
from hub.devnet.faucet import faucet_address
from tests.hub.devnet.world import (
    STRANGER,
    UNKNOWN,
    Caller,
    Clock,
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
ODD_ADDRESS = "9" * 80 + "E"


class Golden(NamedTuple):
    request: object
    status: int
    reply: dict[str, object]


def refused(text: str, request: object, status: int = 400) -> Golden:
    return Golden(request, status, {"error": text})


def command(name: str, **parameters: object) -> dict[str, object]:
    return {"command": name, **parameters}


def attaching(**changes: object) -> dict[str, object]:
    parameters = {
        "trunkTransaction": HASH,
        "branchTransaction": HASH,
        "minWeightMagnitude": 1,
        "trytes": [NINES],
    }
    return command("attachToTangle", **{**parameters, **changes})


REFUSALS = {
    "no JSON": refused("error parsing command", "hello"),
    "no object": refused("error parsing command", "[]"),
    "no command": refused("error parsing command", {"x": 1}),
    "unknown command": refused("command [Fly] is unknown", command("Fly")),
    "IRI's commands": refused("command [getTips] is unknown", command("getTips")),
    "no addresses": refused("No addresses provided", command("getBalances")),
    "bad address": refused(
        "Invalid address: A", command("getBalances", addresses=["A"])
    ),
    "addresses are no list": refused(
        "internal error: invalid addresses", command("getBalances", addresses="A"), 500
    ),
    "too many hashes": refused(
        "Too many hashes. Max. allowed: 1000",
        command("getTrytes", hashes=[HASH] * 1001),
    ),
    "trytes of a bad hash": refused(
        "Invalid hash supplied: A", command("getTrytes", hashes=["A"])
    ),
    "inclusion of a bad hash": refused(
        "Invalid reference hash supplied: A",
        command("getInclusionStates", transactions=["A"]),
    ),
    "bad reference": refused(
        "invalid reference hash supplied",
        command("getTransactionsToApprove", reference="A"),
    ),
    "too much weight": refused(
        "Wrong MinWeightMagnitude. requested: 14, expected: 1",
        attaching(minWeightMagnitude=14),
    ),
    "nothing to attach": refused("No trytes given.", attaching(trytes=[])),
    "bad trunk": refused("invalid trunk hash supplied", attaching(trunkTransaction="")),
    "bad branch": refused(
        "invalid branch hash supplied", attaching(branchTransaction="a" * 81)
    ),
    "attach short trytes": refused("invalid trytes", attaching(trytes=["A"])),
    "attach more than the supply": refused(
        "insufficient balance",
        attaching(trytes=["9" * 2268 + "M" * 27 + "9" * 378]),
    ),
    "nothing to store": refused(
        "No trytes provided", command("storeTransactions", trytes=[])
    ),
    "nothing to broadcast": refused(
        "No trytes provided", command("broadcastTransactions")
    ),
    "store no trytes": refused(
        "invalid trytes", command("storeTransactions", trytes=["a" * 2673])
    ),
    "store short trytes": refused(
        "invalid transaction trytes", command("storeTransactions", trytes=["A"])
    ),
    "store more than the supply": refused(
        "insufficient balance",
        command("storeTransactions", trytes=["9" * 2268 + "M" * 27 + "9" * 378]),
    ),
    "no spent addresses": refused(
        "No addresses provided", command("wereAddressesSpentFrom", addresses=[])
    ),
    "tip information on no hash": refused(
        "invalid tail hash supplied", command("getTipInfo", tailTransaction="A")
    ),
    "tip information on the unknown": refused(
        "unknown tail transaction", command("getTipInfo", tailTransaction=UNKNOWN)
    ),
    "a difference of the future": refused(
        "Invalid milestone index supplied, lsmi is 1",
        command("getLedgerDiff", milestoneIndex=2),
    ),
    "an extended difference of the future": refused(
        "Invalid milestone index supplied, lsmi is 1",
        command("getLedgerDiffExt", milestoneIndex=2),
    ),
    "a ledger of the future": refused(
        "Invalid milestone index supplied, lsmi is 1",
        command("getLedgerState", targetIndex=2),
    ),
    "an approver of the unknown": refused(
        "unknown transaction", command("searchConfirmedApprover", txHash=UNKNOWN)
    ),
    "prune how much": refused(
        "either depth or targetIndex has to be specified", command("pruneDatabase")
    ),
    "no snapshot files": refused(
        "not available on a devnet", command("createSnapshotFile"), 500
    ),
}


@pytest.mark.parametrize("golden", REFUSALS.values(), ids=REFUSALS.keys())
async def test_hornet_refuses_in_its_own_words(
    golden: Golden, call_hornet: Caller
) -> None:
    answer = await call_hornet.raw(golden.request, version=False)
    assert answer == (golden.status, golden.reply)


ANSWERS = {
    "a balance": Golden(
        command("getBalances", addresses=[faucet_address(0), STRANGER]),
        200,
        {
            "balances": [str(SUPPLY_I), "0"],
            "references": ["<milestone>"],
            "milestoneIndex": 1,
        },
    ),
    "a balance by address with checksum": Golden(
        command("getBalances", addresses=[STRANGER + "A" * 9]),
        200,
        {"balances": ["0"], "references": ["<milestone>"], "milestoneIndex": 1},
    ),
    "commands in any case": Golden(
        command("GETTRYTES", hashes=[UNKNOWN]), 200, {"trytes": [NINES]}
    ),
    "an empty query finds nothing": Golden(
        command("findTransactions"), 200, {"hashes": []}
    ),
    "the unknown is not included": Golden(
        command("getInclusionStates", transactions=[UNKNOWN]),
        200,
        {"states": [False]},
    ),
    "anything is consistent": Golden(
        command("checkConsistency", tails=[UNKNOWN]), 200, {"state": True}
    ),
    "tips are the milestone": Golden(
        command("getTransactionsToApprove", depth=99),
        200,
        {"trunkTransaction": "<milestone>", "branchTransaction": "<milestone>"},
    ),
    "a reference is taken unseen": Golden(
        command("getTransactionsToApprove", depth=3, reference=UNKNOWN),
        200,
        {"trunkTransaction": "<milestone>", "branchTransaction": UNKNOWN},
    ),
    "nobody has spent": Golden(
        command("wereAddressesSpentFrom", addresses=[STRANGER]),
        200,
        {"states": [False]},
    ),
    "API configuration": Golden(
        command("getNodeAPIConfiguration"),
        200,
        {
            "maxFindTransactions": 1_000,
            "maxRequestsList": 1_000,
            "maxGetTrytes": 1_000,
            "maxBodyLength": 1_000_000,
            "milestoneStartIndex": 0,
        },
    ),
    "no neighbours": Golden(command("getNeighbors"), 200, {"neighbors": []}),
    "the ledger": Golden(
        command("getLedgerState"),
        200,
        {"balances": {faucet_address(0): SUPPLY_I}, "milestoneIndex": 1},
    ),
    "no difference": Golden(
        command("getLedgerDiff", milestoneIndex=1),
        200,
        {"diff": {}, "milestoneIndex": 1},
    ),
    "a confirmed tail needs nothing": Golden(
        command("getTipInfo", tailTransaction="<milestone>"),
        200,
        {
            "confirmed": True,
            "conflicting": False,
            "shouldPromote": False,
            "shouldReattach": False,
        },
    ),
}


@pytest.mark.parametrize("golden", ANSWERS.values(), ids=ANSWERS.keys())
async def test_hornet_answers_as_it_did(
    golden: Golden, call_hornet: Caller, hornet: RunningDevnet
) -> None:
    milestone = hornet.node.latest.hash
    status, reply = await call_hornet.raw(
        _named(golden.request, milestone), version=False
    )
    expected = {**_named(golden.reply, milestone), "duration": 0}
    assert (status, reply) == (golden.status, expected)


def _named(template: object, milestone: str) -> object:
    if isinstance(template, dict):
        return {key: _named(value, milestone) for key, value in template.items()}
    if isinstance(template, list):
        return [_named(value, milestone) for value in template]
    return milestone if template == "<milestone>" else template


async def test_hornet_tells_about_itself(
    call_hornet: Caller, hornet: RunningDevnet
) -> None:
    info = await call_hornet("getNodeInfo")
    assert info["appName"] == "HORNET"
    assert info["appVersion"] == "0.5.6"
    assert info["isSynced"] is True
    assert info["isHealthy"] is True
    assert info["features"] == ["RemotePOW", "WereAddressesSpentFrom"]
    assert info["latestMilestone"] == hornet.node.latest.hash
    assert info["latestSolidSubtangleMilestoneIndex"] == 1


async def test_hornet_protects_some_commands(session: aiohttp.ClientSession) -> None:
    async with running_devnet(plain(Dialect.HORNET, remote_limit=True)) as devnet:
        call = Caller(devnet.url, session)
        status, reply = await call.raw(attaching())
        assert (status, reply) == (
            403,
            {"error": "command [attachToTangle] is protected"},
        )
        await call("getNodeInfo")


async def test_hornet_allows_any_origin_and_compresses(
    hornet: RunningDevnet, session: aiohttp.ClientSession
) -> None:
    body = command("getTrytes", hashes=[UNKNOWN])
    async with session.post(hornet.url + "/", json=body) as reply:
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert reply.headers["Content-Encoding"] in {"gzip", "deflate"}


async def test_hornet_attaches_and_returns_the_tail_first(
    call_hornet: Caller, hornet: RunningDevnet, wallet: Wallet
) -> None:
    latest = hornet.node.latest.hash
    sent = attach(hornet, wallet.spend(amount_i=1, to={STRANGER: 1}))
    reply = await call_hornet.raw(
        attaching(
            trunkTransaction=latest,
            branchTransaction=latest,
            trytes=[record.trytes for record in reversed(sent)],
        )
    )
    records = await hornet.checked(reply[1]["trytes"])
    assert [record.tx.current_index for record in records] == [0, 1, 2]
    await call_hornet("broadcastTransactions", trytes=reply[1]["trytes"])
    assert all(record.hash in hornet.node.tangle for record in records)


async def test_hornet_says_what_is_wrong_with_a_transaction(
    call_hornet: Caller, hornet: RunningDevnet, wallet: Wallet
) -> None:
    async def refusal(trytes: str) -> object:
        status, reply = await call_hornet.raw(
            command("storeTransactions", trytes=[trytes])
        )
        assert status == 400
        return reply["error"]

    (record,) = attach(hornet, message())
    assert await refusal(too_light(record.trytes)) == "invalid transaction hash"
    odd = attach(hornet, wallet.spend(amount_i=1, to={ODD_ADDRESS: 1}))
    assert await refusal(odd[0].trytes) == "invalid address"


@pytest.mark.parametrize(
    ("dialect", "drift_ms"),
    [(Dialect.HORNET, 600_000), (Dialect.IRI, 7_200_000)],
)
async def test_attachments_of_the_future_are_refused(
    dialect: Dialect, drift_ms: int, session: aiohttp.ClientSession
) -> None:
    clock = Clock()
    async with running_devnet(plain(dialect), clock_ms=clock) as devnet:
        call = Caller(devnet.url, session)
        clock.now_ms += drift_ms
        (allowed,) = attach(devnet, message())
        clock.now_ms += 1
        (early,) = attach(devnet, message())
        clock.now_ms -= drift_ms + 1
        await call("storeTransactions", trytes=[allowed.trytes])
        status, reply = await call.raw(
            command("storeTransactions", trytes=[early.trytes])
        )
        text = "Invalid trytes input" if dialect is Dialect.IRI else "invalid timestamp"
        assert (status, reply["error"]) == (400, text)


async def test_hornet_finds_the_intersection_and_cuts_silently(
    call_hornet: Caller, hornet: RunningDevnet, wallet: Wallet
) -> None:
    await funded(hornet, wallet)
    records = await put(hornet, wallet.spend(amount_i=100, to={STRANGER: 100}))
    (note,) = await put(hornet, message())

    async def find(**query: object) -> object:
        return (await call_hornet("findTransactions", **query))["hashes"]

    assert await find(addresses=[STRANGER]) == [records[0].hash, note.hash]
    assert await find(addresses=[STRANGER + "A" * 9], maxresults=1) == [records[0].hash]
    assert await find(addresses=[STRANGER], valueOnly=True) == [records[0].hash]
    assert await find(addresses=[STRANGER], bundles=[note.tx.bundle]) == [note.hash]


async def test_hornet_cuts_what_it_finds_without_a_word(
    call_hornet: Caller, hornet: RunningDevnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.devnet.hornet.MAX_FIND_TRANSACTIONS", 2)
    for _ in range(3):
        await put(hornet, message())
    reply = await call_hornet("findTransactions", addresses=[STRANGER])
    assert len(reply["hashes"]) == 2


async def test_hornet_confirms_conflicts_and_says_so(
    call_hornet: Caller, hornet: RunningDevnet, wallet: Wallet
) -> None:
    await funded(hornet, wallet)
    first = await put(hornet, wallet.spend(amount_i=100, to={STRANGER: 100}))
    second = await put(hornet, wallet.spend(amount_i=100, to={UNKNOWN: 100}))
    await hornet.tick()
    reply = await call_hornet(
        "getInclusionStates", transactions=[first[0].hash, second[0].hash]
    )
    assert reply["states"] == [True, False]
    assert hornet.node.confirmations[second[1].hash].conflicting
    info = await call_hornet("getTipInfo", tailTransaction=second[0].hash)
    assert info == {
        "confirmed": False,
        "conflicting": True,
        "shouldPromote": False,
        "shouldReattach": False,
        "duration": 0,
    }


async def test_tip_information_follows_the_age_of_a_tail(
    call_hornet: Caller, hornet: RunningDevnet
) -> None:
    hornet.faults.set("stalled-confirmation", value=True)
    (record,) = await put(hornet, message())

    async def advice() -> tuple[object, object]:
        info = await call_hornet("getTipInfo", tailTransaction=record.hash)
        return info["shouldPromote"], info["shouldReattach"]

    seen = []
    for _ in range(17):
        seen.append(await advice())
        await hornet.tick()
    seen.append(await advice())
    assert seen == [(False, False)] * 9 + [(True, False)] * 7 + [(False, True)] * 2


async def test_tip_information_needs_a_solid_tail(
    call_hornet: Caller, hornet: RunningDevnet, wallet: Wallet
) -> None:
    (adrift,) = await put(hornet, message(), trunk=UNKNOWN)
    status, reply = await call_hornet.raw(
        command("getTipInfo", tailTransaction=adrift.hash)
    )
    assert (status, reply["error"]) == (400, "transaction is not solid")
    records = await put(hornet, wallet.spend(amount_i=1, to={STRANGER: 1}))
    status, reply = await call_hornet.raw(
        command("getTipInfo", tailTransaction=records[1].hash)
    )
    assert (status, reply["error"]) == (400, "transaction is not a tail")


async def test_ledger_differences_add_up_to_the_balances(
    call_hornet: Caller, hornet: RunningDevnet, wallet: Wallet
) -> None:
    await funded(hornet, wallet, 100)
    sent = await put(hornet, wallet.spend(amount_i=100, to={STRANGER: 60, UNKNOWN: 40}))
    await hornet.tick()
    balances = {faucet_address(0): SUPPLY_I}
    for index in range(1, 4):
        reply = await call_hornet("getLedgerDiff", milestoneIndex=index)
        assert reply["milestoneIndex"] == index
        assert sum(reply["diff"].values()) == 0
        for address, change in reply["diff"].items():
            balances[address] = balances.get(address, 0) + change
        held = {address: held_i for address, held_i in balances.items() if held_i}
        state = await call_hornet("getLedgerState", targetIndex=index)
        assert state["balances"] == held
    extended = await call_hornet("getLedgerDiffExt", milestoneIndex=3)
    assert extended["diff"] == {wallet.address(): -100, STRANGER: 60, UNKNOWN: 40}
    assert [each["txHash"] for each in extended["confirmedTxWithValue"]] == [
        record.hash for record in sent[:3]
    ]
    (bundle,) = extended["confirmedBundlesWithValue"]
    assert bundle["tailTxHash"] == sent[0].hash
    assert bundle["bundleHash"] == sent[0].tx.bundle
    assert bundle["lastIndex"] == 3
    assert [each["value"] for each in bundle["txs"]] == [60, 40, -100, 0]


async def test_a_confirmed_approver_is_found_with_its_path(
    call_hornet: Caller, hornet: RunningDevnet
) -> None:
    (record,) = await put(hornet, message())
    request = command("searchConfirmedApprover", txHash=record.hash)
    assert await call_hornet.raw(request) == (
        400,
        {"error": "no confirmed approver found"},
    )
    milestone = await hornet.tick()
    reply = await call_hornet(**request)
    assert reply["confirmedTxHash"] == record.hash
    assert reply["tanglePath"] == []
    reply = await call_hornet(**request, searchMilestone=True)
    assert reply["confirmedByMilestoneIndex"] == milestone.index
    assert reply["tanglePathLength"] == 1
    assert reply["tanglePath"][0]["referencedByTrunk"] is False


async def test_pruning_by_command_throws_the_switch(
    call_hornet: Caller, hornet: RunningDevnet
) -> None:
    (record,) = await put(hornet, message())
    await hornet.tick()
    await hornet.tick()
    await call_hornet("pruneDatabase", depth=1)
    assert hornet.faults.positions()["pruned-history"] == 2
    reply = await call_hornet("getTrytes", hashes=[record.hash])
    assert reply["trytes"] == [NINES]


async def test_an_invalid_bundle_is_never_confirmed(
    devnet: RunningDevnet, wallet: Wallet
) -> None:
    await funded(devnet, wallet)
    unsigned = without_signature(wallet.spend(amount_i=100, to={STRANGER: 100}))
    records = await put(devnet, unsigned)
    (on_top,) = await put(devnet, message(), trunk=records[0].hash)
    await devnet.tick()
    assert records[0].hash not in devnet.node.confirmations
    assert on_top.hash not in devnet.node.confirmations
    assert devnet.node.balances[wallet.address()] == 100
    assert not devnet.node.is_spent(wallet.address(), forget_confirmed=False)
