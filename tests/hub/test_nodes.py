# SPDX-License-Identifier: Apache-2.0
"""What a quorum of nodes says is believed; one that errs, lags or lies is outvoted."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from hub.errors import NodeUnavailableError
from hub.model import Address, BundleHash, TransactionHash
from hub.node import TailHealth
from hub.node_health import PATIENT_FAILURES, pause_s
from hub.nodes import Nodes
from tests.hub.bookkeeping import T0_MS, ManualClock, trytes
from tests.hub.simulated_nodes import SimulatedNode, quorum_of
from trinary.bundle import Transaction, serialise_transaction
from trinary.curl import transaction_hash

ONE, TWO = Address("A" * 80 + "9"), Address("B" * 80 + "9")
TAIL = TransactionHash("C" * 81)


def holding(*amounts_i: int) -> SimulatedNode:
    return SimulatedNode(getBalances={"balances": [str(i) for i in amounts_i]})


@pytest.mark.parametrize(
    ("answers", "quorum", "agreed"),
    [
        ([5, 5, 5], 2, 5),
        ([5, 5, 9], 2, 5),  # one lies
        ([0, 5, 5], 2, 5),  # one lags
        ([5, 9, 7], 2, None),
        ([5, 5, 9, 9], 2, None),  # two quorums contradict each other
        ([5, 9], 1, None),
        ([5], 1, 5),
    ],
)
async def test_a_balance_is_what_a_quorum_agrees_on(
    answers: list[int], quorum: int, agreed: int | None
) -> None:
    async with quorum_of(*map(holding, answers), quorum=quorum) as nodes:
        assert (await nodes.balances([ONE])).get(ONE) == agreed


async def test_one_address_in_dispute_leaves_the_others_agreed() -> None:
    async with quorum_of(holding(1, 2), holding(1, 3), quorum=2) as nodes:
        assert await nodes.balances([ONE, TWO]) == {ONE: 1}


MALFORMED: list[tuple[str, bytes]] = [
    ("no json", b"<html>"),
    ("nothing", b""),
    ("a list", b"[]"),
    ("a number", b"1"),
    ("no balances", b"{}"),
    ("null", b'{"balances": null}'),
    ("too few", b'{"balances": []}'),
    ("too many", b'{"balances": ["1", "2"]}'),
    ("no number", b'{"balances": ["x"]}'),
    ("negative", b'{"balances": ["-1"]}'),
    ("beyond the supply", b'{"balances": ["2779530283277762"]}'),
    ("an error beside it", b'{"balances": ["1"], "error": "no"}'),
    ("nested without end", b"[" * 200_000),
    ("no text", b"\xff\xfe\xfd"),
]


@pytest.mark.parametrize(
    "raw", [m[1] for m in MALFORMED], ids=[m[0] for m in MALFORMED]
)
async def test_a_node_that_talks_nonsense_is_as_good_as_away(raw: bytes) -> None:
    odd = holding()
    odd.raw = raw
    async with quorum_of(odd, quorum=1) as nodes:
        with pytest.raises(NodeUnavailableError):
            await nodes.balances([ONE])
    async with quorum_of(odd, holding(7), holding(7), quorum=2) as nodes:
        assert await nodes.balances([ONE]) == {ONE: 7}


@pytest.mark.parametrize("status", [201, 301, 400, 401, 403, 500, 503])
async def test_w11_another_status_than_200_is_no_success(status: int) -> None:
    node = SimulatedNode(
        storeTransactions={}, broadcastTransactions={}, getBalances={"balances": ["1"]}
    )
    node.status = status
    async with quorum_of(node, quorum=1) as nodes:
        with pytest.raises(NodeUnavailableError):
            await nodes.send(["9" * 2673])
        with pytest.raises(NodeUnavailableError):
            await nodes.balances([ONE])


async def test_w11_a_node_that_never_answers_meets_a_deadline() -> None:
    silent = SimulatedNode()
    silent.delay_s = 5
    made = [silent, holding(3), holding(3)]
    async with quorum_of(*made, quorum=2, timeout_s=0.2) as nodes, asyncio.timeout(2):
        assert await nodes.balances([ONE]) == {ONE: 3}


async def test_storing_at_one_node_is_enough_and_at_none_is_a_fault() -> None:
    good = SimulatedNode(storeTransactions={}, broadcastTransactions={})
    bad = SimulatedNode()
    async with quorum_of(bad, good, quorum=2) as nodes:
        await nodes.send(["9" * 2673])
    async with quorum_of(bad, quorum=1) as nodes:
        with pytest.raises(NodeUnavailableError):
            await nodes.send(["9" * 2673])


@pytest.mark.parametrize(
    ("states", "confirmed"),
    [
        ([True, True, False], True),
        ([True, False, False], False),  # one lies
        (["true", True, False], False),  # a text is no answer
        ([True, True, True], True),
    ],
)
async def test_a_tail_is_confirmed_when_a_quorum_says_so(
    states: list[object], *, confirmed: bool
) -> None:
    made = [SimulatedNode(getInclusionStates={"states": [s]}) for s in states]
    async with quorum_of(*made, quorum=2) as nodes:
        assert await nodes.confirmed([TAIL]) == {TAIL: confirmed}


async def test_iri_is_asked_about_its_latest_milestone() -> None:
    node = SimulatedNode(
        getNodeInfo={"latestMilestone": "M" * 81},
        getInclusionStates={"states": [True]},
    )
    async with quorum_of(node, quorum=1, dialect="iri") as nodes:
        assert await nodes.confirmed([TAIL]) == {TAIL: True}
    assert node.asked[-1]["tips"] == ["M" * 81]


async def test_a_spend_that_one_node_saw_is_a_spend() -> None:
    yes = SimulatedNode(wereAddressesSpentFrom={"states": [True]})
    no = SimulatedNode(wereAddressesSpentFrom={"states": [False]})
    async with quorum_of(no, yes, no, quorum=2) as nodes:
        assert await nodes.were_spent([ONE]) == [True]


# --- how each node does ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "pause"),
    [(0, 0), (2, 0), (3, 5), (4, 10), (5, 20), (6, 40), (7, 60), (10_000, 60)],
)
def test_a_failing_node_is_spared_for_longer_each_time_up_to_a_minute(
    failures: int, pause: float
) -> None:
    assert pause_s(failures) == pause


async def test_a_node_that_keeps_failing_is_spared_and_one_that_refuses_is_not() -> (
    None
):
    away, refusing = SimulatedNode(), SimulatedNode(getBalances={"error": "no"})
    away.raw = b"<html>"
    made = [away, refusing, holding(3), holding(3)]
    async with quorum_of(*made, quorum=2) as nodes:
        for _ in range(6):
            assert await nodes.balances([ONE]) == {ONE: 3}
        assert len(away.asked) == PATIENT_FAILURES + 1
        assert len(refusing.asked) == 6
        health = nodes.health()
    assert [node.failures for node in health] == [3, 0, 0, 0]
    assert health[0].paused_s > 0
    assert health[0].last_answer_ms is None
    assert health[1].last_answer_ms == T0_MS


async def test_a_node_s_password_is_never_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with quorum_of(holding(3), SimulatedNode(), quorum=1) as made:
        urls = [node.url.replace("//", "//hub:hunter2@") for node in made.clients]
        nodes = Nodes(
            [(url, "hornet") for url in urls],
            quorum=1,
            timeout_s=1.0,
            clock_ms=ManualClock(),
        )
        async with nodes:
            assert await nodes.balances([ONE]) == {ONE: 3}
            assert "hunter2" not in str(nodes.health())
    assert "unknown" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_spared_node_is_asked_when_the_quorum_needs_it() -> None:
    node, other = SimulatedNode(), holding(3)
    node.raw = b""
    async with quorum_of(node, other, quorum=2) as nodes:
        for _ in range(5):
            with pytest.raises(NodeUnavailableError):
                await nodes.balances([ONE])
        assert nodes.health()[0].paused_s > 0
        node.raw, node.answers = None, other.answers
        assert await nodes.balances([ONE]) == {ONE: 3}
        assert nodes.health()[0].failures == 0


def holding_at(index: int, amount_i: int, **fields: Any) -> SimulatedNode:  # noqa: ANN401
    node = milestone_node(latest=index, solid=index, **fields)
    node.answers["getBalances"] = {"balances": [str(amount_i)], "milestoneIndex": index}
    return node


async def test_an_outvoted_node_is_named_with_what_it_said_and_a_late_one_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = [holding_at(11, 5), holding_at(11, 5), holding_at(11, 9), holding_at(10, 0)]
    async with quorum_of(*made, quorum=2) as nodes:
        await nodes.require_synced()
        assert await nodes.balances([ONE]) == {ONE: 5}
        health = nodes.health()
    assert [node.outvoted_balances for node in health] == [0, 0, 1, 0]
    assert [node.lag for node in health] == [0, 0, 0, 1]
    assert f"{health[2].url} says of {ONE} 9, the quorum 5" in caplog.text
    assert health[3].url not in caplog.text


async def test_a_node_whose_milestone_is_old_has_no_vote_on_balances() -> None:
    stale = [holding_at(3, 0, age_s=500), holding_at(3, 0, age_s=500)]
    async with quorum_of(holding_at(11, 5), holding_at(11, 5), *stale, quorum=2) as n:
        assert await n.balances([ONE]) == {}  # two quorums contradict each other
        await n.require_synced()
        assert await n.balances([ONE]) == {ONE: 5}
        assert [node.stale for node in n.health()] == [False, False, True, True]


async def test_only_what_was_true_since_a_milestone_counts_where_that_is_asked() -> (
    None
):
    made = [holding_at(11, 5), holding_at(10, 0), holding_at(10, 0)]
    async with quorum_of(*made, quorum=2) as nodes:
        assert await nodes.balances([ONE]) == {ONE: 0}
        assert await nodes.balances([ONE], since=11) == {}


async def test_a_node_that_says_unconfirmed_against_the_quorum_is_counted() -> None:
    states = [True, True, False]
    made = [SimulatedNode(getInclusionStates={"states": [s]}) for s in states]
    async with quorum_of(*made, quorum=2) as nodes:
        await nodes.confirmed([TAIL])
        assert [n.outvoted_confirmations for n in nodes.health()] == [0, 0, 1]


@pytest.mark.parametrize(
    "diff",
    [
        {ONE: 5},  # makes value
        {ONE: True, TWO: -1},
        {ONE: "5", TWO: "-5"},
        {"A": 5, TWO: -5},
        {ONE: 2779530283277762, TWO: -2779530283277762},
        [ONE],
        None,
    ],
    ids=str,
)
async def test_a_diff_that_makes_no_sense_is_no_answer(diff: object) -> None:
    node = milestone_node()
    node.answers["getLedgerDiff"] = {"diff": diff, "milestoneIndex": 10}
    async with quorum_of(node, quorum=1) as nodes:
        await nodes.require_synced()
        with pytest.raises(NodeUnavailableError, match="0 of 1 nodes"):
            await nodes.ledger_diff(10)
        assert nodes.health()[0].failures == 1


async def test_a_diff_of_another_milestone_is_no_answer() -> None:
    node = milestone_node()
    node.answers["getLedgerDiff"] = {"diff": {ONE: 1, TWO: -1}, "milestoneIndex": 9}
    async with quorum_of(node, quorum=1) as nodes:
        with pytest.raises(NodeUnavailableError):
            await nodes.ledger_diff(10)


# --- milestones ---------------------------------------------------------------------


def milestone_node(
    *, latest: int = 10, solid: int = 10, age_s: int = 5, known: bool = True
) -> SimulatedNode:
    text = some_transaction(timestamp_s=T0_MS // 1000 - age_s)
    return SimulatedNode(
        getNodeInfo={
            "latestMilestone": transaction_hash(text),
            "latestMilestoneIndex": latest,
            "latestSolidSubtangleMilestoneIndex": solid,
        },
        getTrytes={"trytes": [text if known else "9" * 2673]},
    )


@pytest.mark.parametrize(
    ("fields", "synced"),
    [
        ({}, True),
        ({"solid": 9}, True),  # LSM = LM - 1 while it is being solidified
        ({"solid": 8}, False),
        ({"latest": 0, "solid": 0}, False),
        ({"age_s": 300}, True),
        ({"age_s": 301}, False),
        ({"known": False}, False),
    ],
    ids=str,
)
async def test_only_a_solid_node_with_a_fresh_milestone_counts(
    fields: dict[str, Any], *, synced: bool
) -> None:
    async with quorum_of(milestone_node(**fields), quorum=1) as nodes:
        if synced:
            await nodes.require_synced()
        else:
            with pytest.raises(NodeUnavailableError):
                await nodes.require_synced()


async def test_the_milestone_is_one_that_a_quorum_has_reached() -> None:
    liar = milestone_node(latest=10**9, solid=10**9, age_s=-10_000)
    honest = [milestone_node(), milestone_node(latest=11, solid=11)]
    async with quorum_of(liar, *honest, quorum=2) as nodes:
        assert (await nodes.require_synced()).index == 11
    stale = [milestone_node(age_s=500), milestone_node(age_s=500)]
    async with quorum_of(liar, *stale, quorum=2) as nodes:
        with pytest.raises(NodeUnavailableError, match="the network stands"):
            await nodes.require_synced()


# --- transactions -------------------------------------------------------------------


def some_transaction(**fields: Any) -> str:  # noqa: ANN401
    usual: dict[str, Any] = {
        "signature_message": "9" * 2187,
        "address": ONE,
        "value_i": 0,
        "obsolete_tag": "9" * 27,
        "timestamp_s": 1,
        "current_index": 0,
        "last_index": 0,
        "bundle": "9" * 81,
        "trunk": "9" * 81,
        "branch": "9" * 81,
        "tag": "9" * 27,
        "attachment_timestamp_ms": 0,
        "attachment_lower": 0,
        "attachment_upper": 0,
        "nonce": trytes(27),
    }
    return serialise_transaction(Transaction(**(usual | fields)))


async def test_a_transaction_that_does_not_hash_to_its_name_is_dropped() -> None:
    real, forged = some_transaction(value_i=5), some_transaction(value_i=500)
    name = transaction_hash(real)
    find = {"hashes": [name]}
    honest = SimulatedNode(findTransactions=find, getTrytes={"trytes": [real]})
    liar = SimulatedNode(findTransactions=find, getTrytes={"trytes": [forged]})
    for made in ([liar], [honest, liar]):
        async with quorum_of(*made, quorum=1) as nodes:
            found = await nodes.transactions_at([ONE])
            assert [t.content.value_i for t in found] == [5] * (len(made) - 1)


async def test_a_search_that_was_cut_off_is_repeated_in_halves() -> None:
    hashes = {address: [trytes() for _ in range(600)] for address in (ONE, TWO)}

    def find(command: Mapping[str, Any]) -> object:
        found = [h for address in command["addresses"] for h in hashes[address]]
        return {"hashes": found[:1000]}

    node = SimulatedNode(findTransactions=find)
    async with quorum_of(node, quorum=1) as nodes:
        found = await nodes.clients[0].find(addresses=[ONE, TWO])
    assert set(found) == {*hashes[ONE], *hashes[TWO]}
    assert all(asked["valueOnly"] is True for asked in node.asked)


async def test_one_address_with_too_many_transactions_does_not_hide_the_others() -> (
    None
):
    def find(command: Mapping[str, Any]) -> object:
        if ONE in command["addresses"]:
            return {"error": "Could not complete request"}
        return {"hashes": ["D" * 81]}

    node = SimulatedNode(findTransactions=find)
    async with quorum_of(node, quorum=1, dialect="iri") as nodes:
        assert await nodes.clients[0].find(addresses=[ONE, TWO]) == ["D" * 81]
    assert "valueOnly" not in node.asked[0]


async def test_every_question_is_cut_into_batches() -> None:
    def balances(command: Mapping[str, Any]) -> object:
        assert len(command["addresses"]) <= 1000
        return {"balances": ["0"] * len(command["addresses"])}

    many = [Address(trytes()) for _ in range(2_500)]
    async with quorum_of(SimulatedNode(getBalances=balances), quorum=1) as nodes:
        assert len(await nodes.balances(many)) == len(set(many))


# --- tails ----------------------------------------------------------------------------


def hornet_tail(*, promote: bool, reattach: bool, conflicting: bool) -> SimulatedNode:
    return SimulatedNode(
        getTipInfo={
            "confirmed": False,
            "conflicting": conflicting,
            "shouldPromote": promote,
            "shouldReattach": reattach,
        },
        checkConsistency={"state": True},
    )


@pytest.mark.parametrize(
    ("fields", "health"),
    [
        ({"promote": True, "reattach": False, "conflicting": False}, (True, False)),
        ({"promote": False, "reattach": True, "conflicting": False}, (False, True)),
        ({"promote": False, "reattach": False, "conflicting": True}, (False, True)),
        ({"promote": False, "reattach": False, "conflicting": False}, (False, False)),
    ],
    ids=str,
)
async def test_w29_hornet_is_asked_for_tip_info(
    fields: dict[str, bool], health: tuple[bool, bool]
) -> None:
    node = hornet_tail(**fields)
    async with quorum_of(node, quorum=1) as nodes:
        promote, reattach = health
        found = await nodes.tail_health(TAIL)
        assert found == TailHealth(promote=promote, reattach=reattach)
    assert [asked["command"] for asked in node.asked] == ["getTipInfo"]


async def test_one_lagging_node_does_not_make_a_tail_be_reattached() -> None:
    lagging = SimulatedNode(checkConsistency={"state": False})
    good = SimulatedNode(checkConsistency={"state": True})
    unknowing = SimulatedNode()
    async with quorum_of(lagging, good, good, quorum=2, dialect="iri") as nodes:
        assert (await nodes.tail_health(TAIL)).promote
    async with quorum_of(unknowing, unknowing, good, quorum=2, dialect="iri") as nodes:
        assert (await nodes.tail_health(TAIL)).promote
    async with quorum_of(lagging, lagging, good, quorum=2, dialect="iri") as nodes:
        assert (await nodes.tail_health(TAIL)).reattach


async def test_tips_are_taken_from_another_node_each_time() -> None:
    def tips(letter: str) -> SimulatedNode:
        reply = {"trunkTransaction": letter * 81, "branchTransaction": letter * 81}
        return SimulatedNode(getTransactionsToApprove=reply)

    bad = SimulatedNode(getTransactionsToApprove={"trunkTransaction": "x"})
    async with quorum_of(tips("A"), tips("B"), bad, quorum=2) as nodes:
        taken = {(await nodes.tips(depth=3))[0][0] for _ in range(6)}
    assert taken == {"A", "B"}


QUESTIONS: dict[str, Callable[[Nodes], Any]] = {
    "balances": lambda nodes: nodes.balances([ONE]),
    "confirmed": lambda nodes: nodes.confirmed([TAIL]),
    "were_spent": lambda nodes: nodes.were_spent([ONE]),
    "transactions_at": lambda nodes: nodes.transactions_at([ONE]),
    "transactions_of": lambda nodes: nodes.transactions_of([BundleHash("A" * 81)]),
    "ledger_diff": lambda nodes: nodes.ledger_diff(1),
    "tail_health": lambda nodes: nodes.tail_health(TAIL),
    "tips": lambda nodes: nodes.tips(depth=3),
    "send": lambda nodes: nodes.send(["9" * 2673]),
    "require_synced": lambda nodes: nodes.require_synced(),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("dialect", ["iri", "hornet"])
@pytest.mark.parametrize(
    "nonsense",
    [{}, {"states": 1, "hashes": 1, "trytes": 1}, {"hashes": [None]}],
    ids=["empty", "numbers", "null"],
)
async def test_no_nonsense_is_anything_but_a_fault(
    question: str, dialect: str, nonsense: dict[str, object]
) -> None:
    odd = SimulatedNode()
    odd.raw = json.dumps(nonsense).encode()
    async with quorum_of(odd, quorum=1, dialect=dialect) as nodes:
        try:
            await QUESTIONS[question](nodes)
        except NodeUnavailableError:
            return
        assert odd.asked  # an empty reply is fine where nothing was asked for
