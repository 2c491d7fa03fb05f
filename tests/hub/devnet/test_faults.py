# SPDX-License-Identifier: Apache-2.0
"""Every fault switch does what it says, over the API that clients use."""

import asyncio
import time

import aiohttp
import pytest

from hub.devnet.config import Dialect
from hub.devnet.embedded import RunningDevnet
from hub.devnet.errors import InvalidFaultError
from hub.devnet.faults import Fault, Faults
from tests.hub.devnet.world import (
    STRANGER,
    Caller,
    Wallet,
    attach,
    funded,
    message,
    put,
)

NINES = "9" * 2673
REFUNDED = 100


async def refusal(call: Caller, name: str, **parameters: object) -> tuple[int, object]:
    status, reply = await call.raw({"command": name, **parameters})
    return status, reply.get("error")


async def test_pruned_history_keeps_balances_and_loses_transactions(
    devnet: RunningDevnet, call: Caller, wallet: Wallet
) -> None:
    await funded(devnet, wallet)
    (tail,) = (await call("findTransactions", addresses=[wallet.address()]))["hashes"]
    devnet.faults.set(Fault.PRUNED_HISTORY, value=True)
    found = await call("findTransactions", addresses=[wallet.address()])
    assert found["hashes"] == []
    assert (await call("getTrytes", hashes=[tail]))["trytes"] == [NINES]
    states = await call("getInclusionStates", transactions=[tail])
    assert states["states"] == [False]
    balances = await call("getBalances", addresses=[wallet.address()])
    assert balances["balances"] == ["100"]
    info = await call("getNodeInfo")
    assert info["lastSnapshottedMilestoneIndex"] == 2
    milestone = await call("getTrytes", hashes=[info["latestMilestone"]])
    assert milestone["trytes"] != [NINES]


async def test_history_can_be_pruned_up_to_a_milestone(
    devnet: RunningDevnet, call: Caller, wallet: Wallet
) -> None:
    await funded(devnet, wallet)
    (later,) = await put(devnet, message())
    await devnet.tick()
    devnet.faults.set(Fault.PRUNED_HISTORY, 2)
    found = await call("findTransactions", addresses=[wallet.address()])
    assert found["hashes"] == []
    assert (await call("getTrytes", hashes=[later.hash]))["trytes"] == [later.trytes]


NOT_UPDATED = (
    "This operation cannot be executed: The subtangle has not been updated yet."
)


async def test_an_unsynced_iri_says_that_the_subtangle_is_not_updated(
    iri: RunningDevnet, call_iri: Caller
) -> None:
    iri.faults.set(Fault.UNSYNCED, value=True)
    info = await call_iri("getNodeInfo")
    assert info["latestMilestoneIndex"] == 1
    assert info["latestSolidSubtangleMilestoneIndex"] == 0
    refused = (400, NOT_UPDATED)
    assert await refusal(call_iri, "getInclusionStates", transactions=[]) == refused
    assert await refusal(call_iri, "checkConsistency", tails=[]) == refused
    assert await refusal(call_iri, "getTransactionsToApprove", depth=3) == refused


async def test_an_unsynced_hornet_says_so(
    hornet: RunningDevnet, call_hornet: Caller, session: aiohttp.ClientSession
) -> None:
    hornet.faults.set(Fault.UNSYNCED, value=True)
    assert (await call_hornet("getNodeInfo"))["isSynced"] is False
    refused = (400, "node not synced")
    some = [STRANGER]
    assert await refusal(call_hornet, "getBalances", addresses=some) == refused
    assert await refusal(call_hornet, "getInclusionStates", transactions=[]) == refused
    spent = await refusal(call_hornet, "wereAddressesSpentFrom", addresses=some)
    assert spent == refused
    info = await refusal(call_hornet, "getTipInfo", tailTransaction=STRANGER)
    assert info == (400, "node is not synced")
    tips = await refusal(call_hornet, "getTransactionsToApprove", depth=3)
    assert tips == (503, "node is not synchronized")
    async with session.get(hornet.url + "/healthz") as reply:
        assert reply.status == 503


async def test_a_stale_milestone_is_old_in_its_trytes(
    devnet: RunningDevnet, session: aiohttp.ClientSession
) -> None:
    devnet.faults.set(Fault.STALE_MILESTONE, 301)
    milestone = await devnet.tick()
    record = devnet.node.tangle.get(milestone.hash)
    now_s = devnet.clock_ms() / 1000
    assert 300 < now_s - record.tx.timestamp_s < 310
    assert 300 < now_s - record.tx.attachment_timestamp_ms / 1000 < 310
    assert devnet.node.latest == milestone
    async with session.get(devnet.url + "/healthz") as reply:
        assert reply.status == 503


