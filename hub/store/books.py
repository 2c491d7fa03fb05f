# SPDX-License-Identifier: Apache-2.0
"""Postings and entries: the only code that changes a balance."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Table, func, insert, select, update

from hub.errors import InsufficientBalanceError
from hub.ledger import BalanceKey, Book, Posting, totals_i
from hub.store.context import Context
from hub.store.schema import account, address, cold_address, entry, posting

_COLUMNS: Final[Mapping[Book, tuple[Table, str]]] = {
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
class BooksReport:
    """What recomputing every balance from its entries found.

    Attributes:
        assets_i: All addresses together, in iota.
        liabilities_i: All that we owe, in iota.
        mismatches: Balances that differ from their entries.
    """

    assets_i: int
    liabilities_i: int
    mismatches: tuple[Mismatch, ...]

    @property
    def sound(self) -> bool:
        """Whether both sides are equal and every balance is explained."""
        return self.assets_i == self.liabilities_i and not self.mismatches


class Books:
    """The ledger inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection

    async def was_posted(self, reference: str) -> bool:
        """Say whether something was booked already.

        Args:
            reference: What caused it.

        Returns:
            Whether any posting names it.
        """
        query = select(func.count()).where(posting.c.reference == reference)
        return bool((await self._connection.execute(query)).scalar_one())

    async def post(self, what: Posting, *, reference: str) -> None:
        """Apply a posting and write it down; nothing when it has no legs.

        Args:
            what: Balanced by construction.
            reference: What caused it, for people: a hash, a UUID.
        """
        if not what.legs:
            return
        await self._change_balances(what)
        result = await self._connection.execute(
            insert(posting)
            .values(
                kind=what.kind.value,
                reference=reference,
                created_at_ms=self._context.now_ms,
            )
            .returning(posting.c.id)
        )
        posting_id = result.scalar_one()
        rows = [
            {
                "posting_id": posting_id,
                "book": leg.key.book_name,
                "ref_id": leg.key.ref_id,
                "amount_i": leg.amount_i,
            }
            for leg in what.legs
        ]
        await self._connection.execute(insert(entry), rows)

    async def verify(self) -> BooksReport:
        """Recompute every balance from its entries.

        Returns:
            The totals and every difference.
        """
        recomputed_i = await self._sums_of_entries()
        stored_i = await self._stored_balances()
        mismatches = tuple(
            Mismatch(key, stored_i[key], recomputed_i[key])
            for key in sorted(stored_i | recomputed_i)
            if stored_i[key] != recomputed_i[key]
        )
        assets_i, liabilities_i = totals_i(stored_i)
        return BooksReport(assets_i, liabilities_i, mismatches)

    async def _change_balances(self, what: Posting) -> None:
        # One guarded statement per row, rows in one fixed order: no read before
        # write, and two postings can not wait for each other in a circle.
        changes: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        tables = {table.name: table for table, _ in _COLUMNS.values()}
        for leg in what.legs:
            table, column = _COLUMNS[leg.key.book]
            changes[table.name, leg.key.ref_id][column] = leg.amount_i
        for (name, ref_id), amounts_i in sorted(changes.items()):
            await self._change_row(tables[name], ref_id, amounts_i)

    async def _change_row(
        self, table: Table, ref_id: int, amounts_i: Mapping[str, int]
    ) -> None:
        after = {name: table.c[name] + amount for name, amount in amounts_i.items()}
        statement = update(table).where(table.c.id == ref_id).values(after)
        for balance in after.values():
            statement = statement.where(balance >= 0)
        result = await self._connection.execute(statement)
        if result.rowcount != 1:
            message = f"{table.name} {ref_id} can not bear {dict(amounts_i)}"
            raise InsufficientBalanceError(message)

    async def _sums_of_entries(self) -> Counter[BalanceKey]:
        columns = (entry.c.book, entry.c.ref_id)
        query = select(*columns, func.sum(entry.c.amount_i)).group_by(*columns)
        rows = await self._connection.execute(query)
        return Counter({BalanceKey(b, r): int(total) for b, r, total in rows})

    async def _stored_balances(self) -> Counter[BalanceKey]:
        balances: Counter[BalanceKey] = Counter()
        for book, (table, column) in _COLUMNS.items():
            query = select(table.c.id, table.c[column]).where(table.c[column] != 0)
            rows = await self._connection.execute(query)
            balances.update({BalanceKey(book.value, r): int(v) for r, v in rows})
        return balances
