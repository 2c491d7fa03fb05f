# SPDX-License-Identifier: Apache-2.0
"""Migrations lead from nothing to exactly the schema, and back, with their data."""

from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, select
from sqlalchemy.exc import IntegrityError

from hub.errors import DatabaseUnavailableError, InvariantError
from hub.model import FEE_IDENTIFIER, AccountKind
from hub.publisher import Publisher
from hub.store import Store
from hub.store.engine import open_engine
from hub.store.migrate import newest_revision, revisions
from hub.store.schema import account, metadata
from tests.hub.bookkeeping import ManualClock
from tests.hub.databases import Databases
from tests.hub.every_table import fill

Answer = TypeVar("Answer")


OLD_ROWS = (
    (
        "INSERT INTO account (identifier, kind, available_i, unswept_i, pending_i,"
        " quarantined_i, created_at_ms) VALUES ('ana', 'user', 0, 0, 5, 0, 1)"
    ),
    (
        "INSERT INTO withdrawal (uuid, account_id, amount_i, payout_address, tag,"
        " state, requested_at_ms) VALUES ('u', 3, 5, 'A', 'T', 'requested', 1)"
    ),
    (
        "INSERT INTO event (reason, account_id, amount_i, bundle_hash, tail_hash,"
        " withdrawal_uuid, message, created_at_ms)"
        " VALUES ('WITHDRAWAL', 3, -5, '', '', 'u', '', 1)"
    ),
    (
        "INSERT INTO event (reason, account_id, amount_i, bundle_hash, tail_hash,"
        " withdrawal_uuid, message, created_at_ms)"
        " VALUES ('SELL', 3, -6, '', '', '', '', 1)"
    ),
)


@pytest.fixture
def empty_url(databases: Databases) -> Iterator[str]:
    url = databases.empty()
    yield url
    databases.drop(url)


@pytest.fixture
async def empty(empty_url: str) -> AsyncGenerator[Store]:
    """A store without tables."""
    store = Store(empty_url, clock=ManualClock())
    yield store
    await store.close()


async def ask(url: str, question: Callable[[Connection], Answer]) -> Answer:
    engine = open_engine(url)
    async with engine.connect() as connection:
        answer = await connection.run_sync(question)
    await engine.dispose()
    return answer


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def checks(connection: Connection) -> dict[str, set[str]]:
    inspector = inspect(connection)
    return {
        table: {str(c["name"]) for c in inspector.get_check_constraints(table)}
        for table in metadata.tables
    }


def structure(connection: Connection) -> dict[str, object]:
    """Return everything a migration may change, as text."""
    inspector = inspect(connection)
    return {
        table: (
            [
                (c["name"], str(c["type"]), c["nullable"], c["default"])
                for c in inspector.get_columns(table)
            ],
            sorted(str(c["name"]) for c in inspector.get_check_constraints(table)),
            sorted(str(i["name"]) for i in inspector.get_indexes(table)),
            sorted(str(u["name"]) for u in inspector.get_unique_constraints(table)),
            sorted(str(f["name"]) for f in inspector.get_foreign_keys(table)),
        )
        for table in inspector.get_table_names()
    }


