# SPDX-License-Identifier: Apache-2.0
"""What a database must do for a journal, and which one a configuration names.

The rules of the journal are in ``journal`` and are the same everywhere; here is
only what differs: how it is opened, locked, checked, synced, and what its errors
mean. See docs/adr/0015-a-shared-journal-on-postgresql.md.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import exc

from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.installation import Paths, read_password
from appliance.journal_sqlite import SqliteJournal


class JournalDatabase(Protocol):
    """Where a journal lies.

    Attributes:
        shared: Whether other appliances may append to it.
        mirror: The local file that remembers its spent keys, where it is shared.
    """

    @property
    def shared(self) -> bool:
        """Whether other appliances may append to it."""

    @property
    def mirror(self) -> Path | None:
        """The local mirror's file, where the journal is shared."""

    def creating(self, journal_id: str) -> AbstractContextManager[sa.Connection]:
        """Make an empty journal; its first rows are inserted in the block.

        ``JournalError`` if there is one already. Synced when the block has ended.
        """

    def open(self, journal_id: str) -> sa.Engine:
        """Return an engine of one connection on an existing journal.

        ``JournalError`` if it is missing or the database is not safe.
        """

    def begin(self, connection: sa.Connection, *, appending: bool) -> None:
        """Begin a transaction: a snapshot, or the lock of those who append."""

    def require_sound(self, connection: sa.Connection) -> None:
        """Check the structure; ``BrokenInvariantError`` if it is not ours."""

    def probe(self, connection: sa.Connection) -> None:
        """Write something that changes nothing."""

    def settle(self, engine: sa.Engine) -> None:
        """Have everything that is visible be on the disk."""

    def failure(self, error: exc.SQLAlchemyError) -> ApplianceError:
        """Say what an error means: may come back, or is damage."""


def database_of(config: Config) -> JournalDatabase:
    """Return the database that a configuration names; nothing is opened yet.

    Args:
        config: ``[journal]`` names it; by default a file of the state folder.

    Returns:
        The database. ``ConfigError`` if its settings are not right.
    """
    paths, settings = Paths(Path(config.state_dir)), config.journal
    if not settings.database:
        return SqliteJournal(paths.journal)
    from appliance.journal_postgres import (  # noqa: PLC0415 - needs its extra
        PostgresJournal,
        read_address,
    )

    password = None
    if settings.password_file:
        password = read_password(
            settings.password_file, allow_unlocked=config.derivation.allow_unlocked
        )
    address = read_address(settings.database, ca=settings.ca)
    return PostgresJournal(address, password, paths.mirror)


def as_database(place: Path | JournalDatabase) -> JournalDatabase:
    """Return a database; a path means a SQLite file."""
    return SqliteJournal(place) if isinstance(place, Path) else place
