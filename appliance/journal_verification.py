# SPDX-License-Identifier: Apache-2.0
"""The check of a whole journal at every start: structure, chain, guards.

About 100,000 rows a second. Whatever is not exactly as the rows say raises
``BrokenInvariantError``: a flipped bit, a row dropped or swapped, a guard that is
missing, altered or one too many.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from appliance.journal_chain import Head, verify_chain
from appliance.journal_database import JournalDatabase
from appliance.journal_memory import JournalMemory
from appliance.journal_mirror import Mirror, spent_by
from appliance.journal_records import guards_of
from appliance.journal_schema import FORMAT, GUARDS, HEADER, ROW, ROW_MAC, broken
from appliance.row_seal import RowSeal
from appliance.wire import JournalRow

_ROWS_AT_ONCE: Final = 1000
_Guard = tuple[Any, ...]


def rows_after(sequence: int) -> sa.Select[Any]:
    """Return the query for rows after a sequence number, in rising order."""
    columns = [ROW.c[name] for name in JournalRow.__struct_fields__]
    query = sa.select(*columns).where(ROW.c.sequence > sequence)
    return query.order_by(ROW.c.sequence)


def verify_journal(
    connection: sa.Connection,
    journal_id: str,
    *,
    database: JournalDatabase,
    mirror: Mirror | None = None,
    seal: RowSeal | None = None,
) -> JournalMemory:
    """Check everything.

    Args:
        connection: In a transaction on the journal.
        journal_id: What the vault says it must be.
        database: Checks the structure.
        mirror: Follows every row, and must know them already as far as it has seen.
        seal: Says whether an appliance wrote a row; None: not asked.

    Returns:
        What it says of itself.
    """
    memory = JournalMemory(journal_id)
    try:
        database.require_sound(connection)
        epoch = _require_header(connection, journal_id)
        spent_count = 0
        while rows := read_rows(connection, memory.head):
            verify_rows(connection, rows, journal_id, after=memory.head, seal=seal)
            spent_count += sum(1 for _ in spent_by(rows)) if mirror else 0
            if mirror is not None:
                mirror.follow(rows)
            for row in rows:
                memory.take_unproved(row)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        broken(f"it says what no appliance wrote: {type(error).__name__}")
    if memory.head is None:
        broken("it holds no row")
    if epoch != memory.restores + 1:
        broken(f"its epoch is {epoch}, and it was restored {memory.restores} times")
    _require_no_guard_after(connection, memory.head)
    if mirror is not None:
        mirror.require_end(memory.head.sequence, spent_count)
    return memory


def verify_rows(
    connection: sa.Connection,
    rows: Sequence[JournalRow],
    journal_id: str,
    *,
    after: Head | None,
    seal: RowSeal | None = None,
) -> None:
    """Check some rows: their chain, who wrote them, and that the guards are theirs.

    Args:
        connection: In a transaction on the journal.
        rows: At least one, in rising order.
        journal_id: What the vault says it must be.
        after: The row before the first one, if there is one.
        seal: Says whether an appliance wrote a row; None: not asked.
    """
    verify_chain(rows, after=after)
    if seal is not None:
        seal.require(rows, _macs(connection, rows))
    _require_guards(connection, rows, journal_id)


def _macs(connection: sa.Connection, rows: Sequence[JournalRow]) -> dict[int, str]:
    first, last = rows[0].sequence, rows[-1].sequence
    query = sa.select(ROW_MAC.c.row, ROW_MAC.c.mac)
    found = connection.execute(query.where(ROW_MAC.c.row.between(first, last)))
    return {int(row): str(mac) for row, mac in found}


def read_rows(connection: sa.Connection, head: Head | None) -> list[JournalRow]:
    """Return the next rows after a head, some at once."""
    query = rows_after(head.sequence if head else -1 << 62).limit(_ROWS_AT_ONCE)
    return [JournalRow(*fields) for fields in connection.execute(query).all()]


def _require_header(connection: sa.Connection, journal_id: str) -> int:
    found = connection.execute(sa.select(HEADER)).all()
    if len(found) != 1 or found[0].format != FORMAT:
        broken(f"it has no header of format {FORMAT}")
    if found[0].journal_id != journal_id:
        broken(f"it is journal {found[0].journal_id}, the vault is of {journal_id}")
    if not isinstance(found[0].epoch, int) or found[0].epoch < 1:
        broken(f"its epoch is {found[0].epoch!r}")
    return found[0].epoch


def _require_guards(
    connection: sa.Connection, rows: Sequence[JournalRow], journal_id: str
) -> None:
    """Compare the guards of some rows, whose hashes are checked, with the tables."""
    columns = {table: tuple(table.columns.keys()) for table in GUARDS}
    expected: dict[sa.Table, set[_Guard]] = {table: set() for table in GUARDS}
    for row in rows:
        if row.sequence == 1:
            _require_first_row(row, journal_id)
        for table, guard in guards_of(row):
            expected[table].add(tuple(guard[name] for name in columns[table]))
    first, last = rows[0].sequence, rows[-1].sequence
    for table in GUARDS:
        query = sa.select(table).where(table.c.row.between(first, last))
        found = {tuple(guard) for guard in connection.execute(query).all()}
        if found != expected[table]:
            broken(f"table {table.name} differs from what rows {first}-{last} say")


def _require_first_row(row: JournalRow, journal_id: str) -> None:
    if row.kind != "ceremony" or json.loads(row.payload)["journal_id"] != journal_id:
        broken("its first row is not of this journal's making")


def _require_no_guard_after(connection: sa.Connection, head: Head) -> None:
    for table in GUARDS:
        beyond = sa.or_(table.c.row < 1, table.c.row > head.sequence)
        query = sa.select(sa.func.count()).select_from(table).where(beyond)
        if connection.execute(query).scalar_one():
            broken(f"table {table.name} holds what no row says")
