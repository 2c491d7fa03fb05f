# SPDX-License-Identifier: Apache-2.0
"""Postings and entries: the only code that changes a balance."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Insert,
    String,
    Table,
    TableValuedAlias,
    Update,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from hub.errors import (
    BooksLatchedError,
    InsufficientBalanceError,
    LedgerImbalanceError,
)
from hub.ledger import BalanceKey, Posting, totals_i
from hub.store.books_checks import COLUMNS, BooksChecks, Mismatch
from hub.store.context import Context
from hub.store.engine import chains_inserts
from hub.store.events import EVENT_COLUMNS, Events, NewEvent
from hub.store.schema import books_latch, entry, event, posting


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


_AMOUNTS: Final[Mapping[str, tuple[Table, tuple[str, ...]]]] = {
    table.name: (table, tuple(n for t, n in COLUMNS.values() if t is table))
    for table, _ in COLUMNS.values()
}
"""The balances of each table that has some."""


def _unnested(name: str, arrays: Mapping[str, Any]) -> TableValuedAlias:
    """Return bound arrays, one for each column, as a table."""
    columns = [bindparam(f"{name}_{key}", type_=ARRAY(arrays[key])) for key in arrays]
    return func.unnest(*columns).table_valued(*arrays, name=name).render_derived()


def _guarded_rows(table: Table, columns: tuple[str, ...]) -> ReturningUpdate[Any]:
    """Return the statement that changes balances of many rows of a table."""
    names = ("row", *columns)
    changes = _unnested(table.name, dict.fromkeys(names, BigInteger))
    after = {name: table.c[name] + changes.c[name] for name in columns}
    statement = update(table).where(table.c.id == changes.c.row).values(after)
    return _unless_below_zero(statement, after.values()).returning(table.c.id)


def _unless_below_zero(
    statement: Update, after: Iterable[ColumnElement[int]]
) -> Update:
    for balance in after:
        statement = statement.where(balance >= literal_column("0"))
    # In the same statement: broken books cost no query while they are sound.
    return statement.where(~exists().select_from(books_latch))


def _written_after(changed: ReturningUpdate[Any], *, tells: bool) -> Insert:
    """Return the statement that changes balances and writes the posting down.

    One round trip for what would be four. No row of it is written, the posting's
    neither, unless every balance could be changed.
    """
    done = changed.cte("done")
    names = ("kind", "reference", "created_at_ms")
    types = {name: posting.c[name].type for name in names}
    # Their names are no column's: SQLAlchemy would take them for the UPDATE's.
    header = select(
        *(bindparam(f"posting_{name}", type_=types[name]) for name in names)
    ).where(
        select(func.count()).select_from(done).scalar_subquery() == bindparam("rows")
    )
    made = (
        insert(posting)
        .from_select(names, header, include_defaults=False)
        .returning(posting.c.id)
        .cte("made")
    )
    legs = _unnested(
        "legs", {"book": String, "ref_id": BigInteger, "amount_i": BigInteger}
    )
    lines = select(made.c.id, legs.c.book, legs.c.ref_id, legs.c.amount_i)
    columns = ["posting_id", "book", "ref_id", "amount_i"]
    joined = lines.select_from(made.join(legs, true()))
    whole = insert(entry).from_select(columns, joined, include_defaults=False)
    return whole.add_cte(_told_after(made)) if tells else whole


def _told_after(made: CTE) -> CTE:
    """Return the part of the statement that writes events of a posting."""
    rows = _unnested("event", {name: event.c[name].type for name in EVENT_COLUMNS})
    told = select(*rows.c).where(exists().select_from(made))
    written = insert(event).from_select(EVENT_COLUMNS, told, include_defaults=False)
    return written.cte("told")


_CHANGES: Final = {n: _guarded_rows(*_AMOUNTS[n]) for n in _AMOUNTS}
_LAST_CHANGES: Final = {
    (name, tells): _written_after(_CHANGES[name], tells=tells)
    for name in _CHANGES
    for tells in (False, True)
}


@lru_cache(maxsize=64)
def _guarded(table: Table, columns: tuple[str, ...]) -> Update:
    """Return the statement that changes some balances of one row, if it may."""
    after = {name: table.c[name] + bindparam(f"by_{name}") for name in columns}
    statement = update(table).where(table.c.id == bindparam("row")).values(after)
    return _unless_below_zero(statement, after.values())


def _changes_of(what: Posting) -> dict[str, dict[int, dict[str, int]]]:
    """Return what changes, by table, row and column, in one fixed order.

    So two postings can not wait for each other in a circle.
    """
    changes: dict[str, dict[int, dict[str, int]]] = {}
    for leg in sorted(what.legs, key=lambda leg: leg.key.ref_id):
        table, column = COLUMNS[leg.key.book]
        rows = changes.setdefault(table.name, {})
        rows.setdefault(leg.key.ref_id, {})[column] = leg.amount_i
    return dict(sorted(changes.items()))


def _arrays_of(name: str, rows: Mapping[int, Mapping[str, int]]) -> dict[str, Any]:
    _, columns = _AMOUNTS[name]
    return {f"{name}_row": list(rows)} | {
        f"{name}_{column}": [amounts_i.get(column, 0) for amounts_i in rows.values()]
        for column in columns
    }


class Books:
    """The ledger inside one transaction.

    Args:
        context: The transaction.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._connection = context.connection
        self._checks = BooksChecks(context)
        self._events = Events(context)

    async def was_posted(self, reference: str) -> bool:
        """Say whether something was booked already.

        Args:
            reference: What caused it.

        Returns:
            Whether any posting names it.
        """
        query = select(func.count()).where(posting.c.reference == reference)
        return bool((await self._connection.execute(query)).scalar_one())

    async def post(
        self, what: Posting, *, reference: str, events: Sequence[NewEvent] = ()
    ) -> None:
        """Apply a posting and write it down; nothing when it has no legs.

        Args:
            what: Balanced by construction.
            reference: What caused it, for people: a hash, a UUID.
            events: What tells of it.
        """
        if not what.legs:
            return
        header = {
            "kind": what.kind.value,
            "reference": reference,
            "created_at_ms": self._context.now_ms,
        }
        if chains_inserts(self._connection):
            await self._post_chained(what, header, self._events.rows(events))
        else:
            await self._post_row_by_row(what, header)
            await self._events.add(events)

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

    async def _post_chained(
        self, what: Posting, header: dict[str, Any], events: list[dict[str, Any]]
    ) -> None:
        """Change one table after the other; the last statement writes the posting."""
        *others, last = _changes_of(what).items()
        for name, rows in others:
            changed = await self._connection.execute(
                _CHANGES[name], _arrays_of(name, rows)
            )
            if len(changed.all()) != len(rows):
                await self._refuse(name, rows)
        name, rows = last
        values = {f"posting_{column}": header[column] for column in header}
        values |= _arrays_of(name, rows) | {"rows": len(rows)}
        legs = {
            "legs_book": [leg.key.book_name for leg in what.legs],
            "legs_ref_id": [leg.key.ref_id for leg in what.legs],
            "legs_amount_i": [leg.amount_i for leg in what.legs],
        }
        if events:
            values |= {f"event_{c}": [row[c] for row in events] for c in EVENT_COLUMNS}
        statement = _LAST_CHANGES[name, bool(events)]
        written = await self._connection.execute(statement, values | legs)
        if written.rowcount != len(what.legs):
            await self._refuse(name, rows)

    async def _post_row_by_row(self, what: Posting, header: dict[str, Any]) -> None:
        for name, rows in _changes_of(what).items():
            for ref_id, amounts_i in rows.items():
                statement = _guarded(_AMOUNTS[name][0], tuple(amounts_i))
                values = {f"by_{column}": by_i for column, by_i in amounts_i.items()}
                result = await self._connection.execute(
                    statement, {"row": ref_id, **values}
                )
                if result.rowcount != 1:
                    await self._refuse(name, {ref_id: amounts_i})
        result = await self._connection.execute(_NEW_POSTING, header)
        posting_id = result.scalar_one()
        legs = [
            {
                "posting_id": posting_id,
                "book": leg.key.book_name,
                "ref_id": leg.key.ref_id,
                "amount_i": leg.amount_i,
            }
            for leg in what.legs
        ]
        await self._connection.execute(_NEW_ENTRY, legs)

    async def _refuse(
        self, name: str, rows: Mapping[int, Mapping[str, int]]
    ) -> NoReturn:
        await self.require_open()
        message = f"a row of {name} can not bear its part of {rows}"
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
