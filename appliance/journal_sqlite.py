# SPDX-License-Identifier: Apache-2.0
"""A journal in a SQLite file of its own, locked by one process at a time.

See docs/adr/0003-journal-on-sqlite-wal-full.md.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc

from appliance.errors import ApplianceError, BrokenInvariantError, JournalError
from appliance.journal_schema import FORMAT, broken, create_tables

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


def connect_file(path: Path) -> sqlite3.Connection:
    """Open an existing database file exclusively, every commit synced.

    Args:
        path: The file; never made here.

    Returns:
        A connection for use by one thread at a time.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=_LOCK_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()  # or its lock would keep the next one out
        raise
    return connection


def make_file(path: Path) -> None:
    """Make an empty file that only its owner can read.

    Args:
        path: Where there is none.

    Raises:
        JournalError: If there is one.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise JournalError(f"{path} exists; a journal is made only once") from None


def failure_of_file(error: BaseException | None, *, text: str) -> ApplianceError:
    """Say what an error of SQLite means.

    Args:
        error: What SQLite raised, if it was SQLite.
        text: What it said.

    Returns:
        ``JournalError`` where disk or lock may come back, else
        ``BrokenInvariantError``: damaged, foreign, or against its own rules.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code & _PRIMARY_CODE in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return JournalError("another process holds this journal: stop it first")
    if code & _PRIMARY_CODE in _MENDS_ITSELF:
        return JournalError(f"the journal failed: {text}")
    return BrokenInvariantError(f"journal: {text}", code="journal-broken")


@dataclass(frozen=True, slots=True)
class SqliteJournal:
    """One file, one process; see ``JournalDatabase`` for the methods.

    Attributes:
        path: The file.
    """

    path: Path
    shared: ClassVar[bool] = False
    mirror: ClassVar[None] = None

    @contextmanager
    def creating(self, journal_id: str) -> Iterator[sa.Connection]:  # noqa: ARG002
        """Make the file and its tables; committed and synced when the block ends."""
        make_file(self.path)
        engine = self._engine()
        try:
            create_tables(engine)
            with engine.begin() as connection:
                yield connection
            self.settle(engine)
        finally:
            engine.dispose()

    def open(self, journal_id: str) -> sa.Engine:  # noqa: ARG002 - in its header
        """Return an engine that holds the file.

        Args:
            journal_id: What the header must say.

        Returns:
            An engine of one connection.

        Raises:
            JournalError: If there is no file.
        """
        if not self.path.is_file():
            raise JournalError(
                f"the journal {self.path} is missing; a start never makes one. Restore"
                " it, or run `saltkeep-appliance init` for a new appliance"
            )
        return self._engine()

    def begin(self, connection: sa.Connection, *, appending: bool) -> None:
        """Do nothing: every transaction holds the file's lock from its beginning."""

    def require_sound(self, connection: sa.Connection) -> None:
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

    def probe(self, connection: sa.Connection) -> None:
        """Write something that changes nothing."""
        connection.exec_driver_sql("PRAGMA user_version=1")

    def settle(self, engine: sa.Engine) -> None:
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

    def failure(self, error: exc.SQLAlchemyError) -> ApplianceError:
        """Say what an error of the database means."""
        text = str(error.args[0]) if error.args else type(error).__name__
        return failure_of_file(getattr(error, "orig", None), text=text)

    def _engine(self) -> sa.Engine:
        engine = sa.create_engine(
            "sqlite://",
            creator=lambda: connect_file(self.path),
            poolclass=sa.pool.StaticPool,
        )

        @event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine


def _objects(connection: sa.Connection) -> set[tuple[str, str]]:
    query = "SELECT type, name FROM sqlite_master"
    rows: Any = connection.exec_driver_sql(query)
    return {(row[0], row[1]) for row in rows}
