# SPDX-License-Identifier: Apache-2.0
"""The database as the rest of the hub sees it: transactions and migrations."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from hub.clock import Clock
from hub.errors import DatabaseUnavailableError
from hub.store import migrate
from hub.store.engine import (
    WRITES,
    foreign_keys_unchecked,
    is_retryable,
    is_sqlite,
    open_engine,
)
from hub.store.transaction import Transaction

Result = TypeVar("Result")

MAX_ATTEMPTS: Final = 8
"""How often ``run`` begins a transaction that lost a race to another."""
_BACK_OFF_S: Final = 0.02
"""How much longer each further attempt waits than the one before, in seconds."""


class Store:
    """The hub's database.

    Args:
        database_url: SQLAlchemy's form with an async driver.
        clock: Stamps every transaction.
    """

    def __init__(self, database_url: str, *, clock: Clock) -> None:
        self._engine = open_engine(database_url)
        self._clock = clock
        # SQLite has one writer; waiting in turn here beats polling its lock.
        self._turn = asyncio.Semaphore(1 if is_sqlite(self._engine.url) else 1 << 16)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """Open a transaction that writes; it commits when the block ends well.

        Yields:
            The transaction; any exception rolls it back.
        """
        async with self._turn, self._engine.connect() as plain:
            connection = await plain.execution_options(**{WRITES: True})
            async with connection.begin():
                yield Transaction(connection, now_ms=self._clock())

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Transaction]:
        """Open a transaction that only reads one consistent state.

        Yields:
            The transaction; whatever it did is rolled back.
        """
        async with self._engine.connect() as connection:
            yield Transaction(connection, now_ms=self._clock())

    async def run(self, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """Run work in a transaction, again from its beginning if it lost a race.

        Args:
            work: Reads and writes through the transaction it is given and has no
                other effect.

        Returns:
            What the work returned in the transaction that was committed.

        Raises:
            DatabaseUnavailableError: If every attempt lost.
            DBAPIError: If the database failed in another way.
        """
        for attempt in range(MAX_ATTEMPTS):
            await asyncio.sleep(attempt * _BACK_OFF_S)
            try:
                async with self.transaction() as tx:
                    return await work(tx)
            except DBAPIError as error:
                if not is_retryable(error):
                    raise
        message = f"the transaction lost {MAX_ATTEMPTS} races in a row"
        raise DatabaseUnavailableError(message)

    async def migrate(self, revision: str = "head") -> None:
        """Bring the tables to a revision, in one transaction where it can be.

        Args:
            revision: An alembic revision; ``base`` removes every table.

        Raises:
            DatabaseUnavailableError: If the database can not be opened or says no.
        """
        try:
            async with self._engine.connect() as plain:
                connection = await plain.execution_options(**{WRITES: True})
                async with foreign_keys_unchecked(connection), connection.begin():
                    await connection.run_sync(migrate.to_revision, revision)
        except (DBAPIError, OSError) as error:
            what = str(error).splitlines()[0]
            message = f"hub.database_url can not be brought to {revision}: {what}"
            raise DatabaseUnavailableError(message) from error

    async def ping(self) -> None:
        """Ask the database for one number; raises what it raises."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
