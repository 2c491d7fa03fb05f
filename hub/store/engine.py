# SPDX-License-Identifier: Apache-2.0
"""Everything that depends on which database it is, and nothing else does.

SQLite: one file in write-ahead mode with a full sync at each commit, foreign
keys on, and ``BEGIN IMMEDIATE`` for writers, so that a reader never has to be
upgraded halfway. PostgreSQL: serialisable transactions for writers; readers see
one snapshot, read only, which can neither fail with nor cause a serialisation
failure.
"""

import contextlib
import sqlite3
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Table,
    cast,
    event,
    extract,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DisconnectionError,
    InvalidRequestError,
    MissingGreenlet,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hub.errors import ConfigError, InvariantError

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a SQLite connection waits for another process's write."""

WRITES: Final = "saltkeep_writes"
"""Execution option: this connection's transactions will write."""

_UNIX_EPOCH_JULIAN: Final = 2_440_587.5
"""1970-01-01 as a Julian day. Source: SQLite manual, date and time functions."""

_MIGRATION_LOCK: Final = 0x5A17_6EE9
"""Any number that others of the same database do not use."""
_CONNECT_TIMEOUT_S: Final = 10.0
_SESSION: Final = {
    "application_name": "saltkeep-hub",
    # A hub that freezes inside a transaction is put out, and its locks with it.
    "idle_in_transaction_session_timeout": "15000",
    "lock_timeout": "10000",
    "synchronous_commit": "on",
    # A sequential scan locks its whole table against serialisable writers.
    # Source: PostgreSQL manual, "Serializable Isolation Level".
    "random_page_cost": "1.1",
}
"""Settings of each session; times in milliseconds."""


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """What the URL of a database leaves out; of use on PostgreSQL alone.

    Attributes:
        password: Of the role in the URL; empty: none, or the one in the URL.
        ca: PEM of the authority of the server's certificate; none: no TLS.
        pool_size: Connections held at most.
        statement_timeout_s: How long one statement may take, in seconds.
    """

    password: str = field(default="", repr=False)
    ca: Path | None = None
    pool_size: int = 20
    statement_timeout_s: float = 30.0


def open_engine(
    database_url: str, options: DatabaseOptions | None = None
) -> AsyncEngine:
    """Make an engine for a database; nothing is opened yet.

    Args:
        database_url: SQLAlchemy's form with an async driver, e.g.
            ``sqlite+aiosqlite:////var/lib/saltkeep/hub.db``.
        options: What the URL leaves out.

    Returns:
        The engine, its connections set up for safe writing.

    Raises:
        ConfigError: If no driver of ours can make anything of the URL, which is not
            repeated: it may hold a password.
    """
    try:
        return _open(make_url(database_url), options or DatabaseOptions())
    except (ArgumentError, InvalidRequestError, ImportError, ValueError) as error:
        message = (
            "hub.database_url must name an async driver that is installed, such as"
            " sqlite+aiosqlite:////path/to/hub.db or postgresql+asyncpg://..."
        )
        raise ConfigError(message) from error


def _open(url: URL, options: DatabaseOptions) -> AsyncEngine:
    if is_sqlite(url):
        return _open_sqlite(url)
    if options.password:
        url = url.set(password=options.password)
    engine = create_async_engine(
        url,
        isolation_level="SERIALIZABLE",
        pool_size=options.pool_size,
        max_overflow=0,
        connect_args={
            "ssl": _tls(options.ca),
            "timeout": _CONNECT_TIMEOUT_S,
            "command_timeout": options.statement_timeout_s,
            "server_settings": _SESSION,
        },
    )
    event.listen(engine.sync_engine, "checkout", _require_open)
    return engine


