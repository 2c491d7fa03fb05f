# SPDX-License-Identifier: Apache-2.0
"""What milestones tell is where to look first; every deposit is found, and once."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from hub.deposits import UNEXPLAINED_TICKS
from hub.errors import NodeUnavailableError
from hub.model import UserId
from tests.hub.bookkeeping import trytes
from tests.hub.databases import Sqlite
from tests.hub.watching import FILLERS, Watch, watching


@pytest.fixture
async def watch(sqlite: Sqlite) -> AsyncGenerator[Watch]:
    async with watching(sqlite) as made:
        yield made


async def test_on_hornet_only_what_a_milestone_touched_is_asked_for(
    watch: Watch,
) -> None:
    address = await watch.deposit(50)
    assert await watch.monitor.tick() == 1
    assert await watch.unswept_i() == 50
    assert watch.asked_about() == {address}
    for _ in range(3):
        assert await watch.monitor.tick() == 0
    assert await watch.unswept_i() == 50


async def test_on_iri_everything_is_asked_for_each_time(sqlite: Sqlite) -> None:
    async with watching(sqlite, dialect="iri") as watch:
        await watch.deposit(50)
        assert await watch.monitor.tick() == 1
        assert len(watch.asked_about()) == FILLERS + 1
        assert watch.relays[0].commands("getLedgerDiff") == []


async def test_several_milestones_between_two_ticks_are_all_looked_into(
    watch: Watch,
) -> None:
    for amount_i in (1, 2, 4):
        await watch.deposit(amount_i)
    assert await watch.monitor.tick() == 3
    assert await watch.unswept_i() == 7
    diffs = watch.relays[0].commands("getLedgerDiff")
    indexes = [command["milestoneIndex"] for command in diffs]
    assert indexes == sorted(set(indexes))


async def test_what_came_while_no_hub_ran_is_found_once_after_the_start(
    watch: Watch,
) -> None:
    await watch.deposit(50)
    await watch.monitor.tick()
    await watch.deposit(7)
    watch.restart()
    assert await watch.monitor.tick() == 1
    assert await watch.monitor.tick() == 0
    assert await watch.unswept_i() == 57


def empty_diff(command: Mapping[str, Any]) -> object:
    return {"diff": {}, "milestoneIndex": command["milestoneIndex"]}


async def test_a_pruned_milestone_makes_the_hub_look_at_everything_at_once(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """HORNET has no error for it: an empty diff, and getNodeInfo that tells."""
    await watch.deposit(50)
    pruned = watch.devnet.node.latest.index
    tails = len(watch.relays[0].asked)
    watch.relays[0].answers["getNodeInfo"] = await info_of(watch, pruned)
    watch.relays[0].answers["getLedgerDiff"] = empty_diff
    assert await watch.monitor.tick() == 1
    assert "looking at every address" in caplog.text
    assert len(watch.relays[0].asked) > tails
    watch.relays[0].answers.clear()
    await watch.deposit(3)
    watch.forget()
    assert await watch.monitor.tick() == 1
    assert len(watch.asked_about()) < FILLERS  # milestones are followed again
    assert await watch.unswept_i() == 53


async def test_the_devnet_forgets_diffs_as_hornet_does(watch: Watch) -> None:
    await watch.deposit(50)
    index = (await watch.nodes.require_synced()).index
    assert len((await watch.nodes.ledger_diff(index)) or {}) > 1
    watch.devnet.faults.set("pruned-history", index)
    assert await watch.nodes.ledger_diff(index) is None
    await watch.devnet.tick()
    await watch.nodes.require_synced()
    assert await watch.nodes.ledger_diff(index + 1) == {}


async def info_of(watch: Watch, pruned: int) -> dict[str, Any]:
    info = await watch.nodes.clients[0].command("getNodeInfo")
    return info | {"milestoneStartIndex": pruned}


async def test_a_diff_that_nodes_refuse_makes_the_hub_look_at_everything(
    watch: Watch,
) -> None:
    refused = {"error": "command [getLedgerDiff] is protected"}
    watch.relays[0].answers["getLedgerDiff"] = refused
    await watch.deposit(50)
    assert await watch.monitor.tick() == 1
    assert await watch.unswept_i() == 50


async def test_a_lying_diff_is_outvoted_named_and_counted(
    sqlite: Sqlite, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(sqlite, relays=3, quorum=2) as watch:
        invented = trytes()

        def lie(command: Mapping[str, Any]) -> object:
            diff = {invented: 5, "A" * 80 + "9": -5}
            return {"diff": diff, "milestoneIndex": command["milestoneIndex"]}

        watch.relays[2].answers["getLedgerDiff"] = lie
        address = await watch.deposit(50)
        assert await watch.monitor.tick() == 1
        assert await watch.unswept_i() == 50
        assert invented not in watch.asked_about()
        health = watch.nodes.health()
        assert [node.outvoted_diffs for node in health] == [0, 0, 1]
        assert (
            f"{health[2].url} says of {watch.devnet.node.latest.index}" in caplog.text
        )
        assert address in caplog.text  # what the others said


async def test_nodes_that_all_contradict_each_other_hide_nothing(
    sqlite: Sqlite,
) -> None:
    async with watching(sqlite, relays=2, quorum=2) as watch:
        watch.relays[1].answers["getLedgerDiff"] = empty_diff
        await watch.deposit(50)
        assert await watch.monitor.tick() == 1
        assert await watch.unswept_i() == 50


async def test_a_node_that_is_not_that_far_only_delays(sqlite: Sqlite) -> None:
    async with watching(sqlite, relays=2, quorum=2) as watch:
        behind = await watch.nodes.clients[1].command("getNodeInfo")
        balances = {"balances": ["0"], "milestoneIndex": watch.devnet.node.latest.index}
        refused = {"error": "Invalid milestone index supplied"}
        watch.relays[1].answers |= {
            "getNodeInfo": behind,
            "getLedgerDiff": refused,
            "getBalances": balances,
        }
        await watch.deposit(50)
        assert await watch.monitor.tick() == 0
        watch.relays[1].answers.clear()
        assert await watch.monitor.tick() == 1
        assert await watch.unswept_i() == 50


async def test_an_invented_diff_credits_nothing(watch: Watch) -> None:
    address = await watch.address()

    def lie(command: Mapping[str, Any]) -> object:
        diff = {address: 5, "A" * 80 + "9": -5}
        return {"diff": diff, "milestoneIndex": command["milestoneIndex"]}

    watch.relays[0].answers["getLedgerDiff"] = lie
    await watch.devnet.tick()
    assert await watch.monitor.tick() == 0
    assert address in watch.asked_about()
    assert await watch.unswept_i() == 0


async def test_a_deposit_whose_history_was_cut_off_is_looked_at_until_it_is_booked(
    watch: Watch,
) -> None:
    """No milestone names it a second time; it is not forgotten for all that."""
    watch.relays[0].answers["findTransactions"] = {"hashes": []}
    await watch.deposit(50)
    assert await watch.monitor.tick() == 0
    watch.relays[0].answers.clear()
    assert await watch.monitor.tick() == 1
    assert await watch.unswept_i() == 50


async def test_value_without_a_history_is_held_after_as_many_ticks_as_ever(
    watch: Watch,
) -> None:
    watch.relays[0].answers["findTransactions"] = {"hashes": []}
    await watch.deposit(50)
    for _ in range(UNEXPLAINED_TICKS - 1):
        await watch.monitor.tick()
    async with watch.store.reading() as tx:
        before = (await tx.accounts.by_identifier(UserId("alice"))).quarantined_i
    await watch.monitor.tick()
    async with watch.store.reading() as tx:
        after = (await tx.accounts.by_identifier(UserId("alice"))).quarantined_i
    assert (before, after) == (0, 50)


async def test_early_looks_hold_no_value_that_has_no_history_yet(
    watch: Watch,
) -> None:
    watch.relays[0].answers["findTransactions"] = {"hashes": []}
    await watch.deposit(50)
    for _ in range(2 * UNEXPLAINED_TICKS):
        assert await watch.monitor.early() == 0
    watch.relays[0].answers.clear()
    assert await watch.monitor.early() == 1
    assert await watch.unswept_i() == 50


async def test_one_address_whose_history_can_not_be_had_holds_up_no_milestone(
    watch: Watch,
) -> None:
    odd = await watch.deposit(50)
    real = watch.devnet.node.tangle.by_address

    def find(command: Mapping[str, Any]) -> object:
        if odd in command.get("addresses", ()):
            return {"error": "no"}
        names = command.get("addresses") or command["bundles"]
        index = real if command.get("addresses") else watch.devnet.node.tangle.by_bundle
        return {"hashes": [found for name in names for found in index.get(name)]}

    watch.relays[0].answers["findTransactions"] = find
    with pytest.raises(NodeUnavailableError):
        await watch.monitor.tick()
    await watch.deposit(3)
    with pytest.raises(NodeUnavailableError):
        await watch.monitor.tick()
    assert await watch.unswept_i() == 3
    watch.relays[0].answers.clear()
    assert await watch.monitor.tick() == 1
    assert await watch.unswept_i() == 53
