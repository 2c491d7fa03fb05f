# SPDX-License-Identifier: Apache-2.0
"""Migrations lead from nothing to exactly the schema, and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import IntegrityError

from hub.errors import InvariantError
from hub.model import FEE_IDENTIFIER, AccountKind
from hub.publisher import Publisher
from hub.store import Store
from hub.store.engine import open_engine
from hub.store.migrate import newest_revision
from hub.store.schema import account, metadata

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


def database_url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'hub.db'}"


async def ask(folder: Path, question: Callable[[Connection], Answer]) -> Answer:
    engine = open_engine(database_url(folder))
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


async def test_migrating_gives_exactly_the_tables_the_code_uses(tmp_path: Path) -> None:
    store = Store(database_url(tmp_path), clock=lambda: 7)
    await store.migrate()
    await store.migrate()  # a second time changes nothing
    await store.close()
    assert await ask(tmp_path, differences) == []
    wanted = {
        name: {
            str(c.name)
            for c in table.constraints
            if type(c).__name__ == "CheckConstraint"
        }
        for name, table in metadata.tables.items()
    }
    assert await ask(tmp_path, checks) == wanted


async def test_migrations_lead_down_to_nothing_and_up_again(tmp_path: Path) -> None:
    store = Store(database_url(tmp_path), clock=lambda: 7)
    await store.migrate()
    await store.migrate("base")
    tables = await ask(tmp_path, lambda c: inspect(c).get_table_names())
    assert tables == ["alembic_version"]
    await store.migrate(newest_revision())
    async with store.reading() as tx:
        fee = await tx.accounts.by_identifier(FEE_IDENTIFIER)
        assert fee.kind is AccountKind.FEE
        assert (await tx.accounts.owner()).kind is AccountKind.OWNER
    await store.close()


async def test_what_was_written_before_v1_is_kept_and_published(
    tmp_path: Path,
) -> None:
    store = Store(database_url(tmp_path), clock=lambda: 7)
    await store.migrate("0001")

    def fill(connection: Connection) -> None:
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)
        connection.commit()

    await ask(tmp_path, fill)
    await store.migrate()
    async with store.reading() as tx:
        (kept,) = await tx.withdrawals.requested(limit=9)
        assert (kept.uuid, kept.amount_i, kept.authorisation) == ("u", 5, "")
    await Publisher(store).publish()
    async with store.reading() as tx:
        found = await tx.published.after(0, limit=9)
    assert [(one.position, one.amount_i) for one in found] == [(1, -5), (2, -6)]
    await store.migrate("0001")
    await store.migrate()
    async with store.reading() as tx:
        assert len(await tx.withdrawals.requested(limit=9)) == 1
    await store.close()


async def test_a_database_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    store = Store(database_url(tmp_path), clock=lambda: 7)
    await store.migrate()
    engine = open_engine(database_url(tmp_path))
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'x'")
    await engine.dispose()
    with pytest.raises(InvariantError, match="newer program"):
        await store.migrate()
    await store.close()


async def test_the_database_itself_refuses_a_negative_balance(tmp_path: Path) -> None:
    store = Store(database_url(tmp_path), clock=lambda: 7)
    await store.migrate()
    await store.close()
    engine = open_engine(database_url(tmp_path))
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
        tmp_path, lambda c: c.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
    )
    assert answer == value