def _require_open(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 - the driver's own type
    # The driver is told when the server closes: a ping each time would cost as much
    # as the work.
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _tls(ca: Path | None) -> ssl.SSLContext | bool:
    if ca is None:
        return False
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except OSError as error:  # what is no certificate is an OSError as well
        raise ConfigError(f"hub.database_ca: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def is_sqlite(url: URL) -> bool:
    """Return whether the database is an SQLite file: one writer at a time."""
    return url.get_backend_name() == "sqlite"


async def set_up_reader(connection: AsyncConnection) -> AsyncConnection:
    """Make the next transaction of a connection one that only reads one snapshot.

    Args:
        connection: With no transaction open.

    Returns:
        The same connection.
    """
    if is_sqlite(connection.engine.url):
        return connection
    return await connection.execution_options(
        isolation_level="REPEATABLE READ", postgresql_readonly=True
    )


@asynccontextmanager
async def foreign_keys_unchecked(connection: AsyncConnection) -> AsyncGenerator[None]:
    """Let a migration copy tables that others refer to, as SQLite needs it.

    Source: SQLite manual, "Making Other Kinds Of Table Schema Changes": foreign keys
    are switched off around the transaction, and checked before it ends.

    Args:
        connection: Without a transaction.

    Yields:
        Nothing; open the transaction in the block.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    raw = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    await raw.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        await connection.rollback()  # the pragma does nothing in a transaction
        await raw.execute("PRAGMA foreign_keys = ON")


def require_references(connection: Connection) -> None:
    """Insist that no row refers to one that is not there, where that was unchecked.

    Args:
        connection: With the migration's transaction open.

    Raises:
        InvariantError: If one does; roll back.
    """
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            message = f"the migration would break a reference of table {broken[0]}"
            raise InvariantError(message)


async def set_up_look(connection: AsyncConnection) -> AsyncConnection:
    """Let each query of a connection be a transaction of its own.

    Args:
        connection: With no transaction open.

    Returns:
        The same connection.
    """
    if is_sqlite(connection.engine.url):
        return connection
    return await connection.execution_options(isolation_level="AUTOCOMMIT")


def chains_inserts(connection: AsyncConnection) -> bool:
    """Return whether one statement may insert into two tables."""
    return not is_sqlite(connection.engine.url)


class Upsert:
    """An insert that replaces the row of the same primary key, if it may.

    Args:
        table: Into which.
        replaced: Columns that take the new row's values.
        where: What must hold for the row that is there.

    Attributes:
        on_sqlite: The statement there; it changes one row or none.
        on_postgresql: The statement there.
    """

    def __init__(
        self, table: Table, *, replaced: Sequence[str], where: ColumnElement[bool]
    ) -> None:
        keys = list(table.primary_key.columns)
        # The two dialects have classes of their own for the same words.
        self.on_sqlite, self.on_postgresql = (
            made.on_conflict_do_update(
                index_elements=keys,
                set_={name: made.excluded[name] for name in replaced},
                where=where,
            )
            for made in (sqlite.insert(table), postgresql.insert(table))
        )


async def set_up_migration(connection: AsyncConnection) -> AsyncConnection:
    """Let one process migrate at a time.

    Args:
        connection: With no transaction open.

    Returns:
        The connection, in a transaction that waited for its turn and sees what the
        one before it has committed.
    """
    if is_sqlite(connection.engine.url):
        return await connection.execution_options(**{WRITES: True})
    # Serialisable would keep the view of before the wait.
    ready = await connection.execution_options(isolation_level="READ COMMITTED")
    await ready.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    return ready


def database_now_ms(connection: AsyncConnection) -> ColumnElement[int]:
    """Return the database's own clock, read while the statement runs.

    Args:
        connection: Of the database whose clock it is.

    Returns:
        Milliseconds since 1970.
    """
    if is_sqlite(connection.engine.url):
        days = func.julianday("now") - _UNIX_EPOCH_JULIAN
        return cast(days * 86_400_000, BigInteger)
    seconds = extract("epoch", func.clock_timestamp())
    return cast(seconds * 1000, BigInteger)


def _open_sqlite(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=5, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
    event.listen(engine.sync_engine, "invalidate", _roll_back_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
    connection.isolation_level = None  # we emit BEGIN ourselves
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",  # first: the next one takes a lock
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _roll_back_sqlite(connection: Any, _record: object, _error: object) -> None:  # noqa: ANN401 - the driver's own type
    """End the transaction of a connection that is about to be closed for a failure.

    A statement that was cancelled may leave a cursor behind, in the cancellation's own
    traceback; closing does not end the transaction, nor free its lock, as long as a
    cursor is left. Source: SQLite manual, ``sqlite3_close_v2``.
    """
    # What fails here is closed next; without a greenlet it is garbage and has no lock.
    with contextlib.suppress(MissingGreenlet, sqlite3.Error, ValueError):
        connection.rollback()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
