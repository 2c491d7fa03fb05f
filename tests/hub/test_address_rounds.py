# SPDX-License-Identifier: Apache-2.0
"""Every address has its turn within the time allowed, beside the monitor."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import pytest

from hub.address_rounds import PAGES_AT_ONCE, AddressRounds, pages_due
from hub.deposits import UNEXPLAINED_TICKS
from hub.model import Address, UserId
from tests.hub.databases import Sqlite
from tests.hub.watching import FILLERS, FULL_LOOK_S, INTERVAL_S, Watch, watching


@pytest.fixture
async def watch(sqlite: Sqlite) -> AsyncGenerator[Watch]:
    async with watching(sqlite) as made:
        made.relays[0].answers["getLedgerDiff"] = empty_diff
        yield made


def empty_diff(command: Mapping[str, Any]) -> object:
    return {"diff": {}, "milestoneIndex": command["milestoneIndex"]}


async def looked_at_after(
    watch: Watch, rounds: AddressRounds, *, seconds: float
) -> set[str]:
    watch.forget()
    watch.clock.now_ms += int(seconds * 1000)
    await rounds.tick()
    return watch.asked_about()


async def untold(watch: Watch, amount_i: int) -> Address:
    """Pay in what no milestone tells."""
    address = await watch.deposit(amount_i)
    assert await watch.monitor.tick() == 0
    return address


async def test_what_no_milestone_told_is_found_when_its_turn_comes(
    watch: Watch,
) -> None:
    rounds = watch.rounds()
    await untold(watch, 50)
    booked = 0
    for _ in range(FILLERS + 1):
        watch.clock.now_ms += int(FULL_LOOK_S / (FILLERS + 1) * 1000) + 1
        booked += await rounds.tick()
    assert booked == 1
    assert await watch.unswept_i() == 50
    assert await watch.monitor.tick() == 0


async def test_the_round_is_spread_and_comes_by_every_address(watch: Watch) -> None:
    rounds = watch.rounds()
    assert await looked_at_after(watch, rounds, seconds=0) == set()
    share_s = FULL_LOOK_S / FILLERS + 1
    seen = [await looked_at_after(watch, rounds, seconds=share_s) for _ in range(6)]
    assert [len(addresses) for addresses in seen] == [1] * FILLERS
    assert len(set().union(*seen)) == FILLERS
    again = await looked_at_after(watch, rounds, seconds=share_s)
    assert again in seen or not again  # an empty page ends a round


async def test_few_addresses_are_looked_at_as_often_as_the_monitor_ticks(
    watch: Watch,
) -> None:
    rounds = watch.rounds(page_addresses=500)
    for _ in range(3):
        looked_at = await looked_at_after(watch, rounds, seconds=INTERVAL_S)
        assert len(looked_at) == FILLERS


async def test_what_an_outage_held_up_comes_a_few_pages_at_a_time(
    watch: Watch,
) -> None:
    for _ in range(20):
        await watch.address()
    rounds = watch.rounds()
    first = await looked_at_after(watch, rounds, seconds=10 * FULL_LOOK_S)
    assert len(first) == PAGES_AT_ONCE
    rest = [await looked_at_after(watch, rounds, seconds=1) for _ in range(4)]
    assert len(first.union(*rest)) == FILLERS + 20
    assert all(len(addresses) <= PAGES_AT_ONCE for addresses in rest)


async def test_nodes_that_are_away_make_the_round_wait_where_it_is(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = watch.rounds(page_addresses=500)
    relay = watch.relays[0]
    await untold(watch, 50)
    relay.answers["getNodeInfo"] = {"error": "no"}
    assert await looked_at_after(watch, rounds, seconds=INTERVAL_S) == set()
    assert "next try in 60 s" in caplog.text
    del relay.answers["getNodeInfo"]
    assert await looked_at_after(watch, rounds, seconds=1) == set()  # spared
    assert await looked_at_after(watch, rounds, seconds=INTERVAL_S) != set()
    assert await watch.unswept_i() == 50


async def test_an_address_whose_history_can_not_be_had_holds_up_no_page(
    watch: Watch,
) -> None:
    rounds = watch.rounds(page_addresses=1)
    relay = watch.relays[0]
    odd = await untold(watch, 50)
    await untold(watch, 3)
    real = watch.devnet.node.tangle

    def find(command: Mapping[str, Any]) -> object:
        if odd in command.get("addresses", ()):
            return {"error": "no"}
        index = real.by_address if "addresses" in command else real.by_bundle
        names = command.get("addresses") or command["bundles"]
        return {"hashes": [found for name in names for found in index.get(name)]}

    relay.answers["findTransactions"] = find
    for _ in range(FILLERS + 2):
        await looked_at_after(watch, rounds, seconds=FULL_LOOK_S)
    assert await watch.unswept_i() == 3
    del relay.answers["findTransactions"]
    await looked_at_after(watch, rounds, seconds=FULL_LOOK_S)
    assert await watch.unswept_i() == 53


async def test_value_without_a_history_is_held_once_whoever_finds_it(
    watch: Watch,
) -> None:
    rounds = watch.rounds(page_addresses=500)
    del watch.relays[0].answers["getLedgerDiff"]
    watch.relays[0].answers["findTransactions"] = {"hashes": []}
    await watch.deposit(50)
    for _ in range(UNEXPLAINED_TICKS + 1):
        await asyncio.gather(
            looked_at_after(watch, rounds, seconds=INTERVAL_S), watch.monitor.tick()
        )
    async with watch.store.reading() as tx:
        held_i = (await tx.accounts.by_identifier(UserId("alice"))).quarantined_i
    assert held_i == 50


async def test_a_round_alone_holds_what_stays_without_a_history(watch: Watch) -> None:
    rounds = watch.rounds(page_addresses=500)
    watch.relays[0].answers["findTransactions"] = {"hashes": []}
    await watch.deposit(50)
    held_i = []
    for _ in range(UNEXPLAINED_TICKS + 1):
        await looked_at_after(watch, rounds, seconds=INTERVAL_S)
        async with watch.store.reading() as tx:
            alice = await tx.accounts.by_identifier(UserId("alice"))
        held_i.append(alice.quarantined_i)
    assert held_i == [0] * UNEXPLAINED_TICKS + [50]  # found, then seen three times


async def test_on_iri_there_are_no_rounds(sqlite: Sqlite) -> None:
    async with watching(sqlite, dialect="iri") as watch:
        rounds = watch.rounds()
        assert await looked_at_after(watch, rounds, seconds=FULL_LOOK_S) == set()


@pytest.mark.parametrize(
    ("addresses", "elapsed_s", "pages"),
    [
        (0, 60, 0),
        (1_000_000, 0, 0),
        (1_800_000, 1, 1),
        (1_800_000, 60, 60),
        (1_800_000, 3600, 3600),
        (1_800_000, 10**9, 3600),
        (1_800_000, -5, 0),  # the clock was set back
        (500, 900, 0.25),
    ],
)
def test_a_time_asks_for_its_share_of_the_pages(
    addresses: int, elapsed_s: float, pages: float
) -> None:
    due = pages_due(
        addresses, elapsed_s=elapsed_s, full_look_s=3600.0, page_addresses=500
    )
    assert due == pages
