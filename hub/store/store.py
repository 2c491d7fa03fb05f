# SPDX-License-Identifier: Apache-2.0
"""The database as the rest of the hub sees it: transactions and migrations."""

import asyncio
import copy
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction

from hub.clock import Clock
from hub.errors import DatabaseUnavailableError, OutcomeUnknownError
from hub.store import migrate
from hub.store.context import Names
from hub.store.engine import (
    WRITES,
    DatabaseOptions,
    database_now_ms,
    foreign_keys_unchecked,
    is_sqlite,
    open_engine,
    set_up_look,
    set_up_migration,
    set_up_reader,
)
from hub.store.failures import FAILURES, Failure, Verdict, judge
from hub.store.transaction import Transaction

Result = TypeVar("Result")
SetUp = Callable[[AsyncConnection], Awaitable[AsyncConnection]]
Fence = Callable[[Transaction], Awaitable[None]]

MAX_ATTEMPTS: Final = 12
"""How often ``run`` begins a transaction that lost races to others."""
_BACK_OFF_MS: Final = 10
"""Upper end of the first pause; each further one's is twice that of the last."""
_LONGEST_BACK_OFF_MS: Final = 1000


class Store:
    """The hub's database.

    Args:
        database_url: SQLAlchemy's form with an async driver.
        clock: Stamps every transaction.
        options: What the URL leaves out.
    """

    def __init__(
        self, database_url: str, *, clock: Clock, options: DatabaseOptions | None = None
    ) -> None:
        self._engine = open_engine(database_url, options)
        self._clock = clock
        # SQLite has one writer; waiting in turn here beats polling its lock.
        self._turn = asyncio.Semaphore(1 << 16 if self.is_shared else 1)
        self._fence: Fence | None = None
        self._names = Names()

    @property
    def is_shared(self) -> bool:
        """Whether it is a server, where several write at the same time."""
        return not is_sqlite(self._engine.url)

    def fenced(self, fence: Fence) -> "Store":
        """Return the same database, every write of which must pass a fence.

        Args:
            fence: Asked first in each transaction that writes; raises to refuse.

        Returns:
            A store on the same connections; closing either closes both.
        """
        fenced = copy.copy(self)
        fenced._fence = fence  # noqa: SLF001 - of the same class
        return fenced

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """Open a transaction that writes; it commits when the block ends well.

        Yields:
            The transaction; any exception rolls it back.

        Raises:
            OutcomeUnknownError: If the database was lost while committing.
        """
        async with self._turn, self._engine.connect() as plain:
            connection = await plain.execution_options(**{WRITES: True})
            async with connection.begin() as begun:
                tx = self._begun(connection)
                if self._fence is not None:
                    await self._fence(tx)
                yield tx
                await _commit(begun)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Transaction]:
        """Open a transaction that only reads one consistent state.

        Yields:
            The transaction; whatever it did is rolled back.

        Raises:
            DatabaseUnavailableError: If the database is away.
            FAILURES: If it refuses in another way.
        """
        async with self._reading(set_up_reader) as tx:
            yield tx

    @asynccontextmanager
    async def _reading(self, set_up: SetUp) -> AsyncGenerator[Transaction]:
        try:
            async with self._engine.connect() as plain:
                connection = await set_up(plain)
                yield self._begun(connection)
        except FAILURES as error:
            if judge(error, committing=False) is Verdict.FAILED:
                raise
            raise DatabaseUnavailableError(f"can not read: {_said(error)}") from error

    @asynccontextmanager
    async def looking(self) -> AsyncGenerator[Transaction]:
        """Read without a transaction: each query sees the newest state of its own.

        For single queries on the way to a transaction that checks again: it spares
        the two round trips of a transaction.

        Yields:
            What takes queries that read.

        Raises:
            DatabaseUnavailableError: If the database is away.
            FAILURES: If it refuses in another way.
        """
        async with self._reading(set_up_look) as tx:
            yield tx

    async def run(self, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """Run work in a transaction, again from its beginning if it lost a race.

        It is never run again when it may have been committed.

        Args:
            work: Reads and writes through the transaction it is given and has no
                other effect.

        Returns:
            What the work returned in the transaction that was committed.

        Raises:
            DatabaseUnavailableError: If every attempt lost, or the database is away;
                nothing was written.
            FAILURES: If it refuses in another way.
        """
        said = ""
        for attempt in range(MAX_ATTEMPTS):
            await asyncio.sleep(_back_off_s(attempt))
            try:
                async with self.transaction() as tx:
                    return await work(tx)
            except FAILURES as error:
                if judge(error, committing=False) is Verdict.FAILED:
                    raise
                said = _said(error)
        message = f"given up after {MAX_ATTEMPTS} attempts, the last: {said}"
        raise DatabaseUnavailableError(message)

    def _begun(self, connection: AsyncConnection) -> Transaction:
        return Transaction(connection, now_ms=self._clock(), names=self._names)

    async def migrate(self, revision: str = "head") -> None:
        """Bring the tables to a revision, in one transaction where it can be.

        Args:
            revision: An alembic revision; ``base`` removes every table.

        Raises:
            DatabaseUnavailableError: If the database can not be opened or says no.
        """
        self._names = Names()
        try:
            async with self._engine.connect() as plain, foreign_keys_unchecked(plain):
                connection = await set_up_migration(plain)
                await connection.run_sync(migrate.to_revision, revision)
                await connection.commit()
        except FAILURES as error:
            message = f"hub.database_url can not be brought to {revision}: "
            raise DatabaseUnavailableError(message + _said(error)) from error

    async def ping(self) -> None:
        """Ask the database for one number; raises what it raises."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def revision(self) -> str | None:
        """Return the revision the tables are at; None when there are none."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(migrate.current_revision)

    async def now_ms(self) -> int:
        """Return the database's own clock, milliseconds since 1970."""
        async with self._engine.connect() as connection:
            query = select(database_now_ms(connection))
            return int((await connection.execute(query)).scalar_one())

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


async def _commit(begun: AsyncTransaction) -> None:
    try:
        await begun.commit()
    except FAILURES as error:
        if judge(error, committing=True) is not Verdict.UNKNOWN:
            raise
        message = f"lost the database while committing: {_said(error)}"
        raise OutcomeUnknownError(message) from error


def _back_off_s(attempt: int) -> float:
    """Return a random pause before an attempt, so that two losers part ways."""
    if attempt == 0:
        return 0.0
    longest_ms = min(_BACK_OFF_MS << (attempt - 1), _LONGEST_BACK_OFF_MS)
    return (1 + secrets.randbelow(longest_ms)) / 1000


def _said(error: Failure) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