async def test_a_lagging_node_is_one_milestone_behind(
    devnet: RunningDevnet, call: Caller
) -> None:
    await devnet.deposit(STRANGER, 5)
    await devnet.tick()
    (tail,) = (await call("findTransactions", addresses=[STRANGER]))["hashes"]
    devnet.faults.set(Fault.LAGGING_MILESTONE, value=True)
    balances = await call("getBalances", addresses=[STRANGER])
    assert (balances["balances"], balances["milestoneIndex"]) == (["0"], 1)
    states = await call("getInclusionStates", transactions=[tail])
    assert states["states"] == [False]
    info = await call("getNodeInfo")
    assert info["latestMilestoneIndex"] == 2
    assert info["latestSolidSubtangleMilestoneIndex"] == 1
    previous = devnet.node.milestones[1].hash
    assert info["latestSolidSubtangleMilestone"] == previous


async def test_a_stalled_confirmation_leaves_bundles_pending(
    devnet: RunningDevnet, call: Caller
) -> None:
    devnet.faults.set(Fault.STALLED_CONFIRMATION, value=True)
    (record,) = await put(devnet, message())
    await devnet.tick()
    states = await call("getInclusionStates", transactions=[record.hash])
    assert states["states"] == [False]
    devnet.faults.clear()
    await devnet.tick()
    states = await call("getInclusionStates", transactions=[record.hash])
    assert states["states"] == [True]


async def test_a_tail_below_max_depth_is_never_confirmed(
    devnet: RunningDevnet, call: Caller
) -> None:
    devnet.faults.set(Fault.STALLED_CONFIRMATION, value=True)
    (record,) = await put(devnet, message())
    for _ in range(16):
        await devnet.tick()
    devnet.faults.clear()
    await devnet.tick()
    assert record.hash not in devnet.node.confirmations
    reply = await call("checkConsistency", tails=[record.hash])
    assert reply["state"] is (devnet.config.dialect is Dialect.HORNET)


@pytest.mark.parametrize("by_hash", [False, True])
async def test_a_conflicting_spend_moves_nothing(
    devnet: RunningDevnet, call: Caller, wallet: Wallet, *, by_hash: bool
) -> None:
    await funded(devnet, wallet)
    records = await put(devnet, wallet.spend(amount_i=100, to={STRANGER: 100}))
    value = records[0].tx.bundle if by_hash else True
    devnet.faults.set(Fault.CONFLICTING_SPEND, value)
    await devnet.tick()
    states = await call("getInclusionStates", transactions=[records[0].hash])
    assert states["states"] == [False]
    balances = await call("getBalances", addresses=[STRANGER])
    assert balances["balances"] == ["0"]
    if devnet.config.dialect is Dialect.HORNET:
        info = await call("getTipInfo", tailTransaction=records[0].hash)
        assert info["conflicting"] is True
    else:
        reply = await call("checkConsistency", tails=[records[0].hash])
        assert reply["state"] is False


async def test_remote_work_is_refused_in_the_dialects_words(
    devnet: RunningDevnet, call: Caller
) -> None:
    devnet.faults.set(Fault.REMOTE_POW_REFUSED, value=True)
    assert (
        await refusal(call, "attachToTangle")
        == {
            Dialect.IRI: (401, "COMMAND attachToTangle is not available on this node"),
            Dialect.HORNET: (403, "command [attachToTangle] is protected"),
        }[devnet.config.dialect]
    )


async def test_slow_replies_come_late(devnet: RunningDevnet, call: Caller) -> None:
    devnet.faults.set(Fault.SLOW_REPLIES, 0.2)
    began = time.monotonic()
    await call("getNodeInfo")
    assert time.monotonic() - began >= 0.2