def content(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    found = MetaData()
    found.reflect(connection)
    return {
        table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
        for table in found.sorted_tables
    }


async def test_migrating_gives_exactly_the_tables_the_code_uses(
    empty: Store, empty_url: str
) -> None:
    await empty.migrate()
    await empty.migrate()  # a second time changes nothing
    assert await ask(empty_url, differences) == []
    wanted = {
        name: {
            str(c.name)
            for c in table.constraints
            if type(c).__name__ == "CheckConstraint"
        }
        for name, table in metadata.tables.items()
    }
    assert await ask(empty_url, checks) == wanted


async def test_migrations_lead_down_to_nothing_and_up_again(
    empty: Store, empty_url: str
) -> None:
    await empty.migrate()
    await empty.migrate("base")
    tables = await ask(empty_url, lambda c: inspect(c).get_table_names())
    assert tables == ["alembic_version"]
    await empty.migrate(newest_revision())
    async with empty.reading() as tx:
        fee = await tx.accounts.by_identifier(FEE_IDENTIFIER)
        assert fee.kind is AccountKind.FEE
        assert (await tx.accounts.owner()).kind is AccountKind.OWNER


async def test_what_was_written_before_v1_is_kept_and_published(
    empty: Store, empty_url: str
) -> None:
    await empty.migrate("0001")

    def insert_old(connection: Connection) -> None:
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)
        connection.commit()

    await ask(empty_url, insert_old)
    await empty.migrate()
    async with empty.reading() as tx:
        (kept,) = await tx.withdrawals.requested(limit=9)
        assert (kept.uuid, kept.amount_i, kept.authorisation) == ("u", 5, "")
    await Publisher(empty).publish()
    async with empty.reading() as tx:
        found = await tx.published.after(0, limit=9)
    assert [(one.position, one.amount_i) for one in found] == [(1, -5), (2, -6)]
    await empty.migrate("0001")
    await empty.migrate()
    async with empty.reading() as tx:
        assert len(await tx.withdrawals.requested(limit=9)) == 1


async def test_the_data_of_these_tests_leaves_no_table_empty(
    empty: Store, empty_url: str
) -> None:
    await empty.migrate()
    await fill(empty, cold=True)
    rows = await ask(empty_url, content)
    assert rows.keys() - {"alembic_version"} == metadata.tables.keys()
    assert [name for name, found in rows.items() if not found] == []


async def test_what_older_tables_can_not_hold_is_refused_on_the_way_down(
    empty: Store, empty_url: str
) -> None:
    await empty.migrate()
    await fill(empty, cold=True)
    before = await ask(empty_url, content)
    with pytest.raises(DatabaseUnavailableError, match="can not be brought to 0001"):
        await empty.migrate("0001")
    assert await ask(empty_url, content) == before
    async with empty.reading() as tx:
        assert (await tx.books.verify()).sound


@pytest.mark.parametrize("revision", revisions())
async def test_from_every_revision_up_and_down_the_data_stays(
    revision: str, empty: Store, empty_url: str
) -> None:
    await empty.migrate(revision)
    fresh = await ask(empty_url, structure)
    await empty.migrate()
    await fill(empty)
    newest = await ask(empty_url, content)
    await empty.migrate(revision)
    assert await ask(empty_url, structure) == fresh
    older = await ask(empty_url, content)
    await empty.migrate()
    assert await ask(empty_url, differences) == []
    async with empty.reading() as tx:
        assert (await tx.books.verify()).sound
    again = await ask(empty_url, content)
    counts = {name: len(rows) for name, rows in again.items()}
    for name, rows in older.items():
        assert counts[name] == len(rows) == len(newest[name]), name
    await empty.migrate(revision)
    assert await ask(empty_url, content) == older


async def test_a_database_of_a_newer_program_is_left_alone(
    empty: Store, empty_url: str
) -> None:
    await empty.migrate()
    engine = open_engine(empty_url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'x'")
    await engine.dispose()
    with pytest.raises(InvariantError, match="newer program"):
        await empty.migrate()


async def test_the_database_itself_refuses_a_negative_balance(
    empty: Store, empty_url: str
) -> None:
    await empty.migrate()
    engine = open_engine(empty_url)
    async with engine.connect() as connection:
        with pytest.raises(IntegrityError, match="available_i_not_negative"):
            await connection.execute(account.update().values(available_i=-1))
    await engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)],
)
async def test_every_sqlite_connection_is_durable_and_strict(
    tmp_path: Path, pragma: str, value: object
) -> None:
    answer = await ask(
        f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}",
        lambda c: c.exec_driver_sql(f"PRAGMA {pragma}").scalar_one(),
    )
    assert answer == value


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("transaction_isolation", "serializable"),
        ("synchronous_commit", "on"),
        ("idle_in_transaction_session_timeout", "15s"),
    ],
)
async def test_every_postgresql_connection_is_durable_and_serialisable(
    setting: str, value: str, postgresql: Databases
) -> None:
    url = postgresql.migrated()
    answer = await ask(url, lambda c: c.exec_driver_sql(f"SHOW {setting}").scalar_one())
    postgresql.drop(url)
    assert answer == value
