# SPDX-License-Identifier: Apache-2.0
"""Books that somebody changed behind the ledger's back stop every balance."""

from collections.abc import AsyncGenerator

import pytest
from sqlalchemy import event, text

from hub.books_watch import BooksWatch
from hub.errors import BooksLatchedError, LedgerImbalanceError
from hub.model import UserId
from hub.store import Store
from hub.transfers import Transfer, process_batch
from tests.hub import bookkeeping as books
from tests.hub.bookkeeping import ManualClock


@pytest.fixture
async def store(database_url: str, clock: ManualClock) -> AsyncGenerator[Store]:
    """A store whose books may be broken at the end."""
    opened = Store(database_url, clock=clock)
    yield opened
    await opened.close()


@pytest.fixture
def watch(store: Store) -> BooksWatch:
    return BooksWatch(store, postings=100, balances=100)


async def corrupt(store: Store, *statements: str) -> None:
    async with store.transaction() as tx:
        for statement in statements:
            await tx.accounts._connection.execute(text(statement))


async def move_one(store: Store) -> None:
    legs = [Transfer(UserId("ana"), -1), Transfer(UserId("bob"), 1)]
    await process_batch(store, legs)


async def two_users(store: Store) -> None:
    await books.funded_user(store, "ana", 100)
    await books.funded_user(store, "bob", 100)


WITHOUT_LEGS = (
    "INSERT INTO posting (kind, reference, created_at_ms) VALUES ('sweep', '', 1)"
)
CORRUPTIONS = {
    "money from nowhere": (
        ["UPDATE account SET available_i = available_i + 5 WHERE identifier = 'ana'"],
        "i owed",
    ),
    "money moved": (
        [
            "UPDATE account SET available_i = available_i + 5 WHERE identifier = 'ana'",
            "UPDATE account SET available_i = available_i - 5 WHERE identifier = 'bob'",
        ],
        "entries say",
    ),
    "an address emptied": (["UPDATE address SET balance_i = 0"], "i owed"),
    "an entry changed": (
        ["UPDATE entry SET amount_i = amount_i + 1 WHERE id = 1"],
        "does not balance",
    ),
    "both legs changed": (
        ["UPDATE entry SET amount_i = amount_i + 1 WHERE posting_id = 1"],
        "entries say",
    ),
    "a posting without legs": ([WITHOUT_LEGS], "does not balance"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
async def test_a_change_behind_the_ledger_latches_the_books(
    name: str, store: Store, watch: BooksWatch, caplog: pytest.LogCaptureFixture
) -> None:
    await two_users(store)
    await watch.tick()
    await move_one(store)
    await watch.tick()
    statements, told = CORRUPTIONS[name]
    await corrupt(store, *statements)
    with pytest.raises(BooksLatchedError, match=told):
        await watch.tick()
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    with pytest.raises(BooksLatchedError):
        await move_one(store)
    async with store.reading() as tx:
        assert not (await tx.books.verify()).sound


async def test_latched_books_take_no_deposit_withdrawal_or_plan(store: Store) -> None:
    ana = await books.funded_user(store, "ana", 100)
    address_id = await books.give_address(store, ana)
    source, rest = await books.hub_address(store), await books.hub_address(store)
    await books.arrive(store, source, 10)
    await store.run(lambda tx: tx.books.latch("found"))
    with pytest.raises(BooksLatchedError, match="found"):
        await books.arrive(store, address_id, 5)
    with pytest.raises(BooksLatchedError):
        await books.request_withdrawal(store, ana, 5)
    with pytest.raises(BooksLatchedError):
        await books.plan_sweep(store, [source], remainder_id=rest)


async def test_the_latch_is_released_only_when_the_books_are_sound(
    store: Store, watch: BooksWatch
) -> None:
    await two_users(store)
    await corrupt(store, "UPDATE account SET pending_i = 1 WHERE identifier = 'ana'")
    for _ in range(2):  # it stays latched, and the first reason stays
        with pytest.raises(BooksLatchedError, match="201 i owed"):
            await watch.tick()
    with pytest.raises(LedgerImbalanceError):
        await store.run(lambda tx: tx.books.release())
    await corrupt(store, "UPDATE account SET pending_i = 0 WHERE identifier = 'ana'")
    with pytest.raises(BooksLatchedError):
        await move_one(store)  # mended, but nobody has said so
    await store.run(lambda tx: tx.books.release())
    await move_one(store)
    await watch.tick()


async def test_a_restarted_watch_finds_an_old_change_within_one_round(
    store: Store,
) -> None:
    await two_users(store)
    for _ in range(20):
        await move_one(store)
    await corrupt(
        store, "UPDATE entry SET amount_i = amount_i * 3 WHERE posting_id = 9"
    )
    watch = BooksWatch(store, postings=5, balances=1)

    async def one_round() -> None:
        for _ in range(10):
            await watch.tick()

    with pytest.raises(BooksLatchedError, match="entries say"):
        await one_round()


async def test_a_look_takes_as_many_queries_however_long_the_history(
    store: Store, watch: BooksWatch
) -> None:
    queries = 0

    def count(*_: object) -> None:
        nonlocal queries
        queries += 1

    await two_users(store)
    await watch.tick()
    event.listen(store._engine.sync_engine, "before_cursor_execute", count)
    seen = []
    for moves in (1, 30):
        for _ in range(moves):
            await move_one(store)
        queries = 0
        for _ in range(2):  # an end of a table and its beginning
            await watch.tick()
        seen.append(queries)
    assert seen[0] == seen[1]
