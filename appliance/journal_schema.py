# SPDX-License-Identifier: Apache-2.0
"""The journal's tables, how its file is opened, and what its failures mean."""

import sqlite3
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc

from appliance.errors import ApplianceError, BrokenInvariantError, JournalError

FORMAT: Final = "saltkeep-journal/3"

_metadata = sa.MetaData()


def _row_number(*, primary_key: bool = False) -> sa.Column[int]:
    """Return the reference to the row a guard follows from."""
    reference = sa.ForeignKey("row.sequence")
    return sa.Column(
        "row",
        sa.Integer,
        reference,
        primary_key=primary_key,
        autoincrement=False,
        nullable=False,
        index=True,
    )


HEADER: Final = sa.Table(
    "header",
    _metadata,
    sa.Column("format", sa.String, primary_key=True),
    sa.Column("journal_id", sa.String, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
)
ROW: Final = sa.Table(
    "row",
    _metadata,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("client", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
)
SPENT_KEY: Final = sa.Table(
    "spent_key",
    _metadata,
    sa.Column("commitment", sa.String(64), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bundle_hash", sa.String(81), nullable=True),
    _row_number(),
)
ISSUED: Final = sa.Table(
    "issued",
    _metadata,
    sa.Column("commitment", sa.String(64), primary_key=True),
    sa.Column("address", sa.String(81), nullable=False, unique=True),
    sa.Column("client", sa.String, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    _row_number(),
    sa.Index("issued_by_client", "client", "time_ms"),
)
REFUSED: Final = sa.Table(
    "refused",
    _metadata,
    sa.Column("bundle_hash", sa.String(81), primary_key=True),
    _row_number(),
)
SIGNED: Final = sa.Table(
    "signed",
    _metadata,
    sa.Column("bundle_hash", sa.String(81), primary_key=True),
    _row_number(),
    sa.Column("client", sa.String, nullable=False, index=True),
    sa.Column("time_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("outside_i", sa.BigInteger, nullable=False),
    sa.Column("key_count", sa.Integer, nullable=False),
)
PAID: Final = sa.Table(
    "paid",
    _metadata,
    sa.Column("address", sa.String(81), primary_key=True),
    _row_number(primary_key=True),
    sa.Column("client", sa.String, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("amount_i", sa.BigInteger, nullable=False),
    sa.Index("paid_lately", "address", "time_ms"),
)
AUTHORISATION: Final = sa.Table(
    "authorisation",
    _metadata,
    sa.Column("issuer", sa.String, primary_key=True),
    sa.Column("withdrawal", sa.String, primary_key=True),
    sa.Column("bundle_hash", sa.String(81), nullable=False),
    _row_number(),
)
BLIND: Final = sa.Table(
    "blind",
    _metadata,
    sa.Column("commitment", sa.String(64), primary_key=True),
    sa.Column("client", sa.String, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    _row_number(),
    sa.Index("blind_by_client", "client", "time_ms"),
)
GUARDS: Final = (SPENT_KEY, ISSUED, REFUSED, SIGNED, PAID, AUTHORISATION, BLIND)

# What a busy, full or failing disk says; anything else is not as it was written.
_MENDS_ITSELF: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
_PRIMARY_CODE: Final = 0xFF
_LOCK_TIMEOUT_S: Final = 1.0
_PRAGMAS: Final = (
    "locking_mode=EXCLUSIVE",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "trusted_schema=OFF",
)


def broken(what: str) -> NoReturn:
    """Say that the journal is not what was written.

    Raises:
        BrokenInvariantError: Always.
    """
    raise BrokenInvariantError(f"journal: {what}", code="journal-broken")


def failure(error: exc.SQLAlchemyError) -> ApplianceError:
    """Say what an error of the database means.

    Returns:
        ``JournalError`` where disk or lock may come back, else
        ``BrokenInvariantError``: damaged, foreign, or against its own rules.
    """
    text = str(error.args[0]) if error.args else type(error).__name__
    original = getattr(error, "orig", None)
    code = getattr(original, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code & _PRIMARY_CODE in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return JournalError("another process holds this journal: stop it first")
    if code & _PRIMARY_CODE in _MENDS_ITSELF:
        return JournalError(f"the journal failed: {text}")
    return BrokenInvariantError(f"journal: {text}", code="journal-broken")


def open_engine(path: Path) -> sa.Engine:
    """Return an engine that holds the existing file exclusively.

    Args:
        path: The database; never made here.

    Returns:
        An engine of one connection, for use by one thread at a time.
    """

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",
            uri=True,
            timeout=_LOCK_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )

    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.pool.StaticPool
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:  # noqa: ANN401 - DBAPI
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def create_tables(engine: sa.Engine) -> None:
    """Make the tables in an empty file."""
    _metadata.create_all(engine)


def require_sound(connection: sa.Connection) -> None:
    """Check the file's structure: its own tables, nothing else, no damage.

    A damaged index would hide a spent key; a foreign trigger could delete one.

    Args:
        connection: Open on the journal.
    """
    found = _objects(connection)
    if not found:
        broken("the file is empty")
    memory = sa.create_engine("sqlite://")
    try:
        create_tables(memory)
        with memory.connect() as plain:
            expected = _objects(plain)
    finally:
        memory.dispose()
    if found != expected:
        difference = sorted(name for _, name in found ^ expected)
        broken(f"it has other tables than a {FORMAT}: {', '.join(difference)}")
    verdict = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    if verdict != "ok":
        broken(f"the file is damaged: {verdict}")


def _objects(connection: sa.Connection) -> set[tuple[str, str]]:
    query = "SELECT type, name FROM sqlite_master"
    return {(row[0], row[1]) for row in connection.exec_driver_sql(query)}


def settle(engine: sa.Engine) -> None:
    """Move everything committed so far into the database file, synced.

    A process killed between writing and syncing leaves a row that is seen by the
    next one and yet not on the disk; after this it is.

    Args:
        engine: With no transaction open.

    Raises:
        JournalError: If the file could not be written in full.
    """
    connection = engine.raw_connection()  # SQLAlchemy would begin a transaction
    try:
        cursor = connection.cursor()
        found = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.close()
    except sqlite3.Error as error:
        raise JournalError(f"the journal could not be settled: {error}") from error
    finally:
        connection.close()
    if found[0]:
        raise JournalError("the journal's write-ahead log is in use elsewhere")
