# SPDX-License-Identifier: Apache-2.0
"""Looks at a part of the books, whose cost does not grow with their history."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Table, and_, case, func, or_, select

from hub.ledger import ASSETS, BalanceKey, Book
from hub.store.context import Context
from hub.store.schema import account, address, cold_address, entry, posting

COLUMNS: Final[Mapping[Book, tuple[Table, str]]] = {
    Book.ADDRESS: (address, "balance_i"),
    Book.COLD: (cold_address, "balance_i"),
    Book.AVAILABLE: (account, "available_i"),
    Book.UNSWEPT: (account, "unswept_i"),
    Book.PENDING: (account, "pending_i"),
    Book.QUARANTINED: (account, "quarantined_i"),
}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A balance that its entries do not explain.

    Attributes:
        key: Which balance.
        stored_i: As its row says, in iota.
        recomputed_i: The sum of its entries, in iota.
    """

    key: BalanceKey
    stored_i: int
    recomputed_i: int


@dataclass(frozen=True, slots=True)
class Part:
    """A run of rows that was looked at.

    Attributes:
        last_id: The last of them; None at the end of the table.
        mismatches: Balances there that differ from their entries.
    """

    last_id: int | None
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Both sides, added up from the balances.

    Attributes:
        assets_i: All addresses together, in iota.
        liabilities_i: All that we owe, in iota.
        below_zero: Accounts with a balance below zero.
    """

    assets_i: int
    liabilities_i: int
    below_zero: int


class BooksChecks:
    """Looks at the ledger inside one transaction.

    Args:
        context: The transaction; all its looks must be of one snapshot.
    """

    def __init__(self, context: Context) -> None:
        self._connection = context.connection

    async def newest_posting(self) -> int:
        """Return the row of the newest posting; 0 when there is none."""
        query = select(func.coalesce(func.max(posting.c.id), 0))
        return int((await self._connection.execute(query)).scalar_one())

    async def unbalanced(self, after_id: int, last_id: int) -> tuple[int, ...]:
        """Find postings that change the two sides by different sums, or have no legs.

        Args:
            after_id: Only later rows than this.
            last_id: This row is the last one looked at.

        Returns:
            Their rows.
        """
        signed = case(
            (entry.c.book.in_([book.value for book in ASSETS]), entry.c.amount_i),
            else_=-entry.c.amount_i,
        )
        query = (
            select(posting.c.id)
            .select_from(posting)
            .outerjoin(entry, entry.c.posting_id == posting.c.id)
            .where(posting.c.id > after_id, posting.c.id <= last_id)
            .group_by(posting.c.id)
            .having(or_(func.count(entry.c.id) == 0, func.sum(signed) != 0))
            .order_by(posting.c.id)
        )
        return tuple((await self._connection.execute(query)).scalars())

    async def totals(self) -> Totals:
        """Add up both sides from the balances.

        An address below zero is left out, and so makes the sides differ.

        Returns:
            The totals.
        """
        held = select(func.sum(address.c.balance_i)).where(address.c.balance_i > 0)
        cold = select(func.sum(cold_address.c.balance_i))
        columns = [
            account.c[name] for table, name in COLUMNS.values() if table is account
        ]
        below = or_(*[column < 0 for column in columns])
        query = select(
            held.scalar_subquery(),
            cold.scalar_subquery(),
            func.sum(sum(columns[1:], columns[0])),
            func.sum(case((below, 1), else_=0)),
        )
        row = (await self._connection.execute(query)).one()
        held_i, cold_i, owed_i, below_zero = (int(value or 0) for value in row)
        return Totals(held_i + cold_i, owed_i, below_zero)

    async def accounts(self, after_id: int, *, limit: int) -> Part:
        """Compare the balances of a run of accounts with their entries.

        Args:
            after_id: Only later rows than this.
            limit: At most this many rows.

        Returns:
            What was found.
        """
        return await self._part(account, after_id, limit=limit)

    async def addresses(self, after_id: int, *, limit: int) -> Part:
        """Compare the balances of a run of addresses with their entries.

        Args:
            after_id: Only later rows than this.
            limit: At most this many rows.

        Returns:
            What was found.
        """
        return await self._part(address, after_id, limit=limit)

    async def _part(self, table: Table, after_id: int, *, limit: int) -> Part:
        query = select(table).where(table.c.id > after_id)
        rows = (
            await self._connection.execute(query.order_by(table.c.id).limit(limit))
        ).all()
        if not rows:
            return Part(None, ())
        books = {b: c for b, (t, c) in COLUMNS.items() if t is table}
        stored_i = {
            BalanceKey(book.value, row.id): int(row._mapping[column])  # noqa: SLF001 - its public name
            for row in rows
            for book, column in books.items()
        }
        sums_i = await self._sums(set(books), after_id, rows[-1].id)
        mismatches = tuple(
            Mismatch(key, value_i, sums_i[key])
            for key, value_i in stored_i.items()
            if value_i != sums_i[key]
        )
        return Part(rows[-1].id, mismatches)

    async def _sums(
        self, books: set[Book], after_id: int, last_id: int
    ) -> Counter[BalanceKey]:
        names = [book.value for book in books]
        columns = (entry.c.book, entry.c.ref_id)
        query = (
            select(*columns, func.sum(entry.c.amount_i))
            .where(
                entry.c.book.in_(names),
                and_(entry.c.ref_id > after_id, entry.c.ref_id <= last_id),
            )
            .group_by(*columns)
        )
        rows = await self._connection.execute(query)
        return Counter({BalanceKey(b, r): int(total) for b, r, total in rows})