async def test_a_dropped_reply_still_had_its_effect(
    devnet: RunningDevnet, call: Caller
) -> None:
    (record,) = attach(devnet, message())
    devnet.faults.set(Fault.DROPPED_REPLIES, 1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await call("storeTransactions", trytes=[record.trytes])
    assert record.hash in devnet.node.tangle
    await call("storeTransactions", trytes=[record.trytes])


@pytest.mark.parametrize("text", [True, "out of disk"])
async def test_storing_is_refused_with_a_json_body(
    devnet: RunningDevnet, call: Caller, text: object
) -> None:
    devnet.faults.set(Fault.STORE_REFUSED, text)
    expected = text
    if text is True:
        is_iri = devnet.config.dialect is Dialect.IRI
        expected = "Invalid trytes input" if is_iri else "invalid transaction"
    for name in ("storeTransactions", "broadcastTransactions"):
        assert await refusal(call, name, trytes=[NINES]) == (400, expected)


async def test_finding_is_cut_short_without_a_word(
    devnet: RunningDevnet, call: Caller
) -> None:
    for _ in range(3):
        await put(devnet, message())
    devnet.faults.set(Fault.TRUNCATED_FIND, 2)
    found = await call("findTransactions", addresses=[STRANGER])
    assert len(found["hashes"]) == 2
    devnet.faults.set(Fault.TRUNCATED_FIND, 0)
    assert (await call("findTransactions", addresses=[STRANGER]))["hashes"] == []


async def test_a_lost_spent_set_forgets_confirmed_spends_only(
    devnet: RunningDevnet, call: Caller, wallet: Wallet
) -> None:
    async def is_spent() -> object:
        reply = await call("wereAddressesSpentFrom", addresses=[wallet.address()])
        return reply["states"][0]

    await funded(devnet, wallet)
    assert await is_spent() is False
    await put(devnet, wallet.spend(amount_i=100, to={STRANGER: 100}))
    assert await is_spent() is True
    devnet.faults.set(Fault.SPENT_SET_LOST, value=True)
    assert await is_spent() is True
    await devnet.tick()
    assert await is_spent() is False
    devnet.faults.clear()
    assert await is_spent() is True


async def test_a_hornet_may_know_no_spent_addresses(
    hornet: RunningDevnet, call_hornet: Caller
) -> None:
    hornet.faults.set(Fault.SPENT_UNAVAILABLE, value=True)
    refused = await refusal(call_hornet, "wereAddressesSpentFrom", addresses=[STRANGER])
    assert refused == (400, "wereAddressesSpentFrom not available in this node")


async def test_a_hornet_may_have_no_tips(
    hornet: RunningDevnet, call_hornet: Caller
) -> None:
    hornet.faults.set(Fault.NO_TIPS, value=True)
    refused = await refusal(call_hornet, "getTransactionsToApprove", depth=3)
    assert refused == (503, "no tips available")


async def test_a_strangers_reattachment_confirms_instead_of_the_original(
    devnet: RunningDevnet, call: Caller, wallet: Wallet
) -> None:
    await funded(devnet, wallet)
    devnet.faults.set(Fault.THIRD_PARTY_REATTACHMENT, value=True)
    records = await put(devnet, wallet.spend(amount_i=100, to={STRANGER: 100}))
    await devnet.tick()
    found = await call("findTransactions", bundles=[records[0].tx.bundle])
    tails = [
        tx_hash for tx_hash in found["hashes"] if devnet.node.tangle.is_tail(tx_hash)
    ]
    states = await call("getInclusionStates", transactions=tails)
    assert tails[0] == records[0].hash
    assert states["states"] == [False, True]
    await devnet.tick()
    balances = await call("getBalances", addresses=[STRANGER])
    assert balances["balances"] == ["100"]


async def test_the_faucet_pays_on_after_a_stranger_overtook_its_payment(
    devnet: RunningDevnet,
) -> None:
    devnet.faults.set(Fault.THIRD_PARTY_REATTACHMENT, value=True)
    for _ in range(3):
        await devnet.deposit(STRANGER, 100)
        await devnet.tick()
    devnet.faults.set(Fault.THIRD_PARTY_REATTACHMENT, value=False)
    await devnet.deposit(STRANGER, 100)
    await devnet.tick()
    assert devnet.node.balances[STRANGER] == 400


async def swept_and_refunded(devnet: RunningDevnet, wallet: Wallet) -> str:
    await funded(devnet, wallet)
    records = await put(devnet, wallet.spend(amount_i=100, to={STRANGER: 100}))
    await devnet.tick()
    await devnet.late_deposit(wallet.address(), REFUNDED)
    return records[0].tx.bundle


async def test_a_late_deposit_lands_on_a_swept_address(
    devnet: RunningDevnet, call: Caller, wallet: Wallet
) -> None:
    await swept_and_refunded(devnet, wallet)
    balances = await call("getBalances", addresses=[wallet.address()])
    assert balances["balances"] == ["100"]
    states = await call("wereAddressesSpentFrom", addresses=[wallet.address()])
    assert states["states"] == [True]


async def test_a_bundle_confirms_twice_when_its_input_is_refunded(
    devnet: RunningDevnet, call: Caller, wallet: Wallet
) -> None:
    bundle = await swept_and_refunded(devnet, wallet)
    tail = await devnet.reattach(bundle)
    await devnet.tick()
    states = await call("getInclusionStates", transactions=[tail])
    assert states["states"] == [True]
    balances = await call("getBalances", addresses=[wallet.address(), STRANGER])
    assert balances["balances"] == ["0", "200"]


async def test_the_second_confirmation_can_happen_by_itself(
    devnet: RunningDevnet, call: Caller, wallet: Wallet
) -> None:
    devnet.faults.set(Fault.SECOND_CONFIRMATION, value=True)
    await swept_and_refunded(devnet, wallet)
    await devnet.tick()
    balances = await call("getBalances", addresses=[wallet.address(), STRANGER])
    assert balances["balances"] == ["0", "200"]
    await devnet.tick()
    balances = await call("getBalances", addresses=[wallet.address(), STRANGER])
    assert balances["balances"] == ["0", "200"]


async def test_a_replay_without_a_refund_moves_nothing(
    devnet: RunningDevnet, wallet: Wallet
) -> None:
    await funded(devnet, wallet)
    records = await put(devnet, wallet.spend(amount_i=100, to={STRANGER: 100}))
    await devnet.tick()
    await devnet.reattach(records[0].tx.bundle)
    await devnet.tick()
    assert devnet.node.balances[STRANGER] == 100


def test_all_switches_are_off_at_the_start() -> None:
    faults = Faults()
    assert not any(faults.is_on(fault) for fault in Fault)
    assert faults.positions().keys() == {fault.value for fault in Fault}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gremlins", True),
        ("unsynced", "yes"),
        ("unsynced", 1),
        ("slow-replies", True),
        ("slow-replies", -1),
        ("truncated-find", 1.5),
        ("dropped-replies", "all"),
        ("conflicting-spend", 7),
    ],
)
def test_a_switch_takes_only_what_it_knows(name: str, value: object) -> None:
    with pytest.raises(InvalidFaultError):
        Faults().set(name, value)


