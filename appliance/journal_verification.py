# SPDX-License-Identifier: Apache-2.0
"""The check of a whole journal at every start: structure, chain, guards.

About 100,000 rows a second. Whatever is not exactly as the rows say raises
``BrokenInvariantError``: a flipped bit, a row dropped or swapped, a guard that is
missing, altered or one too many.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from appliance.approved import require_approved
from appliance.journal_chain import Head, verify_chain
from appliance.journal_records import guards_of, made_generation, policies_of
from appliance.journal_schema import FORMAT, GUARDS, HEADER, ROW, broken, require_sound
from appliance.policy_file import SignedPolicy
from appliance.roster import ClientChange, client_changes_of
from appliance.wire import JournalRow

_ROWS_AT_ONCE: Final = 1000
_Guard = tuple[tuple[str, Any], ...]


def rows_after(sequence: int) -> sa.Select[Any]:
    """Return the query for rows after a sequence number, in rising order."""
    columns = [ROW.c[name] for name in JournalRow.__struct_fields__]
    query = sa.select(*columns).where(ROW.c.sequence > sequence)
    return query.order_by(ROW.c.sequence)


@dataclass(frozen=True, slots=True)
class Verified:
    """What a sound journal says of itself.

    Attributes:
        epoch: Its epoch.
        head: Its last row.
        generations: Salt generations that addresses were issued by.
        newest_generation: The highest number ever given to one.
        policies: Every signed policy that took force, the first one first.
        clients: Every client that was enrolled or revoked, the oldest first.
        recovering: Whether it was restored and not recovered since.
        restored_head: Sequence and hash the last restore went back to, if any.
    """

    epoch: int
    head: Head
    generations: frozenset[int]
    newest_generation: int
    policies: tuple[SignedPolicy, ...]
    clients: tuple[ClientChange, ...]
    recovering: bool
    restored_head: tuple[int, str] | None


@dataclass(slots=True)
class _Found:
    """What the rows have said so far."""

    journal_id: str
    head: Head | None = None
    issued: set[int] = field(default_factory=set)
    made: set[int] = field(default_factory=lambda: {1})
    policies: list[SignedPolicy] = field(default_factory=list)
    clients: list[ClientChange] = field(default_factory=list)
    restores: int = 0
    recovering: bool = False
    restored_head: tuple[int, str] | None = None

    def take(self, row: JournalRow) -> None:
        """Note what one row says of the journal as a whole."""
        payload = json.loads(row.payload)
        if "door" in payload:
            require_approved(payload, self.policies[-1], journal_id=self.journal_id)
        if row.kind == "issued":
            self.issued.add(payload["generation"])
        if row.kind != "ceremony":
            return
        self.policies += policies_of(payload)
        self.clients += client_changes_of(payload)
        self.made.add(made_generation(row))
        match payload.get("step"):
            case "restore":
                self.restores += 1
                self.recovering = True
                self.restored_head = (payload["sequence"], payload["hash"])
            case "recover-journal":
                self.recovering = False


def verify_journal(connection: sa.Connection, journal_id: str) -> Verified:
    """Check everything.

    Args:
        connection: In a transaction on the journal.
        journal_id: What the vault says it must be.

    Returns:
        What it says of itself.
    """
    try:
        require_sound(connection)
        epoch = _require_header(connection, journal_id)
        found = _verify_rows(connection, journal_id)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        broken(f"it says what no appliance wrote: {type(error).__name__}")
    if found.head is None:
        broken("it holds no row")
    if epoch != found.restores + 1:
        broken(f"its epoch is {epoch}, and it was restored {found.restores} times")
    _require_no_guard_after(connection, found.head)
    return Verified(
        epoch,
        found.head,
        frozenset(found.issued),
        max(found.made),
        tuple(found.policies),
        tuple(found.clients),
        found.recovering,
        found.restored_head,
    )


def _verify_rows(connection: sa.Connection, journal_id: str) -> _Found:
    """Check every row and return what they say."""
    found = _Found(journal_id)
    while rows := _rows(connection, found.head):
        found.head = verify_chain(rows, after=found.head)
        _require_guards(connection, rows, journal_id)
        for row in rows:
            found.take(row)
    return found


def _rows(connection: sa.Connection, head: Head | None) -> list[JournalRow]:
    query = rows_after(head.sequence if head else -1 << 62).limit(_ROWS_AT_ONCE)
    return [JournalRow(*fields) for fields in connection.execute(query)]


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
    expected: dict[str, set[_Guard]] = {table.name: set() for table in GUARDS}
    for row in rows:
        if row.sequence == 1:
            _require_first_row(row, journal_id)
        for table, guard in guards_of(row):
            expected[table.name].add(_as_guard(guard))
    first, last = rows[0].sequence, rows[-1].sequence
    for table in GUARDS:
        query = sa.select(table).where(table.c.row.between(first, last))
        found = {_as_guard(dict(g)) for g in connection.execute(query).mappings()}
        if found != expected[table.name]:
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


def _as_guard(guard: dict[str, Any]) -> _Guard:
    return tuple(sorted(guard.items()))
