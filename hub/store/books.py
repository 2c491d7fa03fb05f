# SPDX-License-Identifier: Apache-2.0
"""Postings and entries: the only code that changes a balance."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Insert,
    String,
    Table,
    Update,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    true,
    update,
)

from hub.errors import (
    BooksLatchedError,
    InsufficientBalanceError,
    LedgerImbalanceError,
)
from hub.ledger import BalanceKey, Posting, totals_i
from hub.store.books_checks import COLUMNS, BooksChecks, Mismatch
from hub.store.context import Context
from hub.store.engine import chains_inserts
from hub.store.schema import books_latch, entry, posting


@dataclass(frozen=True, slots=True)
class BooksReport:
    """What recomputing every balance from its entries found.

    Attributes:
        assets_i: All addresses together, in iota.
        liabilities_i: All that we owe, in iota.
        mismatches: Balances that differ from their entries.
        unbalanced: Postings whose two sides differ.
        latched: Why no balance may change; empty: it may.
    """

    assets_i: int
    liabilities_i: int
    mismatches: tuple[Mismatch, ...]
    unbalanced: tuple[int, ...]
    latched: str

    @property
    def sound(self) -> bool:
        """Whether both sides are equal and every balance is explained."""
        differs = self.mismatches or self.unbalanced
        return self.assets_i == self.liabilities_i and not differs


# Built once: to build a statement costs as much as to run it.
_NEW_POSTING: Final = insert(posting).returning(posting.c.id)
_NEW_ENTRY: Final = insert(entry)


def _new_whole() -> Insert:
    """Return the statement that inserts a posting and its entries in one round trip."""
    names = ("kind", "reference", "created_at_ms")
    header: dict[str, Any] = {name: bindparam(name) for name in names}
    made = insert(posting).values(header).returning(posting.c.id).cte("made")
    legs = (
        func.unnest(
            bindparam("books", type_=ARRAY(String)),
            bindparam("ref_ids", type_=ARRAY(BigInteger)),
            bindparam("amounts_i", type_=ARRAY(BigInteger)),
        )
        .table_valued("book", "ref_id", "amount_i", name="legs")
        .render_derived()
    )
    rows = select(made.c.id, legs.c.book, legs.c.ref_id, legs.c.amount_i)
    columns = ["posting_id", "book", "ref_id", "amount_i"]
    joined = rows.select_from(made.join(legs, true()))
    return insert(entry).from_select(columns, joined, include_defaults=False)


_NEW_WHOLE: Final = _new_whole()


def _columns_of(what: Posting) -> dict[str, list[str] | list[int]]:
    return {
        "books": [leg.key.book_name for leg in what.legs],
        "ref_ids": [leg.key.ref_id for leg in what.legs],
        "amounts_i": [leg.amount_i for leg in what.legs],
    }


@lru_cache(maxsize=64)
def _guarded(table: Table, columns: tuple[str, ...]) -> Update:
    """Return the statement that changes some balances of one row, if it may."""
    after = {name: table.c[name] + bindparam(f"by_{name}") for name in columns}
    statement = update(table).where(table.c.id == bindparam("row")).values(after)
    for balance in after.values():
        statement = statement.where(balance >= 0)
    # In the same statement: broken books cost no query while they are sound.
    return statement.where(~exists().select_from(books_latch))


class Books:
    """The ledger inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection
        self._checks = BooksChecks(context)

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
        header = {
            "kind": what.kind.value,
            "reference": reference,
            "created_at_ms": self._context.now_ms,
        }
        if chains_inserts(self._connection):
            await self._connection.execute(_NEW_WHOLE, header | _columns_of(what))
            return
        result = await self._connection.execute(_NEW_POSTING, header)
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
        await self._connection.execute(_NEW_ENTRY, rows)

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
        return BooksReport(
            *totals_i(stored_i),
            mismatches,
            await self._checks.unbalanced(0, await self._checks.newest_posting()),
            await self.latched(),
        )

    async def latched(self) -> str:
        """Say why no balance may change.

        Returns:
            What was found; empty while balances may change.
        """
        query = select(books_latch.c.reason)
        return (await self._connection.execute(query)).scalar_one_or_none() or ""

    async def require_open(self) -> None:
        """Insist that balances may change.

        Raises:
            BooksLatchedError: If the books were found broken.
        """
        reason = await self.latched()
        if reason:
            message = f"no balance changes until `audit` is sound: {reason}"
            raise BooksLatchedError(message)

    async def latch(self, reason: str) -> None:
        """Let no balance change from now on; the first reason stays.

        Args:
            reason: What was found, for people.
        """
        if await self.latched():
            return
        await self._connection.execute(
            insert(books_latch).values(
                id=1, reason=reason, found_at_ms=self._context.now_ms
            )
        )

    async def release(self) -> None:
        """Let balances change again, as people decided.

        Raises:
            LedgerImbalanceError: If the books are still broken.
        """
        report = await self.verify()
        if not report.sound:
            raise LedgerImbalanceError("the books are still broken: see `audit`")
        await self._connection.execute(delete(books_latch))

    async def _change_balances(self, what: Posting) -> None:
        # One guarded statement per row, rows in one fixed order: no read before
        # write, and two postings can not wait for each other in a circle.
        changes: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        tables = {table.name: table for table, _ in COLUMNS.values()}
        for leg in what.legs:
            table, column = COLUMNS[leg.key.book]
            changes[table.name, leg.key.ref_id][column] = leg.amount_i
        for (name, ref_id), amounts_i in sorted(changes.items()):
            await self._change_row(tables[name], ref_id, amounts_i)

    async def _change_row(
        self, table: Table, ref_id: int, amounts_i: Mapping[str, int]
    ) -> None:
        statement = _guarded(table, tuple(amounts_i))
        values = {f"by_{name}": amount_i for name, amount_i in amounts_i.items()}
        result = await self._connection.execute(statement, {"row": ref_id, **values})
        if result.rowcount != 1:
            await self.require_open()
            message = f"{table.name} {ref_id} can not bear {dict(amounts_i)}"
            raise InsufficientBalanceError(message)

    async def _sums_of_entries(self) -> Counter[BalanceKey]:
        columns = (entry.c.book, entry.c.ref_id)
        query = select(*columns, func.sum(entry.c.amount_i)).group_by(*columns)
        rows = await self._connection.execute(query)
        return Counter({BalanceKey(b, r): int(total) for b, r, total in rows})

    async def _stored_balances(self) -> Counter[BalanceKey]:
        balances: Counter[BalanceKey] = Counter()
        for book, (table, column) in COLUMNS.items():
            query = select(table.c.id, table.c[column]).where(table.c[column] != 0)
            rows = await self._connection.execute(query)
            balances.update({BalanceKey(book.value, r): int(v) for r, v in rows})
        return balances
