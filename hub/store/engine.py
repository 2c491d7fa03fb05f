# SPDX-License-Identifier: Apache-2.0
"""Everything that depends on which database it is, and nothing else does.

SQLite: one file in write-ahead mode with a full sync at each commit, foreign
keys on, and ``BEGIN IMMEDIATE`` for writers, so that a reader never has to be
upgraded halfway. PostgreSQL: serialisable transactions.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hub.errors import ConfigError, InvariantError

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a SQLite connection waits for another process's write."""

WRITES: Final = "saltkeep_writes"
"""Execution option: this connection's transactions will write."""

_RETRYABLE_SQLSTATES: Final = frozenset({"40001", "40P01"})
"""Source: PostgreSQL manual, appendix A: serialization failure, deadlock."""


def open_engine(database_url: str) -> AsyncEngine:
    """Make an engine for a database; nothing is opened yet.

    Args:
        database_url: SQLAlchemy's form with an async driver, e.g.
            ``sqlite+aiosqlite:////var/lib/saltkeep/hub.db``.

    Returns:
        The engine, its connections set up for safe writing.

    Raises:
        ConfigError: If no driver of ours can make anything of the URL, which is not
            repeated: it may hold a password.
    """
    try:
        return _open(make_url(database_url))
    except (ArgumentError, InvalidRequestError, ImportError, ValueError) as error:
        message = (
            "hub.database_url must name an async driver that is installed, such as"
            " sqlite+aiosqlite:////path/to/hub.db or postgresql+asyncpg://..."
        )
        raise ConfigError(message) from error


def _open(url: URL) -> AsyncEngine:
    if is_sqlite(url):
        return _open_sqlite(url)
    return create_async_engine(url, isolation_level="SERIALIZABLE", pool_pre_ping=True)


def is_sqlite(url: URL) -> bool:
    """Return whether the database is an SQLite file: one writer at a time."""
    return url.get_backend_name() == "sqlite"


def is_retryable(error: DBAPIError) -> bool:
    """Say whether a transaction lost a race and may be run again.

    Args:
        error: What the database said.

    Returns:
        True for a serialisation failure, a deadlock or a busy SQLite file.
    """
    sqlstate = getattr(error.orig, "sqlstate", None)
    return sqlstate in _RETRYABLE_SQLSTATES or "database is locked" in str(error.orig)


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


def _open_sqlite(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=5, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _set_up_sqlite)
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


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