async def test_faults_are_set_listed_and_cleared_over_http(
    devnet: RunningDevnet, call: Caller, session: aiohttp.ClientSession
) -> None:
    status, positions = await call.raw(
        {"name": "unsynced", "value": True}, path="/devnet/faults"
    )
    assert (status, positions["unsynced"]) == (200, True)
    assert devnet.faults.is_on(Fault.UNSYNCED)
    async with session.get(devnet.url + "/devnet/faults") as reply:
        assert (await reply.json())["unsynced"] is True
    async with session.delete(devnet.url + "/devnet/faults") as reply:
        assert (await reply.json())["unsynced"] is False
    for body in ({"name": "x", "value": True}, {"name": "unsynced", "value": []}):
        status, reply = await call.raw(body, path="/devnet/faults")
        assert (status, reply["code"]) == (400, "invalid-fault")


async def test_the_operator_acts_over_http(
    devnet: RunningDevnet, call: Caller, wallet: Wallet
) -> None:
    payment = {"address": wallet.address(), "amount_i": 100}
    status, reply = await call.raw(payment, path="/devnet/deposit")
    assert status == 200
    bundle = devnet.node.tangle.get(reply["tail"]).tx.bundle
    status, milestone = await call.raw({}, path="/devnet/tick")
    assert milestone["index"] == 2
    assert milestone["hash"] == devnet.node.latest.hash
    assert milestone["diff"][wallet.address()] == 100
    status, milestone = await call.raw(payment, path="/devnet/late-deposit")
    assert milestone["diff"][wallet.address()] == 100
    status, reply = await call.raw({"bundle": bundle}, path="/devnet/reattach")
    assert reply["tail"] in devnet.node.bundles


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("deposit", {"address": "A", "amount_i": 1}, "devnet"),
        ("deposit", {"address": STRANGER, "amount_i": 0}, "devnet"),
        ("deposit", {"address": STRANGER, "amount_i": True}, "devnet"),
        ("late-deposit", {"address": STRANGER, "amount_i": 10**16}, "faucet-empty"),
        ("reattach", {"bundle": STRANGER}, "unknown-transaction"),
        ("deposit", "[]", "devnet"),
        ("deposit", "hello", "devnet"),
    ],
)
async def test_mistakes_of_the_operator_are_explained(
    call_iri: Caller, path: str, body: object, code: str
) -> None:
    status, reply = await call_iri.raw(body, path=f"/devnet/{path}")
    assert (status, reply["code"]) == (400, code)


async def test_proof_of_work_can_be_interrupted(
    iri: RunningDevnet, call_iri: Caller
) -> None:
    latest = iri.node.latest.hash
    attaching = asyncio.create_task(
        call_iri(
            "attachToTangle",
            trunkTransaction=latest,
            branchTransaction=latest,
            minWeightMagnitude=14,
            trytes=[NINES] * 20,
        )
    )
    await asyncio.sleep(0.1)
    await call_iri("interruptAttachingToTangle")
    assert (await attaching)["trytes"] == []
